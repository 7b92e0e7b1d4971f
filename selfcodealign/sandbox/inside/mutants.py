"""Make mutants of a response: each differs in one place, and good tests reject it."""

# A visitor's methods stand for several kinds of nodes, and trees are built of the parts of other trees.
# pyright: reportAssignmentType=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false

import ast

from syntax import FUNCTIONS  # pyright: ignore[reportMissingImports]

OPPOSITES = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip


def mutation_sites(tree):
    """List the places of functions' bodies that a mutant can change, in the order of a walk."""
    sites = []
    seen = set()
    for function in ast.walk(tree):
        if not isinstance(function, FUNCTIONS):
            continue
        for node in ast.walk(function):
            if id(node) in seen:
                continue
            seen.add(id(node))
            if isinstance(node, ast.Compare) and type(node.ops[0]) in OPPOSITES:
                sites.append(("compare", node))
            elif isinstance(node, (ast.BinOp, ast.AugAssign, ast.BoolOp)) and type(node.op) in OPPOSITES:
                sites.append(("operator", node))
            elif isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
                sites.append(("return", node))
            elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
                sites.append(("condition", node))
            elif isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
                sites.append(("constant", node))
    return sites


def _is_none(node):
    return isinstance(node, ast.Constant) and node.value is None


def mutate(tree, number, wanted):
    """Change one place of the tree, the `number`-th of `wanted` spread evenly; False if there are not so many."""
    sites = mutation_sites(tree)
    wanted = min(wanted, len(sites))
    if number >= wanted:
        return False
    kind, node = sites[number * len(sites) // wanted]
    if kind == "compare":
        node.ops[0] = OPPOSITES[type(node.ops[0])]()
    elif kind == "operator":
        node.op = OPPOSITES[type(node.op)]()
    elif kind == "return":
        node.value = ast.copy_location(ast.Constant(value=None), node.value)
    elif kind == "condition":
        node.test = ast.copy_location(ast.UnaryOp(op=ast.Not(), operand=node.test), node.test)
    else:
        node.value = (not node.value) if isinstance(node.value, bool) else node.value + 1
    ast.fix_missing_locations(tree)
    return True
