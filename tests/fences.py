"""Fenced blocks of code in a text, for tests."""

import re

FENCE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(text: str) -> list[str]:
    """Return the Python blocks of a text in their order."""
    return FENCE.findall(text)
