"""The report: one self-contained page on a run, its figures, and the numbers at its head."""
