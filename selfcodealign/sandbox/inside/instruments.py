"""Put instruments into the code of tests: counters, a look at what they compare, and the harness's own unittest."""

# A visitor's methods stand for several kinds of nodes, and trees are built of the parts of other trees.
# pyright: reportAssignmentType=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false

import ast

from syntax import TEST_NAME, bound_names, called_name, nodes_of  # pyright: ignore[reportMissingImports]

OPERATORS = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.In: "within",
    ast.NotIn: "without",
}  # fmt: skip
DIFFERING = {ast.Sub: "sub", ast.Div: "div", ast.BitXor: "xor"}
COMPARING = frozenset({"isinstance", "isclose", "allclose", "array_equal", "array_equiv"})
# These take what they call, or what they look for in it, or hold for nearly all other values as well.
NOT_COMPARING = (
    "assertRaises", "assertWarns", "assertLogs", "assertNoLogs", "assert_called", "assert_not", "assertNot", "assertIs",
    "assertTrue", "assertFalse",
)  # fmt: skip
DOCTESTS = frozenset({"testmod", "testfile", "run_docstring_examples"})


class Comparisons(ast.NodeTransformer):
    """Look at what tests compare; nothing else changes.

    `hook` is a constant for which the values' `Compared` will put itself into the tests' code. `watch`: can the
    response have values that decide their comparisons? Where it cannot, comparisons stay as they are.
    """

    def __init__(self, hook, tree, watch=True):
        self.hook, self.watch = hook, watch
        self.truths = set()  # nodes whose values are only asked whether they are true
        for node in nodes_of(tree):
            if isinstance(node, (ast.Assert, ast.If, ast.While, ast.IfExp)):
                self._true(node.test)

    def _true(self, node):
        """Note an expression of which only the truth counts, and those it is made of."""
        self.truths.add(node)
        for part in node.values if isinstance(node, ast.BoolOp) else ():
            self._true(part)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self._true(node.operand)

    def _values(self, at, what, *arguments):
        """Return a call of what looks at compared values, `values.Compared`."""
        function = ast.Attribute(value=ast.Constant(value=self.hook + "values"), attr=what, ctx=ast.Load())
        return ast.copy_location(ast.Call(func=function, args=[*arguments], keywords=[]), at)

    def _plain(self, name):
        """Ask whether a variable's value is of a plain type, in place: comparisons in loops are many."""
        kind = ast.Call(func=ast.Constant(value=self.hook + "type"), args=[name], keywords=[])
        kind = ast.Call(func=ast.Constant(value=self.hook + "id"), args=[kind], keywords=[])
        return ast.Compare(left=kind, ops=[ast.In()], comparators=[ast.Constant(value=self.hook + "plain")])

    def visit_Compare(self, node):
        """Look at compared values of which the response may decide."""
        self.generic_visit(node)
        if not self.watch or not any(type(each) in OPERATORS for each in node.ops):
            return node
        site = ast.Constant(value=f"{node.lineno}:{node.col_offset}")
        if len(node.ops) == 1:
            truth = ast.Constant(value=node in self.truths)
            left, right = node.left, node.comparators[0]
            call = self._values(node, OPERATORS[type(node.ops[0])], left, right, site, truth)
            for name, value in ((left, right), (right, left)):
                if isinstance(name, ast.Name) and isinstance(value, ast.Constant):
                    return ast.copy_location(ast.IfExp(test=self._plain(name), body=node, orelse=call), node)
            return call
        sides = [
            each if isinstance(each, ast.Constant) else self._values(each, "seen", each, site)
            for each in (node.left, *node.comparators)
        ]
        node.left, node.comparators = sides[0], sides[1:]
        return node

    def visit_BinOp(self, node):
        """Look at differences and quotients, which assertions compare with 0 and 1."""
        self.generic_visit(node)
        if not self.watch or type(node.op) not in DIFFERING:
            return node
        if isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant):
            return node
        site = ast.Constant(value=f"{node.lineno}:{node.col_offset}")
        return self._values(node, DIFFERING[type(node.op)], node.left, node.right, site, ast.Constant(value=False))

    def visit_ClassDef(self, node):
        """Note the classes of the tests."""
        self.generic_visit(node)
        if self.watch:
            own = ast.Attribute(value=ast.Constant(value=self.hook + "values"), attr="own", ctx=ast.Load())
            node.decorator_list.append(ast.copy_location(own, node))
        return node

    def visit_Call(self, node):
        """Look at what assertions compare."""
        self.generic_visit(node)
        called = called_name(node)
        comparing = called in COMPARING or (called.startswith("assert") and not called.startswith(NOT_COMPARING))
        if not (self.watch and comparing and (node.args or node.keywords)):
            return node
        site = ast.Constant(value=f"{node.lineno}:{node.col_offset}")
        call = self._values(node, "asserted", site, node.func, *node.args)
        call.keywords = node.keywords
        return call

    def visit_MatchValue(self, node):
        """Leave a pattern alone: it may be a difference, of constants."""
        return node


class Instrument(Comparisons):
    """Count assertions and note which test functions run, too."""

    def __init__(self, hook, tree, watch=True):
        super().__init__(hook, tree, watch)
        self.bare = set()  # calls whose results nobody looks at
        self.calls_main = False
        self.mains, self.pytest_mains = {"unittest.main"}, {"pytest.main"}
        self.exits = {"sys.exit"} | ({"exit", "quit", "SystemExit"} - bound_names(tree))
        for node in nodes_of(tree):
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
        return ast.copy_location(call, at)

    def _counted(self, node):
        statements = [ast.Expr(value=self._call(node, "ran")), node, ast.Expr(value=self._call(node, "held"))]
        return [ast.copy_location(item, node) for item in statements]

    def visit_Assert(self, node):
        """Count it before and after."""
        self.generic_visit(node)
        return self._counted(node)

    def visit_Expr(self, node):
        """Count unittest's assertions like statements."""
        asserting = isinstance(node.value, ast.Call) and called_name(node.value).startswith("assert")
        self.bare.add(node.value)
        self.generic_visit(node)
        return self._counted(node) if asserting else node

    def visit_Call(self, node):
        """Run `unittest.main` and doctests by the harness, and look at what assertions compare."""
        looked_at = super().visit_Call(node)
        called = called_name(node)
        if called in DOCTESTS:
            call = self._call(node, "", node.func, ast.Constant(value=node in self.bare), *node.args)
            call.func.attr, call.args, call.keywords = "doctests", call.args[1:], node.keywords
            return call
        if looked_at is not node:
            return looked_at
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


def run_each(tree, hook):
    """Have every assertion at the top of the tests run, whatever becomes of the others, and note those that hold."""

    def noted(at, what, *arguments):
        function = ast.Attribute(value=ast.Constant(value=hook), attr="hook", ctx=ast.Load())
        call = ast.Call(func=function, args=[ast.Constant(value=what), *arguments], keywords=[])
        return ast.copy_location(ast.Expr(value=call), at)

    number = -1
    for place, node in enumerate(tree.body):
        if isinstance(node, ast.Assert):
            number += 1
            held = noted(node, "each", ast.Constant(value=number))
            fell = ast.copy_location(ast.ExceptHandler(type=None, name=None, body=[noted(node, "fell")]), node)
            either = ast.Try(body=[node, held], handlers=[fell], orelse=[], finalbody=[])
            tree.body[place] = ast.copy_location(either, node)


def installed(code, instruments):
    """Return code in which marked constants are the instruments, by mark: no name leads to them."""
    constants = tuple(
        instruments[constant]
        if type(constant) is str and constant in instruments
        else (installed(constant, instruments) if isinstance(constant, type(code)) else constant)
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
