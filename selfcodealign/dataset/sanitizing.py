"""The rules a response must keep, in order, each with a name: the reference's, and the same rules mended."""

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from selfcodealign.dataset import fences, left_out

Layout = Literal["tags", "headings", "sections"]
"""What divides response and tests: XML-like tags, `### Tests` headings, or StarCoder2's `[Tests]` sections."""

FINISHED = frozenset({"stop", "eos_token"})
MOST_CHARACTERS = 100_000
"""No response within any model's token limit is longer; parsing a longer one could take minutes."""

REFERENCE_MARKERS = (
    "todo",
    "fixme",
    "write your code here",
    "your code here",
    "your code goes here",
    "notimplemented",
)
HEADING_PHRASES = (
    "We can verify the functionality",
    "To verify the functionality",
    "To test the functionality",
    "To test this",
    "To test the",
    "Let's test",
    "Here are some test",
    "Here are the test",
    "Now, let's test",
    "Now we can test",
    "You can test",
    "Now, we'll test",
)
"""Sentences that open the tests where the heading is missing. The reference's list is known only in part (its first and
last entry, and that the list's order decides); the entries between are this project's."""


@dataclass
class Draft:
    """A raw generation on its way to becoming a response with tests; rules fill in `response` and `tests`."""

    instruction: str
    raw: str
    finish_reason: str = "stop"
    layout: Layout = "tags"
    response: str = ""
    tests: str = ""
    given: str = ""
    """Tests that came with the task, as a fenced block; empty if none did."""
    replaces: bool = False
    """Whether given tests stand in place of the response's own, or after them."""

    @cached_property
    def response_code(self) -> str:
        """Python code of the response, fences read by CommonMark."""
        return fences.python_code(self.response)

    @cached_property
    def tests_code(self) -> str:
        """Python code of the tests, fences read by CommonMark."""
        return fences.python_code(self.tests)

    @cached_property
    def response_tree(self) -> ast.Module | str:
        """Syntax tree of the response's code, or why it has none."""
        return parsed(self.response_code)

    @cached_property
    def tests_tree(self) -> ast.Module | str:
        """Syntax tree of the tests' code, or why they have none."""
        return parsed(self.tests_code)


def parsed(code: str) -> ast.Module | str:
    """Parse Python, or say in a few words why it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{type(error).__name__}: {str(error)[:80]}"


Rule = Callable[[Draft], str | None]
"""Check one thing of a draft; return None if it holds, else a detail (possibly empty) of what broke it."""


# Rules that both modes share.


def unfinished(draft: Draft) -> str | None:
    """The model reached its end token or a stop string, and was not cut off."""
    return None if draft.finish_reason in FINISHED else f"finish reason {draft.finish_reason or 'unknown'}"


def instruction_too_long(words: int) -> Rule:
    """The instruction has at most so many words, separated by white space."""

    def rule(draft: Draft) -> str | None:
        count = len(draft.instruction.split())
        return None if count <= words else f"{count} words"

    return rule


# The mended rules.


def not_text(draft: Draft) -> str | None:
    """The text can be stored and published: no lone surrogates, no NUL, no page of noise."""
    if "\0" in draft.raw:
        return "a NUL character"
    if len(draft.raw) > MOST_CHARACTERS:
        return f"{len(draft.raw)} characters"
    try:
        draft.raw.encode()
    except UnicodeEncodeError as error:
        return f"a lone surrogate at character {error.start}"
    return None


BETWEEN_PARTS = re.compile(r"</response>\s*<tests>")
TESTS_HEADING = re.compile(r"^### Tests?\b.*$", re.MULTILINE)
TESTS_SECTION = re.compile(r"^\[Tests\][ \t]*$", re.MULTILINE)
SECTION_NAME = re.compile(r"^\[(?:Reasoning|Implementation|Explanation)\][ \t]*\n?", re.MULTILINE)
OPENING_TAG = re.compile(r"\A\s*<response>")
CLOSING_TAG = re.compile(r"</tests>")


def not_split(draft: Draft) -> str | None:
    """The text has exactly one border between a response and its tests: tags, a heading or a section.

    What stands inside a closed code block is code: a comment `### Test 1` or a string `</tests>` divides nothing. Only
    a text without any other border is divided there, for then a fence was left open and took the border in.
    """
    raw = OPENING_TAG.sub("", fences.unix_line_ends(draft.raw))
    raw = raw[: _end_of_tests(raw)]
    borders = (BETWEEN_PARTS, TESTS_HEADING, TESTS_SECTION)
    for border, found in [*((it, _outside(it, raw)) for it in borders), *((it, [*it.finditer(raw)]) for it in borders)]:
        if len(found) > 1:
            return f"{len(found)} borders between response and tests"
        if found:
            (match,) = found
            response, tests = raw[: match.start()], raw[match.end() :]
            if border is TESTS_SECTION:
                for name in reversed(_outside(SECTION_NAME, response)):
                    response = response[: name.start()] + response[name.end() :]
            own = "" if draft.given and draft.replaces else tests.strip()
            draft.response, draft.tests = response.strip(), "\n\n".join(part for part in (own, draft.given) if part)
            return None if draft.response and draft.tests else "an empty part"
    if draft.given and draft.replaces:
        draft.response, draft.tests = raw.replace("</response>", "").strip(), draft.given
        return None if draft.response else "an empty part"
    return "no border between response and tests"


def _outside(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Return a pattern's matches that begin outside the closed code blocks of a text."""
    found = list(pattern.finditer(text))
    places = set(fences.outside(text, [match.start() for match in found])) if found else ()
    return [match for match in found if match.start() in places]


def _end_of_tests(raw: str) -> int | None:
    """Say where the closing tag stands: on a line of its own or behind a fence, else the first; None without one."""
    places = [match.start() for match in _outside(CLOSING_TAG, raw)]
    alone = [at for at in places if not raw[:at].rpartition("\n")[2].strip(" \t`~")]
    return next(iter(alone or places), None)


PLACEHOLDER = re.compile(
    r"\#\s*(?:(?:TODO|FIXME|XXX)\b|(?i:to-?do|fixme)\s*[:(]"
    r"|(?i:.*\byour (?:code|implementation|logic|solution)\b.*\bhere\b))"
)


def incomplete_marker(draft: Draft) -> str | None:
    """No comment asks for missing code or stands for code that was left out, and no concrete function is a stub.

    The words "todo" and "NotImplementedError" alone are no sign: to-do lists and abstract methods are legitimate.
    """
    for code in (draft.response_code, draft.tests_code):
        for comment in _comments(code):
            if PLACEHOLDER.match(comment) or left_out.stands_for_code(comment):
                return comment[:80]
    if isinstance(draft.response_tree, ast.Module):
        for name in _stubs(draft.response_tree):
            return f"{name} is a stub"
    return None


def _comments(code: str) -> Iterator[str]:
    """Yield the comments of a code, up to where it can be tokenised."""
    if "#" not in code:
        return
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            if token.type == tokenize.COMMENT:
                yield token.string
    except (tokenize.TokenError, SyntaxError):
        return


def _stubs(tree: ast.Module) -> Iterator[str]:
    """Yield names of functions without a body, abstract methods and methods of base classes excepted."""
    bases = {
        base.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
    }
    pending: list[tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        parent, abstract = pending.pop()
        for node in ast.iter_child_nodes(parent):
            inside = abstract
            if isinstance(node, ast.ClassDef):
                inside = node.name in bases or any(
                    name in ast.unparse(base) for base in (*node.bases, *node.keywords) for name in ("ABC", "Protocol")
                )
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                decorated = any(
                    name in ast.unparse(decorator)
                    for decorator in node.decorator_list
                    for name in ("abstract", "overload")
                )
                if not abstract and not decorated and _is_stub(node.body):
                    yield node.name
                inside = False
            pending.append((node, inside))


def _is_stub(body: list[ast.stmt]) -> bool:
    """Whether a body is, but for its docstring, `...` or `raise NotImplementedError` alone."""
    rest = body[1:] if _is_docstring(body[0]) else body
    if len(rest) != 1:
        return False
    (only,) = rest
    if isinstance(only, ast.Expr):
        return isinstance(only.value, ast.Constant) and only.value.value is ...
    if isinstance(only, ast.Raise) and only.exc is not None:
        raised = only.exc.func if isinstance(only.exc, ast.Call) else only.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    return False


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def no_python_block(draft: Draft) -> str | None:
    """Both parts have Python in a fenced block, and every fence is closed."""
    for name, part in (("response", draft.response), ("tests", draft.tests)):
        found = fences.blocks(part)
        if any(not block.closed for block in found):
            return f"an unclosed block in the {name}"
        if not any(block.is_python and block.code.strip() for block in found):
            return f"none in the {name}"
    return None


def syntax_error(draft: Draft) -> str | None:
    """The code of both parts parses."""
    for name, tree in (("response", draft.response_tree), ("tests", draft.tests_tree)):
        if isinstance(tree, str):
            return f"{name}: {tree}"
    return None


ASSERTING_CALL = re.compile(r"\b(?:assert\w*|raises|fail)$", re.IGNORECASE)


def no_assertion(draft: Draft) -> str | None:
    """Something in the tests asserts: a statement, a unittest method, `pytest.raises` or a numpy.testing function.

    Whether it runs and can fail is decided in the sandbox. Tests in functions count: the sandbox calls them.
    """
    if isinstance(draft.tests_tree, str):
        return "the tests do not parse"
    for node in ast.walk(draft.tests_tree):
        if isinstance(node, ast.Assert):
            return None
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if ASSERTING_CALL.match(name):
                return None
    return ""


# The reference's rules, quirks included (`sanitize_data.py:83-157`).


def reference_not_split(draft: Draft) -> str | None:
    """`</response>`, a blank line and `<tests>` occur once; or the Llama-3 layout's heading or phrase (:92-141).

    The StarCoder2 layout belongs to an earlier version of the code and is split as in `fixed` mode.
    """
    if draft.layout == "sections":
        return not_split(draft)
    if draft.layout == "headings":
        parts = re.split(r"### Tests \d\n", draft.raw)
        if len(parts) == 1:
            for phrase in HEADING_PHRASES:
                if (at := draft.raw.find(phrase)) >= 0:
                    parts = [draft.raw[:at], draft.raw[at:]]
                    break
    else:
        parts = draft.raw.split("</response>\n\n<tests>")
    if len(parts) != 2:
        return f"{len(parts)} parts"
    draft.response, draft.tests = parts[0].strip(), parts[1].strip()
    return None


def reference_incomplete_marker(draft: Draft) -> str | None:
    """None of the marker strings occurs anywhere, in any case: "todo" hits to-do lists too (:83-90)."""
    lower = draft.raw.lower()
    return next((marker for marker in REFERENCE_MARKERS if marker in lower), None)


def reference_no_python_block(draft: Draft) -> str | None:
    """Each part has a block tagged `python` (:143-146)."""
    for name, part in (("response", draft.response), ("tests", draft.tests)):
        if not fences.reference_python_blocks(part):
            return f"none in the {name}"
    return None


def reference_no_assertion(draft: Draft) -> str | None:
    """`assert` occurs in the tests part, and some line of its blocks calls something (:148-157).

    Lines that begin with a letter are looked at; if all begin with def, class, import or from, or there are none, the
    tests only define things. Prefixes are compared, so `default = 1` counts as a definition.
    """
    if "assert" not in draft.tests:
        return "the word is missing"
    lines = "\n".join(fences.reference_python_blocks(draft.tests)).split("\n")
    starts = [line for line in lines if line[:1].isalpha()]
    return "only definitions" if all(line.startswith(("def", "class", "import", "from")) for line in starts) else None


def rules(mode: str, *, max_words: int) -> tuple[tuple[str, Rule], ...]:
    """Return the named rules of a mode in their order; the name is the reason in the funnel.

    In `reference` mode the limit on words and the check of the syntax follow in the selection, because there they come
    after a shuffle whose result depends on the number of rows.
    """
    if mode == "reference":
        return (
            ("unfinished", unfinished),
            ("not_split", reference_not_split),
            ("incomplete_marker", reference_incomplete_marker),
            ("no_python_block", reference_no_python_block),
            ("no_assertion", reference_no_assertion),
        )
    return (
        ("unfinished", unfinished),
        ("not_text", not_text),
        ("not_split", not_split),
        ("incomplete_marker", incomplete_marker),
        ("no_python_block", no_python_block),
        ("syntax_error", syntax_error),
        ("no_assertion", no_assertion),
        ("instruction_too_long", instruction_too_long(max_words)),
    )
