"""What tells the code of two responses apart: its representation without docstrings, and the names it defines."""

import ast
import warnings

from selfcodealign.dataset import fences

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _parse(code: str) -> ast.Module | None:
    """Parse, or return None; a model's code can also exhaust the parser's stack or memory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _without_docstrings(tree: ast.AST, *, fill: bool) -> None:
    """Remove the docstrings of a tree's functions and classes in place; `fill` puts `pass` where nothing is left."""
    for node in ast.walk(tree):
        if isinstance(node, Definition) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or ([ast.Pass()] if fill else [])


def representation(response: str) -> str | None:
    """Return the top-level functions and classes of a response, without docstrings, in one spelling.

    A program without any is represented by all its statements. None if the code does not parse.
    """
    tree = _parse(fences.python_code(response))
    if tree is None:
        return None
    tree.body = [node for node in tree.body if isinstance(node, Definition)] or tree.body
    _without_docstrings(tree, fill=True)
    return _unparsed(tree)


def reference_representation(response: str) -> str | None:
    """Return the representation as the reference makes it (`sanitize_data.py:262-289`).

    All fenced blocks whatever their tag, so an output block is a syntax error (None); `async def` is not a function; a
    program without definitions is the empty string.
    """
    tree = _parse("\n".join(block.code for block in fences.reference_blocks(response)))
    if tree is None:
        return None
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    _without_docstrings(tree, fill=False)
    return _unparsed(tree)


def _unparsed(tree: ast.Module) -> str | None:
    try:
        return ast.unparse(tree)
    except (RecursionError, ValueError):
        return None


def normalised(name: str) -> str:
    """Fold spellings of a name: `is_even`, `isEven` and `_is_even` are one."""
    return name.replace("_", "").lower()


GENERIC_NAMES = frozenset({"main", "solve", "solution", "test", "run"})


def defined_names(response: str) -> frozenset[str]:
    """Return the qualified names that a response's Python defines: functions, classes and `Class.method`.

    Two responses with equal names define the same interface. Names that any program may have (`main`, `solve`, …) say
    nothing; a response that defines no other has the empty set.
    """
    tree = _parse(fences.python_code(response))
    names: set[str] = set()
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(normalised(node.name))
        elif isinstance(node, ast.ClassDef):
            owner = normalised(node.name)
            names.add(f"class {owner}")
            names |= {
                f"{owner}.{normalised(method.name)}"
                for method in node.body
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return frozenset() if names <= GENERIC_NAMES else frozenset(names)


def reference_names(response: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """Return the names of all functions and of all classes in the first block, whatever its tag (`:371-396`).

    Methods and nested functions are pooled with functions, so two classes with `__init__` and `add` have equal function
    names. None if the block does not parse.
    """
    found = fences.reference_blocks(response)
    tree = _parse(found[0].code if found else "")
    if tree is None:
        return None
    nodes = list(ast.walk(tree))
    return (
        frozenset(normalised(node.name) for node in nodes if isinstance(node, ast.FunctionDef)),
        frozenset(normalised(node.name) for node in nodes if isinstance(node, ast.ClassDef)),
    )


def squeezed(text: str) -> str:
    """Remove all white space, so that texts that differ only in layout are equal."""
    return "".join(text.split())
