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


def bound_names(tree, imports=False):
    """Return the names that a module's own code binds, in any of its blocks but not inside functions and classes."""
    names = set()
    queue = list(tree.body)
    while queue:
        node = queue.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names.add(node.name)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            if imports:
                names.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        queue.extend(ast.iter_child_nodes(node))
    return names


def used_names(tree):
    """Return the names that a tree reads, and the words of its strings, in which patches and doctests name things."""
    names = set()
    for node in ast.walk(tree):
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


def sets_attributes(tree):
    """Tell whether code assigns to attributes of anything but its own instances."""
    return any(
        isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and getattr(node.value, "id", "") not in ("self", "cls")
        for node in ast.walk(tree)
    )
