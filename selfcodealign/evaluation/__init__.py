"""Evaluation: problems → prompts → samples → programs → verdicts → scores, the same way for every benchmark."""
