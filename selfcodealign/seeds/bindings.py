"""Find out what a file binds at its top level: imports, literal constants, and names that are its own.

A function's names mean what its file says, so these bindings are asked before any table of known imports. A binding is
written as one statement (`import re`, `LIMIT = 3`), or as the bare name where the file defines it in another way.
"""

import ast
import itertools
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator

LONGEST_CONSTANT = 500
"""Bytes of a constant that may go into a seed: a larger one is data, not a limit."""

_WORD = re.compile(rb"[^\W\d]\w*")
_NAMED = re.compile(rb"(?:async\s+)?(?:def|class)\s+(\w+)")
_IMPORT = re.compile(rb"(?:import|from)\b")
_ASSIGNED = re.compile(rb"\w+\s*(?:[:=]|,|[-+*/|&]=)")
_BLOCK = re.compile(rb"(?:(?:if|for|while|with|async|match)\b|(?:try|elif|else|except|finally)\b[^\n]*?:)")
_FILLS = (
    rb"^[ \t]*%s(?:\.(?:append|extend|insert|add|update|setdefault|pop|clear|remove)\("
    rb"|\[[^\]\n]*\][ \t]*[-+*/|&]?=[^=])"
)
_HOLDERS = (ast.stmt, ast.ExceptHandler, ast.match_case)
_TYPE_VARIABLES = {"TypeVar", "ParamSpec", "NewType", "TypeVarTuple"}


def bindings(source: bytes, starts: Iterable[int]) -> dict[str, list[str]]:
    """Return what each name may be bound to, in the file's order; the name itself stands for "its own".

    Args:
        source: the file.
        starts: first bytes of its top-level statements, in order.
    """
    places = [*starts, len(source)]
    imports: dict[str, list[str]] = {}
    own: dict[str, list[str]] = {}
    for start, end in itertools.pairwise(places):
        named = _NAMED.match(source, start)
        if named:
            own.setdefault(named[1].decode("utf-8", "replace"), []).append("")
            continue
        block = _BLOCK.match(source, start)
        if block is None and not (_IMPORT.match(source, start) or _ASSIGNED.match(source, start)):
            continue
        # `else` and its like are nothing without the block before: what they hold is read by itself.
        headless = block is not None and block[0].endswith(b":")
        text = source[block.end() if block and headless else start : end].decode("utf-8", "replace")
        # What stands in a block is bound under a condition; the import is what most readers see.
        for name, statement in _bound(textwrap.dedent(text).strip() if headless else text):
            if _IMPORT.match(statement.encode()):
                imports.setdefault(name, []).append(statement)
            elif block:
                imports.setdefault(name, []).append(name)
            else:
                own.setdefault(name, []).append(statement)
    found = dict(imports)
    for name, statements in own.items():
        constant = len(statements) == 1 and statements[0] and name not in imports
        constant = constant and not _is_filled(name, statements[0], source)
        found[name] = statements if constant else [name]
    return found


def _is_filled(name: str, statement: str, source: bytes) -> bool:
    """Say whether a constant is a container that is empty, or that its file changes: its content is not known here."""
    value = statement.partition("=")[2].strip()
    if value[:1] not in "[{(":
        return False
    if not value[1:-1].strip():
        return value[:1] != "("
    return bool(re.search(_FILLS % re.escape(name.encode()), source, re.MULTILINE))


def used(function: str, bound: dict[str, list[str]]) -> list[str]:
    """Return the bindings whose name occurs in a function's text, sorted by name."""
    words = {word.decode("utf-8", "replace") for word in _WORD.findall(function.encode("utf-8", "replace"))}
    return [statement for name in sorted(words & bound.keys()) for statement in dict.fromkeys(bound[name])]


def _bound(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names that statements bind, each with its statement: empty where it is no import and no constant."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname or alias.name).partition(".")[0], f"import {_written(alias)}"
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                yield alias.asname or alias.name, f"from {module} import {_written(alias)}"
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, ""
        else:
            constant = (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
                and _is_constant(node.value)
            )
            for name in _own_names(node):
                yield name, ast.get_source_segment(text, node) or "" if constant else ""


def _own_names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement binds itself: by assignment, loop, `with`, `:=` or a pattern of `match`."""
    pending: list[ast.AST] = [statement]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name
        elif isinstance(node, ast.MatchMapping) and node.rest:
            yield node.rest
        # A comprehension's loops and a lambda's arguments are no names of the file.
        pending += [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.stmt | ast.ExceptHandler | ast.comprehension | ast.Lambda)
        ]


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield statements, those in blocks too, but not those of functions and classes."""
    pending: list[ast.AST] = list(reversed(tree.body))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.stmt):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            children = [
                child
                for child in ast.iter_child_nodes(node)
                if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case)
            ]
            pending += reversed(children)


def _is_constant(value: ast.expr) -> bool:
    """Say whether a value is a literal, or a type variable of literals, and short."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in _TYPE_VARIABLES:
        return not value.keywords and all(isinstance(argument, ast.Constant) for argument in value.args)
    if (value.end_lineno or 0) - value.lineno > 20:
        return False
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return len(ast.unparse(value)) <= LONGEST_CONSTANT


def _written(alias: ast.alias) -> str:
    return f"{alias.name} as {alias.asname}" if alias.asname else alias.name
