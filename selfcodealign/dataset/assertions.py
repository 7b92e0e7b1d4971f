"""Cut tests into single checks, and tell those that may share a program from those that need one of their own.

Many checks run in one program where neither the code nor they can leave anything behind for the next: the code is
nothing but functions of plain Python whose values are made anew in every call, and the checks are bare assertions. What
is not known to be so counts as not so; it costs a program for each check and changes no verdict.
"""

import ast
import builtins
import importlib
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType

PURE_MODULES = frozenset(
    {
        *("bisect", "cmath", "collections", "fractions", "functools", "heapq", "itertools", "math", "re", "statistics"),
        *("string", "textwrap", "typing", "unicodedata"),
    }
)
"""Modules of the standard library without a state that a program sees."""
PURE_BUILTINS = frozenset(
    {
        *("abs", "all", "any", "ascii", "bin", "bool", "bytearray", "bytes", "callable", "chr", "complex", "dict"),
        *("divmod", "enumerate", "filter", "float", "format", "frozenset", "hex", "int", "isinstance", "issubclass"),
        *("iter", "len", "list", "map", "max", "min", "next", "oct", "ord", "pow", "print", "range", "repr"),
        *("reversed", "round", "set", "slice", "sorted", "str", "sum", "tuple", "type", "zip", "object", "Ellipsis"),
        *("NotImplemented", "__name__"),
        *(name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)),
    }
)
IMPURE_NAMES = frozenset(vars(builtins)) - PURE_BUILTINS | {
    *("attrgetter", "methodcaller", "cache_clear", "get_type_hints", "ForwardRef", "update_wrapper", "wraps"),
}
IMPURE_NODES = (
    *(ast.ClassDef, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await, ast.With, ast.Global),
    *(ast.NamedExpr, ast.Interactive),
)
Statements = Sequence[ast.stmt]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of some tests as a program of its own.

    Args:
        text: the program, in one spelling.
        preamble: the statements before its check.
        statement: the check itself.
        plain: it is an assertion with nothing before it but imports, and leaves nothing behind.
        expected: what it expects of the code, in one spelling: checks that expect the same may hold by the same guess.
        names: names that it reads.
    """

    text: str
    preamble: str
    statement: str
    plain: bool
    expected: str
    names: frozenset[str]


def parsed(text: str) -> list[ast.stmt]:
    """Return the statements of a text; none if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def separate(tests: str) -> list[str]:
    """Split tests into programs with one check each: an assertion, a call of a test, or a test that nobody calls.

    Each program keeps the statements before its check that are no check themselves, and those behind a test that nobody
    calls if it reads a name that they bind. Tests that do not parse give none, nor do those that Python cannot write
    down again, because they are nested too deeply or for their strings.
    """
    try:
        return [_written([*before, check]) for before, check in _separate(parsed(tests))]
    except (RecursionError, ValueError):
        return []


def checks(tests: str) -> list[Check]:
    """Split tests as `separate` does, test functions that are nothing but assertions into these."""
    try:
        return [_check(before, check) for before, check in _separate(_unfolded(parsed(tests)))]
    except (RecursionError, ValueError):
        return []


def _check(before: list[ast.stmt], check: ast.stmt) -> Check:
    imports = all(isinstance(one, ast.Import | ast.ImportFrom) for one in before)
    plain = isinstance(check, ast.Assert) and imports and not _leaves_something([*before, check])
    if plain:
        before = [one for one in before if _bound_by(one) & _names([check])]
    whole = [*before, check]
    return Check(_written(whole), _written(before), _written([check]), plain, expected(check), _names(whole))


def is_pure(code: str) -> bool:
    """Tell whether code is known to keep no state between two calls of its functions, and to reach for nothing else.

    It may define functions, import some modules and name constants at its top. Its functions may do what they like with
    values of their own; they hold no default that can change, declare nothing global, write to no attribute, and use
    neither private names nor builtins that reach out of them.
    """
    body = parsed(code)
    return bool(body) and all(_is_pure(statement) for statement in body) and not _leaves_something(body)


def defined(code: str) -> set[str]:
    """Return the names of functions, classes and variables that code binds at its top."""
    return {
        name
        for statement in parsed(code)
        if not isinstance(statement, ast.Import | ast.ImportFrom)
        for name in _bound_by(statement)
    }


def expected(check: ast.stmt) -> str:
    """Say what a check expects: the right side of an equation, a truth value, or all of it where that is not seen."""
    test = check.test if isinstance(check, ast.Assert) else None
    if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.Is):
        return ast.unparse(test.comparators[0])
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        return "False"
    return "True" if isinstance(test, ast.Call) else _written([check])


def together(kept: Iterable[Check]) -> str:
    """Join checks to one text of tests: imports once, test functions called where they stand if they take nothing."""
    lines: list[ast.stmt] = []
    seen = set()
    for check in kept:
        for statement in parsed(check.text):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                if (text := ast.unparse(statement)) in seen:
                    continue
                seen.add(text)
            lines.append(statement)
        last = lines[-1]
        if isinstance(last, ast.FunctionDef) and not last.decorator_list and not _takes_something(last):
            lines += parsed(f"{last.name}()")
    return _written(lines)


def _written(statements: Statements) -> str:
    return ast.unparse(ast.Module([*statements], type_ignores=[]))


def _names(statements: Statements) -> frozenset[str]:
    return frozenset(node.id for one in statements for node in ast.walk(one) if isinstance(node, ast.Name))


def _bound_by(statement: ast.stmt) -> set[str]:
    """Return the names that an import, a definition or an assignment binds; none for any other statement."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in statement.names}
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and _is_bound(node)}
    return set()


def _bound_later(body: Statements, place: int) -> list[ast.stmt]:
    """Return the statements behind a function or class that bind names, if it reads one of these when it runs."""
    later = [(one, bound) for one in body[place + 1 :] if (bound := _bound_by(one))]
    read = _names([body[place]])
    return [one for one, _ in later] if any(bound & read for _, bound in later) else []


def _separate(body: Statements) -> Iterator[tuple[list[ast.stmt], ast.stmt]]:
    """Yield each check with the statements before it that are none.

    A test that nobody calls runs behind all of them, so that it may need those after it too.
    """
    called = {name for statement in body if (name := _called(statement))}
    others: list[ast.stmt] = []
    for place, statement in enumerate(body):
        if not _is_check(statement, called):
            others.append(statement)
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
            yield [*others, *(one for one in _bound_later(body, place) if not _is_check(one, called))], statement
        else:
            yield [*others], statement


def _is_check(statement: ast.stmt, called: set[str]) -> bool:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return statement.name.lower().startswith("test") and statement.name not in called
    return isinstance(statement, ast.Assert) or _called(statement) is not None


def _called(statement: ast.stmt) -> str | None:
    """Return the name of the test function that a statement calls."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        name = getattr(statement.value.func, "id", "")
        return name if name.startswith("test") else None
    return None


def _unfolded(body: Statements) -> list[ast.stmt]:
    """Put the assertions of test functions that are nothing else in their place, and take away their calls."""
    uses = Counter(node.id for one in body for node in ast.walk(one) if isinstance(node, ast.Name))
    calls = Counter(name for one in body if (name := _called(one)))
    open_ones = {
        one.name: [part for part in one.body if isinstance(part, ast.Assert)]
        for place, one in enumerate(body)
        if isinstance(one, ast.FunctionDef)
        and one.name.startswith("test")
        and not one.decorator_list
        and not _takes_something(one)
        and all(isinstance(part, ast.Assert) or _is_constant_expression(part) for part in one.body)
        and uses[one.name] == calls[one.name]
        and not _bound_later(body, place)
    }
    found: list[ast.stmt] = []
    for one in body:
        if isinstance(one, ast.FunctionDef) and one.name in open_ones:
            found += open_ones[one.name]
        elif _called(one) not in open_ones:
            found.append(one)
    return found


def _is_constant_expression(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


def _takes_something(function: ast.FunctionDef) -> bool:
    given = function.args
    return bool(given.args or given.posonlyargs or given.kwonlyargs or given.vararg or given.kwarg)


def _is_bound(name: ast.Name) -> bool:
    return not isinstance(name.ctx, ast.Load)


def _is_pure(statement: ast.stmt) -> bool:
    """Tell whether a statement at the top of code binds only what cannot change."""
    if isinstance(statement, ast.FunctionDef):
        return not statement.decorator_list and statement.name not in vars(builtins)
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return statement.value is not None and _is_fixed(statement.value) and all(map(_is_name, targets))
    return isinstance(statement, ast.Import | ast.ImportFrom) or _is_constant_expression(statement)


def _is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name)


def _is_fixed(value: ast.expr) -> bool:
    """Tell whether a value is a constant, or a tuple of such."""
    fixed = (ast.Constant, ast.Tuple, ast.Load, ast.UnaryOp, ast.unaryop)
    return all(isinstance(node, fixed) for node in ast.walk(value))


def _leaves_something(body: Statements) -> bool:
    """Tell whether something in a text might change what is not its own, or reach for it."""
    nodes = [node for statement in body for node in ast.walk(statement)]
    modules = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules[alias.asname or alias.name.partition(".")[0]] = alias.name
        elif isinstance(node, ast.ImportFrom) and (
            node.level or not all(_is_harmless(node.module or "", alias.name) for alias in node.names)
        ):
            return True
    if not PURE_MODULES.issuperset(modules.values()):
        return True
    for node in nodes:
        if isinstance(node, IMPURE_NODES):
            return True
        if isinstance(node, ast.Name | ast.arg):
            name = node.id if isinstance(node, ast.Name) else node.arg
            if name in IMPURE_NAMES or (name.startswith("__") and name != "__name__"):
                return True
        elif isinstance(node, ast.Attribute):
            module = modules.get(node.value.id) if isinstance(node.value, ast.Name) else None
            if node.attr.startswith("_") or node.attr in IMPURE_NAMES or not isinstance(node.ctx, ast.Load):
                return True
            if module and not _is_harmless(module, node.attr):
                return True
        elif isinstance(node, ast.arguments):
            if not all(_is_fixed(value) for value in (*node.defaults, *filter(None, node.kw_defaults))):
                return True
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "type" and len(node.args) != 1:
            return True
    return False


@cache
def _is_harmless(module: str, name: str) -> bool:
    """Tell whether a module has such a name, and it is no other module's."""
    if module not in PURE_MODULES or name.startswith("_") or name in IMPURE_NAMES:
        return False
    value = getattr(importlib.import_module(module), name, None)
    return value is not None and not isinstance(value, ModuleType)
