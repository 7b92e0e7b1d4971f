"""Read a response and its tests: find tests that cannot fail, code that looks for the harness, stubs and mutants.

Everything here works on syntax trees and runs nothing. The static rules flag only what is certain; what they let pass
is left to the run against the stub.
"""

# A visitor's methods stand for several kinds of nodes, and trees are built of the parts of other trees.
# pyright: reportAssignmentType=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false

import ast
import re

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
SWALLOWING = {"AssertionError", "Exception", "BaseException"}
LEAVING = {"exit", "quit", "_exit"}
# A program that uses these can read the frames it is called from, and so the harness. None is usual in a response.
FRAME_WALKING = {
    "_getframe", "_current_frames", "currentframe", "f_back", "f_globals", "f_locals", "f_builtins", "tb_frame",
    "gi_frame", "cr_frame", "ag_frame", "get_objects", "get_referrers", "get_referents", "settrace", "setprofile",
    "pythonapi", "py_object", "__globals__", "co_consts", "getouterframes", "getinnerframes", "walk_stack",
    "_ShouldStop",
}  # fmt: skip
REPLACED_BUILTINS = {
    "AssertionError", "Exception", "BaseException", "isinstance", "issubclass", "all", "any", "abs", "len", "repr",
    "type", "hasattr", "getattr", "callable", "__import__", "__builtins__", "__debug__",
}  # fmt: skip
SUSPICIOUS = re.compile(
    "|".join(sorted(FRAME_WALKING))
    + r"|__subclasses__|\bglobal\b|\b(?:"
    + "|".join(sorted(REPLACED_BUILTINS))
    + r")\s*[=,:)]"
)
TEST_NAME = re.compile(r"test|^_?check", re.IGNORECASE)
DOCTEST = re.compile(r"^\s*>>> ", re.MULTILINE)
INDIRECT = {"globals", "locals", "vars", "eval", "exec", "getattr", "__import__", "importlib", "subprocess", "runpy"}


# ---- names ----------------------------------------------------------------------------------------------------------


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


# ---- what a response may not do -------------------------------------------------------------------------------------


def looks_for_harness(tree, text=None):
    """Name what a response uses to read its callers' frames, or which builtin it rebinds; None for nearly all.

    `text` is the source, if it is at hand: without any of the words in it there is nothing to look for.
    """
    if text is not None and "\\" not in text and not SUSPICIOUS.search(text):
        return None
    for node in ast.walk(tree):
        word = None
        if isinstance(node, ast.Attribute):
            word = node.attr
        elif isinstance(node, ast.Name):
            word = node.id
        elif isinstance(node, ast.alias):
            word = node.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40:
            word = node.value
        if word in FRAME_WALKING:
            return f"the response reads frames ({word})"
        if isinstance(node, ast.Attribute) and word == "__subclasses__" and not _of_its_own(node.value, tree):
            return "the response lists classes that are not its own"
    rebound = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            rebound.update(node.names)
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in ast.walk(node)
        if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
    }
    replaced = sorted((assigned | rebound) & REPLACED_BUILTINS)
    return f"the response replaces {replaced[0]}" if replaced else None


def _of_its_own(node, tree):
    """Tell whether a class is one that the response defines, or that of an instance."""
    if isinstance(node, ast.Name):
        defined = {item.name for item in ast.walk(tree) if isinstance(item, ast.ClassDef)}
        return node.id in defined | {"cls"}
    return isinstance(node, ast.Attribute) and node.attr == "__class__"


# ---- tests that cannot fail -----------------------------------------------------------------------------------------


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


def _never(test):
    """Tell whether a condition is a falsy constant."""
    return isinstance(test, ast.Constant) and not test.value


def _leaves(statement):
    """Tell whether nothing after a statement of the same block can run."""
    if isinstance(statement, (ast.Return, ast.Raise, ast.Continue, ast.Break)):
        return True
    return isinstance(statement, ast.Expr) and called_name(statement.value) in LEAVING


def leaves_well(call):
    """Tell whether a call such as `sys.exit(0)` ends the program as a success, whatever has happened."""
    return not call.args or _never(call.args[0])


def sets_attributes(tree):
    """Tell whether code assigns to attributes of anything but its own instances."""
    return any(
        isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and getattr(node.value, "id", "") not in ("self", "cls")
        for node in ast.walk(tree)
    )


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
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        self.loaded |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

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
        dead = node.name not in self.loaded and not TEST_NAME.search(node.name) and not node.name.startswith("__")
        hooks = ("setUp", "tearDown", "runTest")
        self.block(node.body, "in functions that nobody calls" if dead and not node.name.startswith(hooks) else None)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        self.block(node.body)

    def visit_If(self, node):
        self.block(node.body, "unreachable" if _never(node.test) else None)
        self.block(node.orelse, "unreachable" if isinstance(node.test, ast.Constant) and node.test.value else None)

    def visit_While(self, node):
        self.block(node.body, "unreachable" if _never(node.test) else None)
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
        certain = constant(node.test) and not _never(node.test)
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
            name in LEAVING and node.args and not _never(node.args[0])
        ):
            self.add()
        self.generic_visit(node)


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
    checks = _Checks(test)
    checks.visit(test)
    if not doctests:
        if not checks.found:
            main_only = any(called_name(node) == "main" for node in ast.walk(test))
            return None if main_only else "the tests assert nothing"
        if None not in checks.found:
            return f"every assertion is {sorted(set(checks.found))[0]}"
    own = bound_names(code)
    used = used_names(test)
    if not own & used:
        indirect = used & INDIRECT or any(
            isinstance(node, ast.Attribute) and node.attr == "modules" for node in ast.walk(test)
        )
        whole = any(called_name(node) in ("main", "testmod") for node in ast.walk(test))
        return None if indirect or whole else "the tests use nothing that the response defines"
    redefined = {node.name for node in test.body if isinstance(node, (*FUNCTIONS, ast.ClassDef))}
    if own & used <= redefined:
        return f"the tests redefine {sorted(own & used)[0]}"
    return None


# ---- stub -----------------------------------------------------------------------------------------------------------

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


# ---- mutants --------------------------------------------------------------------------------------------------------

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
        node.value = ast.copy_location(_none(), node.value)
    elif kind == "condition":
        node.test = ast.copy_location(ast.UnaryOp(op=ast.Not(), operand=node.test), node.test)
    else:
        node.value = (not node.value) if isinstance(node.value, bool) else node.value + 1
    ast.fix_missing_locations(tree)
    return True


# ---- instruments ----------------------------------------------------------------------------------------------------


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


def assertion_left(tree, frames):
    """Tell whether a program was left while it asserted something, or before a later assertion of a frame it was in.

    Args:
        tree: its syntax tree.
        frames: of its own code, (first line of the function or 0 for the module, line where it was left).
    """
    scopes = {0: tree}
    for node in ast.walk(tree):
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
