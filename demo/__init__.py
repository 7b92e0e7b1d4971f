"""The embedded default: a toy domain, and a tiny base model that was trained on it from scratch."""
