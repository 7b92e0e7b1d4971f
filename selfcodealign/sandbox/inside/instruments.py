"""Put instruments into the code of tests: counters, a look at what they compare, and the harness's own unittest."""

# A visitor's methods stand for several kinds of nodes, and trees are built of the parts of other trees.
# pyright: reportAssignmentType=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false

import ast

from syntax import TEST_NAME, bound_names, called_name  # pyright: ignore[reportMissingImports]


class Instrument(ast.NodeTransformer):
    """Count assertions, look at what they compare, note which test functions run; nothing else changes.

    `hook` is a constant for which the harness will put itself into the tests' code.
    """

    ASKING = frozenset({"isinstance", "isclose", "allclose", "array_equal"})
    WATCHED = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Lt, ast.LtE, ast.Gt, ast.GtE)

    def __init__(self, hook, tree):
        self.hook = hook
        self.calls_main = False
        self.mains, self.pytest_mains = {"unittest.main"}, {"pytest.main"}
        self.exits = {"sys.exit"} | ({"exit", "quit", "SystemExit"} - bound_names(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "unittest":
                self.mains.update(alias.asname or alias.name for alias in node.names if alias.name == "main")
            elif isinstance(node, ast.Import):
                self.mains.update(
                    alias.asname + ".main" for alias in node.names if alias.name == "unittest" and alias.asname
                )

    def _call(self, at, what, *arguments):
        call = ast.Call(
            func=ast.Attribute(value=ast.Constant(value=self.hook), attr="hook", ctx=ast.Load()),
            args=[ast.Constant(value=what), *arguments],
            keywords=[],
        )
        return ast.fix_missing_locations(ast.copy_location(call, at))

    def _counted(self, node):
        statements = [ast.Expr(value=self._call(node, "ran")), node, ast.Expr(value=self._call(node, "held"))]
        return [ast.copy_location(item, node) for item in statements]

    def visit_Assert(self, node):
        """Count it before and after."""
        self.generic_visit(node)
        return self._counted(node)

    def visit_Expr(self, node):
        """Count unittest's assertions like statements."""
        self.generic_visit(node)
        asserting = isinstance(node.value, ast.Call) and called_name(node.value).startswith("assert")
        return self._counted(node) if asserting else node

    def visit_Compare(self, node):
        """Look at every compared value."""
        self.generic_visit(node)
        if len(node.ops) == 1 and isinstance(node.ops[0], self.WATCHED):
            node.left = self._call(node.left, "left", node.left)
            node.comparators = [self._call(node.comparators[0], "right", node.comparators[0])]
        elif any(isinstance(operator, self.WATCHED) for operator in node.ops):
            node.left = self._watched(node.left)
            node.comparators = [self._watched(item) for item in node.comparators]
        return node

    def _watched(self, node):
        return node if isinstance(node, ast.Constant) else self._call(node, "watch", node)

    def _arguments(self, nodes):
        """Look at the arguments of an assertion, the first two as a pair."""
        if len(nodes) > 1 and not any(isinstance(item, ast.Starred) for item in nodes[:2]):
            pair = [self._call(nodes[0], "left", nodes[0]), self._call(nodes[1], "right", nodes[1])]
            return pair + [item if isinstance(item, ast.Starred) else self._watched(item) for item in nodes[2:]]
        return [item if isinstance(item, ast.Starred) else self._watched(item) for item in nodes]

    def visit_Call(self, node):
        """Look at what assertions compare, and run `unittest.main` by the harness."""
        self.generic_visit(node)
        if called_name(node).startswith("assert") or called_name(node) in self.ASKING:
            node.args = self._arguments(node.args)
        name = node.func
        dotted = name.id if isinstance(name, ast.Name) else ""
        if isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name):
            dotted = f"{name.value.id}.{name.attr}"
        if dotted in self.pytest_mains:
            return self._call(node, "pytest")
        if dotted in self.exits - {"SystemExit"} and len(node.args) < 2 and not node.keywords:
            return self._call(node, "exit", *(node.args or [ast.Constant(value=None)]))
        if dotted in self.mains:
            stays = any(
                word.arg == "exit" and isinstance(word.value, ast.Constant) and not word.value.value
                for word in node.keywords
            )
            self.calls_main = True
            return self._call(node, "unittest", ast.Constant(value=not stays))
        return node

    def visit_Raise(self, node):
        """Tell an exit of the tests from one of the response."""
        self.generic_visit(node)
        raised = node.exc
        if "SystemExit" not in self.exits or called_name(raised) != "SystemExit" or node.cause:
            return node
        if not isinstance(raised, ast.Call) or len(raised.args) > 1 or raised.keywords:
            return node
        call = self._call(node, "exit", *(raised.args or [ast.Constant(value=None)]))
        return ast.copy_location(ast.Expr(value=call), node)

    def visit_Module(self, node):
        """Note when the last statement begins."""
        self.generic_visit(node)
        mark_end(node, lambda at: self._call(at, "end"))
        return node

    def visit_FunctionDef(self, node):
        """Note that a test function has been called."""
        self.generic_visit(node)
        if TEST_NAME.search(node.name):
            place = 1 if ast.get_docstring(node, clean=False) is not None else 0
            mark = self._call(node, "called", ast.Constant(value=node.name))
            node.body.insert(place, ast.copy_location(ast.Expr(value=mark), node))
        return node

    visit_AsyncFunctionDef = visit_FunctionDef


def installed(code, mark, instruments):
    """Return code in which a marked constant is the instruments: no name leads to them."""
    constants = tuple(
        instruments
        if type(constant) is str and constant == mark
        else (installed(constant, mark, instruments) if isinstance(constant, type(code)) else constant)
        for constant in code.co_consts
    )
    return code.replace(co_consts=constants)


def mark_end(tree, mark):
    """Put a statement that `mark` makes before the last one of the tests, in every branch that may be the last."""
    if not tree.body:
        return
    last = tree.body[-1]
    if isinstance(last, ast.If):
        for branch in (last.body, last.orelse):
            if branch:
                inner = ast.Module(body=branch, type_ignores=[])
                mark_end(inner, mark)
                branch[:] = inner.body
    else:
        tree.body.insert(len(tree.body) - 1, ast.copy_location(ast.Expr(value=mark(last)), last))
