"""Find the fenced code blocks of a Markdown text: as CommonMark has them, and as the reference pipeline scans them."""

from dataclasses import dataclass

PYTHON_TAGS = frozenset({"python", "python3", "py", "py3"})


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its tag (lower case, first word of the info string), its text, and whether it was closed."""

    tag: str
    code: str
    closed: bool = True

    @property
    def is_python(self) -> bool:
        """Whether the tag names Python."""
        return self.tag in PYTHON_TAGS


def unix_line_ends(text: str) -> str:
    """Turn Windows and old Mac line ends into newlines."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def blocks(text: str) -> list[Block]:
    """Find fenced blocks by CommonMark's rules, in order; an unclosed block runs to the end and says so.

    Fences are three or more backticks or tildes; a block ends at a fence of the same kind, at least as long, without a
    tag, indented less than four columns deeper than its opening (so a fence inside an indented docstring does not end
    it). Unlike CommonMark, an opening fence may be indented to any depth, as models do in lists.
    """
    found: list[Block] = []
    opening: tuple[str, int, int, str] | None = None
    lines: list[str] = []
    for line in unix_line_ends(text).split("\n"):
        fence = _fence(line)
        if opening is None:
            if fence and not (fence[0] == "`" and "`" in fence[3]):
                opening, lines = fence, []
            continue
        mark, length, indent, info = opening
        if fence and fence[0] == mark and fence[1] >= length and not fence[3] and fence[2] < indent + 4:
            found.append(Block(_tag(info), "\n".join(lines)))
            opening = None
        else:
            lines.append(_dedented(line, indent))
    if opening is not None:
        found.append(Block(_tag(opening[3]), "\n".join(lines), closed=False))
    return found


def _fence(line: str) -> tuple[str, int, int, str] | None:
    """Read a line as a fence: (mark, length, indentation, info string)."""
    body = line.lstrip(" ")
    mark = body[:1]
    if mark not in ("`", "~") or not body.startswith(mark * 3):
        return None
    info = body.lstrip(mark)
    return mark, len(body) - len(info), len(line) - len(body), info.strip()


def _tag(info: str) -> str:
    words = info.strip("{}").split()
    return words[0].lstrip(".").lower() if words else ""


def _dedented(line: str, indent: int) -> str:
    """Take up to `indent` leading spaces off a line."""
    spaces = len(line) - len(line.lstrip(" "))
    return line[min(indent, spaces) :]


def python_blocks(text: str) -> list[str]:
    """Return the code of the closed Python blocks, in order."""
    return [block.code for block in blocks(text) if block.is_python and block.closed]


def python_code(text: str) -> str:
    """Join the closed Python blocks of a text with a blank line; empty if there is none."""
    return "\n\n".join(python_blocks(text))


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
