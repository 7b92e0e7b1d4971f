"""Say how code uses a name: in annotations only, in decorators only, called, or for its attributes."""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Use:
    """Where a name stands in code.

    Attributes:
        attributes: what is taken from it, as `now` in `datetime.now`.
        bare: it stands alone, called or handed on.
        as_type: it stands alone as a type: in an annotation or in `isinstance`.
        subscripted: it has parameters, as `Column` in `Column[int]`.
        annotated, decorating, elsewhere: the places.
    """

    attributes: set[str] = field(default_factory=set)
    bare: bool = False
    as_type: bool = False
    subscripted: bool = False
    annotated: bool = False
    decorating: bool = False
    elsewhere: bool = False


def parsed(code: str) -> ast.Module:
    """Return the syntax tree of code, with its type comments as far as they are types.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: the code is not Python 3, or too deeply nested.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(code, type_comments="# type:" in code)
        except SyntaxError:
            return ast.parse(code)


def uses(tree: ast.Module) -> dict[str, Use]:
    """Return the use of every name that code loads, those in string annotations and type comments too."""
    found: dict[str, Use] = {}
    for node, place in _places(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found.setdefault(node.value.id, Use()).attributes.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            use = found.setdefault(node.id, Use())
            setattr(use, place.partition(" ")[0], True)
            use.subscripted |= place.endswith("subscripted")
            if not place.endswith("base"):
                use.bare = True
                use.as_type |= place.startswith("annotated") or place.endswith("type")
    return found


def local_names(tree: ast.Module) -> set[str]:
    """Return every name that code binds in any scope."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names


def _places(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield each node with its place: annotated, decorating or elsewhere; `base` and `type` say more of a name."""
    pending: list[tuple[ast.AST, str]] = [(tree, "elsewhere")]
    while pending:
        node, place = pending.pop()
        yield node, place
        tested = place.endswith("type") and isinstance(node, ast.Tuple)
        place = place.partition(" ")[0]
        comment = getattr(node, "type_comment", None)
        if comment:
            pending += [(part, "annotated") for part in _types(comment, signature=isinstance(node, _FUNCTIONS))]
        if place == "annotated" and isinstance(node, ast.Constant) and isinstance(node.value, str):
            pending += [(part, "annotated") for part in _types(node.value)]
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    pending.append((child, f"{place} type" if tested else _place_of(node, name, child, place)))


_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def _place_of(node: ast.AST, name: str, child: ast.AST, place: str) -> str:
    """Return the place of a node's child by the field it stands in."""
    if name in {"annotation", "returns"}:
        return "annotated"
    if name == "decorator_list":
        return "decorating"
    if isinstance(node, ast.Attribute):
        return f"{place} base"
    if isinstance(node, ast.Subscript) and _called(node.value) == "Literal":
        return "elsewhere" if name == "slice" else place
    if isinstance(node, ast.Subscript) and name == "value":
        return f"{place} subscripted"
    if isinstance(node, ast.Call) and name == "args":
        called = _called(node.func)
        if called == "cast" and child is node.args[0]:
            return "annotated"
        if called in {"isinstance", "issubclass"} and child is node.args[-1]:
            return f"{place} type"
    return place


def _called(function: ast.expr) -> str:
    """Return the last part of a called name."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _types(text: str, *, signature: bool = False) -> list[ast.AST]:
    """Parse a type that is written as text; nothing if it is none."""
    try:
        if signature:
            kind = ast.parse(text, mode="func_type")
            return [*kind.argtypes, kind.returns]
        return [ast.parse(text.strip(), mode="eval").body]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
