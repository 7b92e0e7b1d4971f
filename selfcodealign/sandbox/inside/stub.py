"""Make the stub of a response: every function returns None. Tests that pass against it prove nothing."""

# A visitor's methods stand for several kinds of nodes, and trees are built of the parts of other trees.
# pyright: reportAssignmentType=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false

import ast

from syntax import FUNCTIONS, bound_names  # pyright: ignore[reportMissingImports]

KEPT_DECORATORS = {"property", "staticmethod", "classmethod", "cached_property"}


def _none():
    return ast.Constant(value=None)


def _stub_function(node, method):
    """Return the function with its docstring and any arguments, returning None."""
    arguments = ast.arguments(
        posonlyargs=[], args=[], vararg=ast.arg(arg="args"), kwonlyargs=[], kw_defaults=[], kwarg=ast.arg(arg="kwargs"),
        defaults=[],
    )  # fmt: skip
    docstring = ast.get_docstring(node, clean=False)
    body = [ast.Expr(value=ast.Constant(value=docstring))] if docstring is not None else []
    kept = [item for item in node.decorator_list if isinstance(item, ast.Name) and item.id in KEPT_DECORATORS]
    stub = type(node)(
        name=node.name, args=arguments, body=[*body, ast.Return(value=_none())],
        decorator_list=kept if method else [], returns=None, type_comment=None,
    )  # fmt: skip
    if hasattr(node, "type_params"):
        stub.type_params = []
    return stub


def _stub_class(node):
    """Return the class with its methods as stubs and nothing else, so that no attribute is ever set."""
    body = [_stub_function(item, True) for item in node.body if isinstance(item, FUNCTIONS)]
    if not any(item.name == "__init__" for item in body) and not node.bases:
        source = "def __init__(self, *args, **kwargs): return None"
        body.append(ast.parse(source).body[0])
    docstring = ast.get_docstring(node, clean=False)
    if docstring is not None:
        body.insert(0, ast.Expr(value=ast.Constant(value=docstring)))
    bases = [base for base in node.bases if isinstance(base, (ast.Name, ast.Attribute))]
    stub = ast.ClassDef(name=node.name, bases=bases, keywords=[], body=body or [ast.Pass()], decorator_list=[])
    if hasattr(node, "type_params"):
        stub.type_params = []
    return stub


def stub_of(tree):
    """Return the response with every function returning None, every class without attributes, every variable None."""
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    outer = [node for node in imports if any(node is item for item in tree.body)]
    docstring = ast.get_docstring(tree, clean=False)
    body = [ast.Expr(value=ast.Constant(value=docstring))] if docstring is not None else []
    body += outer
    defined = set()
    definitions = []
    queue = list(tree.body)
    while queue:
        node = queue.pop(0)
        if isinstance(node, FUNCTIONS):
            definitions.append(_stub_function(node, False))
            defined.add(node.name)
        elif isinstance(node, ast.ClassDef):
            definitions.append(_stub_class(node))
            defined.add(node.name)
        elif not isinstance(node, ast.Lambda):
            queue.extend(item for item in ast.iter_child_nodes(node) if isinstance(item, ast.stmt))
    names = sorted(bound_names(tree) - defined)
    body += [ast.Assign(targets=[ast.Name(id=name, ctx=ast.Store())], value=_none()) for name in names]
    return ast.fix_missing_locations(ast.Module(body=body + definitions, type_ignores=[]))
