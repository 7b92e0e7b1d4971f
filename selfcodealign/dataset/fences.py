"""Find the fenced code blocks of a Markdown text: as CommonMark has them, and as the reference pipeline scans them."""

import ast
import itertools
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

PYTHON_TAG = re.compile(r"(?:i?python|py)[-_]?(?:3(?:\.\d+)*)?(?![\w.+-])")
"""A tag that names Python 3: python, py3, python3.11, ipython; not python2, python-repl, pycon or pytest."""

_SEPARATORS = re.compile(r"[\s:,;|(){}\[\]=#/\\\"'<>]+")
_PATH_KEYS = frozenset({"file", "filename", "filepath", "name", "path", "title"})
_IN_STRING = "unterminated triple-quoted"
_MOST_ENDS = 50


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block.

    Args:
        tag: first word of the info string, in lower case; a file name after it is left out.
        code: text between the fences.
        closed: whether a closing fence was found.
        named: whether the info string names a Python file and no language.
        first: line number of the opening fence, from 0.
        last: line number of the closing fence, or of the text's last line.
    """

    tag: str
    code: str
    closed: bool = True
    named: bool = False
    first: int = 0
    last: int = 0

    @property
    def is_python(self) -> bool:
        """Whether the tag names Python, or a Python file."""
        return self.named or PYTHON_TAG.match(self.tag) is not None


def unix_line_ends(text: str) -> str:
    """Turn Windows and old Mac line ends into newlines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def blocks(text: str) -> list[Block]:
    """Find fenced blocks by CommonMark's rules, in order; an unclosed block runs to the end and says so.

    Fences are three or more backticks or tildes; a block ends at a fence of the same kind, at least as long, without a
    tag, indented less than four columns deeper than its opening (so a fence inside an indented docstring does not end
    it). Unlike CommonMark, an opening fence may be indented to any depth, as models do in lists, and a fence inside a
    string of a Python block does not end it: where the code up to there stops within a string, and the code up to a
    later fence is whole, the later one ends it.
    """
    lines = unix_line_ends(text).split("\n")
    found: list[Block] = []
    at = 0
    while at < len(lines):
        opening = _fence(lines[at])
        if not opening or (opening[0] == "`" and "`" in opening[3]):
            at += 1
            continue
        mark, length, indent, info = opening
        ends = (
            place
            for place in range(at + 1, len(lines))
            if (fence := _fence(lines[place]))
            and (fence[0], fence[3]) == (mark, "")
            and fence[1] >= length
            and fence[2] < indent + 4
        )
        tag, named = _tag(info)
        block = None
        for end in itertools.islice(ends, _MOST_ENDS):
            ended = _block(lines, at, end, indent, tag, named)
            if block is None:
                block = ended
                if not (block.is_python or not tag) or _syntax_error(block.code)[: len(_IN_STRING)] != _IN_STRING:
                    break
            elif not _syntax_error(ended.code):
                block = ended
                break
        if block is None:
            code = "\n".join(_dedented(lines[at + 1 :], indent))
            block = Block(tag, code, closed=False, named=named, first=at, last=len(lines) - 1)
        found.append(block)
        at = block.last + 1
    return found


def _block(lines: list[str], first: int, last: int, indent: int, tag: str, named: bool) -> Block:
    return Block(tag, "\n".join(_dedented(lines[first + 1 : last], indent)), named=named, first=first, last=last)


def _syntax_error(code: str) -> str:
    """Return why a code does not parse; looks only where a string may be open, empty otherwise."""
    if '"""' not in code and "'''" not in code:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except SyntaxError as error:
        return error.msg
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or "too deep"
    return ""


def _fence(line: str) -> tuple[str, int, int, str] | None:
    """Read a line as a fence: (mark, length, indentation, info string)."""
    body = line.lstrip(" \t")
    mark = body[:1]
    if mark not in ("`", "~") or not body.startswith(mark * 3):
        return None
    info = body.lstrip(mark)
    return mark, len(body) - len(info), len(line) - len(body), info.strip()


def _tag(info: str) -> tuple[str, bool]:
    """Return an info string's first word without what follows it, and whether it names a Python file instead."""
    info = info.strip().lower()
    words = [word for word in _SEPARATORS.split(info) if word]
    if not words:
        return "", False
    path = len(words) > 1 and words[0] in _PATH_KEYS
    first = re.split(r"[\s:,;|(){}\[\]=#\"']", info.lstrip("{ "), maxsplit=1)[0]
    named = first.endswith(".py") or (path and any(word.endswith(".py") for word in words))
    return words[0].lstrip("."), named


def _dedented(lines: Iterable[str], indent: int) -> list[str]:
    """Take up to `indent` leading spaces or tabs off each line."""
    return [line[min(indent, len(line) - len(line.lstrip(" \t"))) :] for line in lines]


def python_blocks(text: str) -> list[str]:
    """Return the code of the closed Python blocks, in order."""
    return [block.code for block in blocks(text) if block.is_python and block.closed]


def python_code(text: str) -> str:
    """Join the closed Python blocks of a text with a blank line; empty if there is none."""
    return "\n\n".join(python_blocks(text))


def unfenced(text: str) -> str:
    """Return the Python code of a text that may be code already: out of its fences if it has any, else all of it."""
    return python_code(text) if blocks(text) else text


def outside(text: str, places: Iterable[int]) -> list[int]:
    """Return those of some character offsets of a text with unix line ends that lie in no closed block."""
    inside = [(block.first, block.last) for block in blocks(text) if block.closed]
    return [at for at in places if not any(first < text.count("\n", 0, at) < last for first, last in inside)]


def reference_blocks(text: str) -> list[Block]:
    """Scan for blocks as the reference does (`utils.py:150-192`): backticks anywhere, no notion of lines or nesting.

    The tag is the rest of the opening line; without a tag the body begins right after the backticks; the body ends at
    the next three backticks, wherever they stand; an unclosed block ends the scan and is not returned.
    """
    found: list[Block] = []
    at = 0
    while (start := text.find("```", at)) >= 0:
        line_end = text.find("\n", start)
        if line_end < 0:
            break
        tag = text[start + 3 : line_end].strip()
        body = line_end + 1 if tag else start + 3
        end = text.find("```", body)
        if end < 0:
            break
        found.append(Block(tag.lower(), text[body:end]))
        at = end + 3
    return found


def reference_python_blocks(text: str) -> list[str]:
    """Return the code of the blocks that the reference scanner finds with the tag `python`, in any case."""
    return [block.code for block in reference_blocks(text) if block.tag == "python"]
