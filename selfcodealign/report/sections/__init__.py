"""The parts of the page: each is a function of a run."""
