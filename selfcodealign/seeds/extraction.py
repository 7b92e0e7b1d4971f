"""Cut top-level functions with a docstring out of source files (paper B.1).

`reference` mode gives the text that the published extraction gives: no decorators, and only docstrings in three plain
double quotes. `fixed` mode keeps decorators and takes any docstring that Python itself would.

A file is scanned for top-level `def`s (see `lexer`), and only slices that start with a docstring are parsed, 5-10 % of
the bytes. A file whose scan or slice is unsound is parsed whole, so the result is that of parsing everything.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from selfcodealign.seeds import lexer

_DEFINITIONS = (b"def ", b"def\t", b"async ", b"async\t")
# A docstring may stand in parentheses, which may hold line breaks and comments.
_QUOTES = re.compile(rb"(?:\((?:\s|\\\r?\n|#[^\n]*\n)*)*[rRuU]?[\"']")
_LONE_CR = re.compile(rb"\r(?!\n)")
_NO_STARTS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Found:
    """A function in a file: its exact text and the line of its first byte, from 1."""

    content: str
    line: int


@cache
def _grammar() -> tuple[Any, Any]:
    """Return the tree-sitter parser and the query for every function definition."""
    import tree_sitter
    import tree_sitter_python

    language = tree_sitter.Language(tree_sitter_python.language())
    return tree_sitter.Parser(language), tree_sitter.Query(language, "(function_definition) @function")


def extract(source: bytes, *, reference: bool) -> Iterator[Found]:
    """Yield the documented top-level functions of one file, in order.

    Args:
        source: the file as UTF-8.
        reference: match the published extraction instead of Python's own notion of a docstring.

    Raises:
        UnicodeDecodeError: a function is not UTF-8.
    """
    if b'"""' not in source and (reference or (b"'" not in source and b'"' not in source)):
        return
    if not (source.startswith(_DEFINITIONS) or any(b"\n" + start in source for start in _DEFINITIONS)):
        return
    room = source.count(b"def ") + source.count(b"def\t")
    found = np.empty((room, lexer.FIELDS), dtype=np.int64)
    count, sound = lexer.scan(lexer.as_array(source), found, _NO_STARTS)
    functions = list(_from_slices(source, found[:count].tolist(), reference)) if sound else None
    if functions is None or None in functions:
        functions = _from_file(source, reference)
    for function in functions:
        if function is not None:
            yield function


def plain(source: bytes) -> bytes:
    """Return a file as Python reads it: without a byte order mark, and with lone carriage returns as line ends."""
    source = source.removeprefix(codecs.BOM_UTF8)
    return _LONE_CR.sub(b"\n", source) if b"\r" in source else source


def statements(source: bytes) -> list[int]:
    """Return the first byte of each top-level statement of a file, in order."""
    starts = np.zeros(source.count(b"\n") + 1, dtype=np.int64)
    room = np.empty((source.count(b"def ") + source.count(b"def\t"), lexer.FIELDS), dtype=np.int64)
    _, sound = lexer.scan(lexer.as_array(source), room, starts)
    if sound:
        return starts[: len(np.trim_zeros(starts, "b")) or 1].tolist()
    parser, _ = _grammar()
    return [node.start_byte for node in parser.parse(source).root_node.children if node.start_point[1] == 0]


def _from_slices(source: bytes, found: list[list[int]], reference: bool) -> Iterator[Found | None]:
    """Yield the functions of a soundly scanned file; None stands for a slice that needs the whole file."""
    parser, _ = _grammar()
    for start, end, decorated, body, line in found:
        if body < 0:
            yield None
            return
        if reference:
            if source[body : body + 3] != b'"""':
                continue
            first = start
        else:
            if not _QUOTES.match(source, body):
                continue
            first = decorated
            line -= source.count(b"\n", first, start)
        root = parser.parse(source[first:end]).root_node
        if root.has_error or root.child_count == 0:
            yield None
            return
        node = root.children[0]
        definition = node if reference else _definition(node)
        if definition is None or definition.type != "function_definition":
            yield None
            return
        if _documented(definition, reference):
            yield Found(source[first : first + node.end_byte].decode(), line)


def _from_file(source: bytes, reference: bool) -> Iterator[Found]:
    """Yield the functions of a file by parsing all of it."""
    import tree_sitter

    parser, query = _grammar()
    tree = parser.parse(source)
    nodes = tree_sitter.QueryCursor(query).captures(tree.root_node).get("function", [])
    for node in sorted(nodes, key=lambda node: node.start_byte):
        if node.start_point[1] == 0 and _documented(node, reference):
            parent = node.parent
            outer = parent if not reference and parent is not None and parent.type == "decorated_definition" else node
            if outer.start_point[1] == 0:
                yield Found(source[outer.start_byte : outer.end_byte].decode(), outer.start_point[0] + 1)


def _definition(node: Any) -> Any | None:
    """Return the function inside a possibly decorated definition."""
    return node.child_by_field_name("definition") if node.type == "decorated_definition" else node


def _documented(function: Any, reference: bool) -> bool:
    """Say whether a function's body starts with a docstring that is not empty."""
    body = function.child_by_field_name("body")
    if body is None or body.child_count == 0:
        return False
    statement = body.children[0]
    if statement.type != "expression_statement":
        return False
    if reference:
        return any(_plain_docstring(child) for child in statement.children if child.type == "string")
    if statement.child_count != 1:
        return False
    value = statement.children[0]
    while value.type == "parenthesized_expression":
        inside = [child for child in value.children if child.type not in {"(", ")", "comment", "line_continuation"}]
        if len(inside) != 1:
            return False
        value = inside[0]
    strings = value.children if value.type == "concatenated_string" else [value]
    strings = [string for string in strings if string.type not in {"comment", "line_continuation"}]
    return all(_prefix(string) in {"", "r", "u"} for string in strings) and any(_filled(string) for string in strings)


def _plain_docstring(string: Any) -> bool:
    """Say whether a string node is three plain double quotes around something: what the published query matches."""
    children = string.children
    return (
        len(children) > 2
        and children[0].text == b'"""'
        and children[-1].text == b'"""'
        and any(child.type == "string_content" for child in children)
    )


def _prefix(node: Any) -> str:
    """Return a string's prefix in lower case; "not a string" for any other node."""
    if node.type != "string" or node.child_count == 0:
        return "not a string"
    return node.children[0].text.decode().rstrip("\"'").lower()


def _filled(string: Any) -> bool:
    """Say whether a string holds more than white space."""
    return any(child.type == "string_content" and child.text.strip() for child in string.children)


def first_statement(code: bytes) -> bytes | None:
    """Return the text of the first function's first statement if it is a bare string, else None."""
    import tree_sitter

    parser, query = _grammar()
    nodes = tree_sitter.QueryCursor(query).captures(parser.parse(code).root_node).get("function", [])
    if not nodes:
        return None
    body = min(nodes, key=lambda node: node.start_byte).child_by_field_name("body")
    if body is None or body.child_count == 0 or body.children[0].type != "expression_statement":
        return None
    statement = body.children[0]
    return statement.text if statement.child_count and statement.children[0].type == "string" else None
