"""Static filters: which type-clean functions are worth learning from (paper B.2).

`fixed` reads the syntax tree and the comments; `reference` looks for the published list of substrings, and so also
rejects `debug` for `bug` and `import osmnx` for `import os`.
"""

import ast
import io
import re
import tokenize
import warnings

from selfcodealign.config.seeds import FilterSeeds

BANNED_MODULES = ("argparse", "os", "subprocess", "sys", "setuptools", "distutils", "matplotlib", "seaborn")
"""Modules of scripts, systems and plots, whose functions have no result to test."""

_MARKER = re.compile(r"\b(?:todo|fixme|xxx|hack|bug)\b", re.IGNORECASE)
REFERENCE_WORDS = (
    "todo",
    "fixme",
    "bug",
    *(f"{keyword} {module}" for module in BANNED_MODULES for keyword in ("import", "from")),
)


def why_dropped(code: str, settings: FilterSeeds) -> tuple[str, str] | None:
    """Return the first filter that a function with its imports fails and what failed it, or None if it is kept.

    Reasons: syntax_error, too_nested, too_long, too_short, no_docstring, no_arguments, returns_nothing, banned_import,
    unfinished.

    Args:
        code: a function below its imports.
        settings: limits, and the modules that it may not import.
    """
    lines = code.count("\n") + 1
    if lines > settings.max_lines:
        return "too_long", f"{lines} lines"
    if lines < settings.min_lines:
        return "too_short", f"{lines} lines"
    banned = frozenset(settings.banned_modules)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(code)
        return _why_dropped_tree(code, tree, banned)
    except (SyntaxError, ValueError, tokenize.TokenError) as error:
        return "syntax_error", str(error).splitlines()[0]
    except (RecursionError, MemoryError):
        return "too_nested", ""


def _why_dropped_tree(code: str, tree: ast.Module, banned: frozenset[str]) -> tuple[str, str] | None:
    function = next((node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)), None)
    if function is None:
        return "syntax_error", "no function"
    docstring = ast.get_docstring(function)
    if not docstring or not docstring.strip():
        return "no_docstring", ""
    arguments = function.args
    if not (arguments.posonlyargs or arguments.args or arguments.vararg or arguments.kwonlyargs or arguments.kwarg):
        return "no_arguments", ""
    if not returns_value(function):
        return "returns_nothing", ""
    for module in imported_modules(tree):
        if module.partition(".")[0] in banned:
            return "banned_import", module
    marker = _unfinished(code, docstring)
    return ("unfinished", marker) if marker else None


def returns_value(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Say whether a function itself, not one nested in it, returns an expression."""
    pending: list[ast.AST] = list(function.body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Return) and node.value is not None:
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            pending += ast.iter_child_nodes(node)
    return False


def imported_modules(tree: ast.AST) -> list[str]:
    """List the modules that code imports, in any scope."""
    modules = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            modules.append(node.module or "")
    return modules


def _unfinished(code: str, docstring: str) -> str:
    """Return the first word in a comment or the docstring that says the code is not done; empty if there is none."""
    if not _MARKER.search(code):
        return ""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    found = next(filter(None, map(_MARKER.search, [docstring, *comments])), None)
    return found[0] if found else ""


def why_dropped_reference(code: str) -> tuple[str, str] | None:
    """Return the first published filter that a function fails and what failed it, or None if it is kept.

    The published filters are substrings (§1.6 of filter_dataset.py): reasons banned_word, too_long, no_arguments,
    returns_nothing, no_docstring.
    """
    # Loading compiled passes takes most of a second, which the other mode need not pay.
    from selfcodealign.seeds import lexer

    lower = code.lower()
    for word in REFERENCE_WORDS:
        if word in lower:
            return "banned_word", word
    lines = code.split("\n")
    if len(lines) > 150:
        return "too_long", f"{len(lines)} lines"
    if any(line.startswith("def ") and "():" in line for line in lines):
        return "no_arguments", ""
    if not lexer.returns_value(lexer.as_array(code.encode("utf-8", "surrogatepass"))):
        return "returns_nothing", ""
    return None if _reference_docstring(code) else ("no_docstring", "")


def _reference_docstring(code: str) -> bool:
    """Say whether the first function's body opens with a string that starts or ends in three double quotes."""
    from selfcodealign.seeds.extraction import first_statement

    statement = first_statement(code.encode("utf-8", "surrogatepass"))
    return statement is not None and (statement.startswith(b'"""') or statement.endswith(b'"""'))
