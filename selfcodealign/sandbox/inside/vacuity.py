"""Find tests that cannot fail, by reading them. Only what is certain is flagged; the run against a stub finds more."""

# A visitor's methods stand for several kinds of nodes, and trees are built of the parts of other trees.
# pyright: reportAssignmentType=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false

import ast

from syntax import (  # pyright: ignore[reportMissingImports]
    DOCTEST,
    FUNCTIONS,
    LEAVING,
    TEST_NAME,
    bound_names,
    called_name,
    never,
    nodes_of,
    used_names,
)

SWALLOWING = {"AssertionError", "Exception", "BaseException"}
INDIRECT = {"globals", "locals", "vars", "eval", "exec", "getattr", "__import__", "importlib", "subprocess", "runpy"}
# With one of these, tests may call their functions without a word of their names.
TABLES = {
    "globals", "locals", "vars", "dir", "eval", "exec", "getattr", "__dict__", "__main__", "__subclasses__", "modules",
    "getmembers", "methodcaller",
}  # fmt: skip


def constant(node):
    """Tell whether a condition has the same truth whatever the program does."""
    if isinstance(node, (ast.Constant, ast.JoinedStr)):
        return True
    if isinstance(node, (ast.Tuple, ast.List, ast.Set, ast.Dict)):
        filled = bool(getattr(node, "elts", None) or getattr(node, "keys", None))
        return filled or not isinstance(node, ast.Dict)
    if isinstance(node, ast.Lambda):
        return True
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return constant(node.operand)
    if isinstance(node, ast.BoolOp):
        deciding = any(
            isinstance(value, ast.Constant) and bool(value.value) is isinstance(node.op, ast.Or)
            for value in node.values
        )
        return deciding or all(constant(value) for value in node.values)
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        if all(_literal(side) for side in sides):
            return True
        return (
            len(sides) == 2
            and isinstance(node.left, ast.Name)
            and isinstance(node.ops[0], (ast.Eq, ast.Is, ast.GtE, ast.LtE))
            and ast.dump(sides[0]) == ast.dump(sides[1])
        )
    return False


def _literal(node):
    try:
        ast.literal_eval(node)
    except Exception:
        return False
    return True


def _leaves(statement):
    """Tell whether nothing after a statement of the same block can run."""
    if isinstance(statement, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
        return True
    return isinstance(statement, ast.Expr) and called_name(statement.value) in LEAVING


def _fails(handler):
    """Tell whether an exception handler passes a failure on, or raises one of its own."""
    for node in ast.walk(handler):
        if isinstance(node, (ast.Raise, ast.Assert)) or called_name(node) in LEAVING | {"fail"}:
            return True
        # A flag or counter set here may decide the end of the tests.
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.Return)) or called_name(node) in {"append", "add"}:
            return True
    return False


def _swallows(kind):
    """Tell whether `except kind` catches a failed assertion."""
    if kind is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in SWALLOWING for node in ast.walk(kind))


class _Checks(ast.NodeVisitor):
    """Collect every place where tests can fail, with the reason why it cannot, or None if it can."""

    def __init__(self, tree):
        self.found = []
        self.why_dead = None
        self.loaded = {
            node.id for node in nodes_of(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        self.loaded |= {node.attr for node in nodes_of(tree) if isinstance(node, ast.Attribute)}
        # Whether they did is seen when the tests have run: assertions are counted.
        self.by_table = not TABLES.isdisjoint(self.loaded)

    def add(self, why=None):
        self.found.append(self.why_dead or why)

    def block(self, statements, why=None):
        """Visit a block; what follows a statement that leaves it is unreachable."""
        before = self.why_dead
        self.why_dead = before or why
        for statement in statements:
            self.visit(statement)
            if _leaves(statement):
                self.why_dead = self.why_dead or "unreachable"
        self.why_dead = before

    def visit_Module(self, node):
        self.block(node.body)

    def visit_FunctionDef(self, node):
        called = node.name in self.loaded or self.by_table or node.decorator_list
        dead = not called and not TEST_NAME.search(node.name) and not node.name.startswith("__")
        hooks = ("setUp", "tearDown", "runTest")
        self.block(node.body, "in functions that nobody calls" if dead and not node.name.startswith(hooks) else None)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        self.block(node.body)

    def visit_If(self, node):
        self.block(node.body, "unreachable" if never(node.test) else None)
        self.block(node.orelse, "unreachable" if isinstance(node.test, ast.Constant) and node.test.value else None)

    def visit_While(self, node):
        self.block(node.body, "unreachable" if never(node.test) else None)
        self.block(node.orelse)

    def visit_For(self, node):
        empty = isinstance(node.iter, (ast.List, ast.Tuple)) and not node.iter.elts
        self.block(node.body, "unreachable" if empty else None)
        self.block(node.orelse)

    visit_AsyncFor = visit_For

    def visit_With(self, node):
        suppressed = None
        for item in node.items:
            name = called_name(item.context_expr)
            if name == "suppress" and any(_swallows(kind) for kind in item.context_expr.args):
                suppressed = "swallowed by contextlib.suppress"
            elif name.startswith("assert") or name in ("raises", "warns"):
                self.add()
        self.block(node.body, suppressed)

    visit_AsyncWith = visit_With

    def visit_Try(self, node):
        swallowed = any(_swallows(handler.type) and not _fails(handler) for handler in node.handlers)
        self.block(node.body, "swallowed by try/except" if swallowed else None)
        for handler in node.handlers:
            self.block(handler.body)
        self.block(node.orelse)
        self.block(node.finalbody)

    visit_TryStar = visit_Try

    def visit_Assert(self, node):
        # `assert False` in a branch is how tests say "must not come here".
        certain = constant(node.test) and not never(node.test)
        self.add("constant" if certain else None)

    def visit_Raise(self, node):
        self.add()

    def visit_Call(self, node):
        name = called_name(node)
        if name.startswith("assert") and name not in ("assertTrue", "assertFalse", "assertEqual"):
            self.add()
        elif name in ("assertTrue", "assertFalse"):
            self.add("constant" if node.args and constant(node.args[0]) else None)
        elif name == "assertEqual":
            self.add("constant" if len(node.args) > 1 and all(_literal(side) for side in node.args[:2]) else None)
        elif name in ("fail", "raises", "testmod", "run_docstring_examples") or (
            name in LEAVING and node.args and not never(node.args[0])
        ):
            self.add()
        self.generic_visit(node)


def checks_of(test):
    """List why each place in tests that looks as if it could fail cannot, None for those that can."""
    checks = _Checks(test)
    checks.visit(test)
    return checks.found


def why_vacuous(code, test, test_text):
    """Say why tests cannot fail, or cannot tell a good response from a bad one; None if they may be able to.

    Args:
        code: syntax tree of the response.
        test: syntax tree of its tests.
        test_text: their source, for doctests.
    """
    doctests = bool(DOCTEST.search(test_text))
    if not test.body:
        return "there are no tests"
    found = checks_of(test)
    if not doctests:
        if not found:
            main_only = any(called_name(node) == "main" for node in nodes_of(test))
            return None if main_only else "the tests assert nothing"
        if None not in found:
            return f"every assertion is {sorted(set(found))[0]}"
    own = bound_names(code)
    used = used_names(test)
    if not own & used:
        indirect = used & INDIRECT or any(
            isinstance(node, ast.Attribute) and node.attr == "modules" for node in nodes_of(test)
        )
        whole = any(called_name(node) in ("main", "testmod") for node in nodes_of(test))
        return None if indirect or whole else "the tests use nothing that the response defines"
    redefined = {node.name for node in test.body if isinstance(node, (*FUNCTIONS, ast.ClassDef))}
    if own & used <= redefined:
        return f"the tests redefine {sorted(own & used)[0]}"
    return None


# ---- programs that leave early ---------------------------------------------------------------------------------------


def assertion_left(tree, frames):
    """Tell whether a program was left while it asserted something, or before a later assertion of a frame it was in.

    Args:
        tree: its syntax tree.
        frames: of its own code, (first line of the function or 0 for the module, line where it was left).
    """
    scopes = {0: tree}
    for node in nodes_of(tree):
        if isinstance(node, FUNCTIONS):
            scopes[min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])] = node
    return any(first in scopes and _asserts_from(scopes[first].body, line) for first, line in frames)


def _asserts_from(statements, line):
    """Tell whether one of a function's statements asserts at a line, or one that may follow it does."""
    for statement in statements:
        if isinstance(statement, (*FUNCTIONS, ast.ClassDef)) or statement.end_lineno < line:
            continue
        if statement.lineno > line:
            if asserts_anything([statement]):
                return True
            continue
        blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
        if isinstance(statement, ast.Assert):
            return True
        if isinstance(statement, ast.If) and _within(statement.body, line):
            blocks = blocks[:1]
        if any(_asserts_from(block, line) for block in blocks if block):
            return True
    return False


def _within(block, line):
    return bool(block) and block[0].lineno <= line <= block[-1].end_lineno


def asserts_anything(statements):
    """Tell whether statements hold an assertion, or a call that looks like a test."""
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assert) or TEST_NAME.search(called_name(node)):
                return True
            if called_name(node).startswith("assert") or (called_name(node) == "main" and _is_unittest(node)):
                return True
    return False


def _is_unittest(node):
    return isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") == "unittest"
