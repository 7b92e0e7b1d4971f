"""Read syntax trees: which names they bind and use, what they call."""

# A visitor's methods stand for several kinds of nodes, and trees are built of the parts of other trees.
# pyright: reportAssignmentType=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false

import ast
import re

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LEAVING = {"exit", "quit", "_exit"}
TEST_NAME = re.compile(r"test|^_?check", re.IGNORECASE)
DOCTEST = re.compile(r"^\s*>>> ", re.MULTILINE)


def nodes_of(tree):
    """List the nodes of a tree that stays as it is: tests may be long, and are asked many things."""
    if not hasattr(tree, "nodes"):
        tree.nodes = list(ast.walk(tree))
    return tree.nodes


def bound_names(tree, imports=False):
    """Return the names that a module's own code binds, in any of its blocks but not inside functions and classes."""
    if not hasattr(tree, "bound"):
        tree.bound, tree.imported = set(), set()
        queue = list(tree.body)
        while queue:
            node = queue.pop()
            if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
                tree.bound.add(node.name)
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                tree.imported.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
            elif isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Store):
                    tree.bound.add(node.id)
            elif not isinstance(node, (ast.Lambda, ast.Constant)):
                queue.extend(ast.iter_child_nodes(node))
    return tree.bound | tree.imported if imports else set(tree.bound)


def defined_names(tree):
    """Return the names that a module's statements define or import."""
    names = {node.name for node in tree.body if isinstance(node, (*FUNCTIONS, ast.ClassDef))}
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
    return names


def used_names(tree):
    """Return the names that a tree reads, and the words of its strings, in which patches and doctests name things."""
    names = set()
    for node in nodes_of(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.update(re.findall(r"[^\W\d]\w*", node.value))
    return names


def called_name(node):
    """Return the last part of the name of what a call calls: `exit` for `sys.exit()`; empty if it has none."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def never(test):
    """Tell whether a condition is a falsy constant."""
    return isinstance(test, ast.Constant) and not test.value


def leaves_well(call):
    """Tell whether a call such as `sys.exit(0)` ends the program as a success, whatever has happened."""
    return not call.args or never(call.args[0])


def assigned_attributes(tree):
    """Return the attributes that code writes to, by whatever name it calls them."""
    named = {node.attr for node in nodes_of(tree) if isinstance(node, ast.Attribute) and not _read(node)}
    return named | {node.value for node in nodes_of(tree) if isinstance(node, ast.Constant) and type(node.value) is str}


def _read(node):
    return isinstance(node.ctx, ast.Load)


def sets_attributes(tree):
    """Tell whether code assigns to attributes of anything but its own instances."""
    return any(
        isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and getattr(node.value, "id", "") not in ("self", "cls")
        for node in nodes_of(tree)
    )
