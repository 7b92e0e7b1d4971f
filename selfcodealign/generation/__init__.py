"""Prompts, the models that answer them, and the ledger that loses no answer."""
