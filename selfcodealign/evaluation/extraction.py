"""Find the program in what a model wrote, by the rules of each benchmark, and repair published samples carefully."""

import ast
import re
import warnings

FENCE_LINE = re.compile(r"^\s*(```|~~~)", re.MULTILINE)


def last_python_block(text: str) -> str:
    """Return what follows the last "```python" up to the next fence or the end; empty if there is none.

    This is how the paper reads an instruct model's answer (evaluation of the reference code, `text2code_vllm.py`).
    """
    start = text.rfind("```python")
    if start < 0:
        return ""
    body = text[start + len("```python") :]
    end = body.find("```")
    return body if end < 0 else body[:end]


def first_block(text: str) -> str:
    """Return the lines of the first fenced block, whatever its tag; empty if there is none."""
    lines: list[str] = []
    inside = False
    for line in text.split("\n"):
        if line.startswith("```"):
            if inside:
                break
            inside = True
        elif inside:
            lines.append(line)
    return "\n".join(lines)


def between_last_fences(text: str) -> str:
    """Return the lines between the last two fences (LiveCodeBench); empty with fewer than two."""
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line]
    if len(fences) < 2:
        return ""
    return "\n".join(lines[fences[-2] + 1 : fences[-1]])


def cut(text: str, stops: tuple[str, ...]) -> str:
    """Cut a text before the first of several stop strings."""
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    return text[: min(ends)] if ends else text


def compiles(program: str) -> bool:
    """Whether a text is a Python module, without running it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def without_markdown(program: str) -> str | None:
    """Return the code inside a published program's fences, if the text is Markdown rather than Python; else None.

    Touched only when the text as it stands is not Python while its longest fenced block is: a program that merely
    mentions a fence in a string stays as it is.
    """
    if not FENCE_LINE.search(program) or compiles(program):
        return None
    blocks = re.findall(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", program, re.MULTILINE | re.DOTALL)
    readable = [block for block in blocks if block.strip() and compiles(block)]
    return max(readable, key=len) if readable else None
