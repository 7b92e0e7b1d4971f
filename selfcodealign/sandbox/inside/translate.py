"""Turn a response and its tests into code that is ready to run; nothing of theirs runs here.

A helper process that lives as long as its worker does this for one case after another: in the freshly forked process of
a case, the same work would first have to copy the pages of memory it touches. What is out of the ordinary, from a
syntax error to vacuous tests, is left to the process of the case, which translates for itself and tells what it finds.
"""

import ast
import functools
import marshal
import os
import sys
import warnings

import instruments  # pyright: ignore[reportMissingImports]
import mutants  # pyright: ignore[reportMissingImports]
import refused  # pyright: ignore[reportMissingImports]
import stub  # pyright: ignore[reportMissingImports]
import syntax  # pyright: ignore[reportMissingImports]
import vacuity  # pyright: ignore[reportMissingImports]

RESPONSE, TESTS, PROGRAM = "/tmp/response.py", "/tmp/tests.py", "/tmp/program.py"
LONGEST = 2_000_000  # characters of a case that the helper takes
DEEPEST = 15_000  # calls deep; Python itself reads expressions of about 3,000 parts
FUTURE = 0
for _name in ("annotations", "division", "generator_stop"):
    FUTURE |= getattr(__import__("__future__"), _name).compiler_flag


class Broken(Exception):
    """A text is no Python: the error, and where it was found."""

    def __init__(self, error, when):
        super().__init__(when)
        self.error, self.when = error, when


class Settled(Exception):
    """The texts alone settle the verdict: verdict, reason, exit status."""

    def __init__(self, verdict, reason, status):
        super().__init__(reason)
        self.verdict, self.reason, self.status = verdict, reason, status


def compiled(tree, name, flags=0):
    """Compile a syntax tree as a file of its own."""
    return compile(tree, name, "exec", flags=flags, dont_inherit=True)


def parsed(case):
    """Return (tree of the response, its code, tree of the tests, are they one doctest); raises Broken."""
    try:
        code = ast.parse(case["code"], RESPONSE)
        response = compiled(code, RESPONSE)
    except RecursionError:
        raise
    except BaseException as error:
        raise Broken(error, "in the response") from None
    try:
        return code, response, ast.parse(case["test"], TESTS), False
    except RecursionError:
        raise
    except BaseException as error:
        if syntax.DOCTEST.search(case["test"]):
            return code, response, ast.Module(body=[], type_ignores=[]), True
        raise Broken(error, "in the tests") from None


def translate(case, roles):
    """Return what the harness runs in each of the roles: `real`, `other`, `stub` or `mutant`.

    Args:
        case: a case with `code`, `test`, `vacuous`, and for a mutant its `number` of `mutants`.
        roles: of these, a mutant only by itself.

    Raises:
        Broken, Settled: there is nothing to run.
    """
    return deeply(_translate, case, roles)


def _translate(case, roles):
    code_text, test_text = case["code"], case["test"]
    code, response, test, whole_doctest = parsed(case)
    # Tests may be nothing but the examples in the response's docstrings.
    only_docstrings = not test.body and not whole_doctest and bool(syntax.DOCTEST.search(code_text))
    responses = []
    for role in roles:
        if role == "real":
            harmful = refused.looks_for_harness(code, code_text, used_builtins(test))
            if harmful:
                raise Settled("fail", harmful, 1)
            if case["vacuous"] and not whole_doctest and not only_docstrings:
                why = vacuity.why_vacuous(code, test, test_text)
                if why:
                    raise Settled("vacuous", why, 0)
            responses.append(response)
        elif role == "other":
            responses.append(response)
        elif role == "stub":
            responses.append(compiled(stub.stub_of(code), RESPONSE))
        else:
            if not mutants.mutate(code, case["number"], case["mutants"]):
                raise Settled("none", "no such mutant", 0)
            responses.append(compiled(code, RESPONSE))
    means, owned = refused.means(code), None
    ours, theirs = syntax.bound_names(test, imports=True), syntax.bound_names(code, imports=True)
    owned_names = syntax.defined_names(test) | (ours - theirs)
    declared = {name for node in syntax.nodes_of(code) if isinstance(node, ast.Global) for name in node.names}
    if "reflect" in means or declared & owned_names:
        # Tests that set names of the response from within functions go on sharing all of them.
        shared = {name for node in syntax.nodes_of(test) if isinstance(node, ast.Global) for name in node.names}
        owned_names |= shared - theirs
        owned = sorted(owned_names) if shared <= owned_names else None
    ready = {
        "functions": [
            node.name for node in test.body if isinstance(node, syntax.FUNCTIONS) and syntax.TEST_NAME.search(node.name)
        ],
        "classes": [node.name for node in test.body if isinstance(node, ast.ClassDef)],
        "asserts": any(isinstance(node, ast.Assert) for node in syntax.nodes_of(test)),
        "raises": any(
            isinstance(node, ast.Raise) or (syntax.called_name(node) in syntax.LEAVING and not syntax.leaves_well(node))
            for node in syntax.nodes_of(test)
        ),
        "patches": patches(test, test_text),
        "marks": "pytestmark" in syntax.bound_names(test),
        "marked": sorted(
            {
                node.name
                for node in syntax.nodes_of(test)
                if isinstance(node, syntax.FUNCTIONS) and syntax.TEST_NAME.search(node.name)
            }
        ),
        "statements": bool(test.body),
        "whole_doctest": whole_doctest,
        "doctests": whole_doctest or only_docstrings or asks_for_doctests(test, test_text),
        "means": sorted(means),
        "owned": owned,
        "assigned": sorted(syntax.assigned_attributes(test)),
        "mentioned": mentioned(code_text, test_text),
        "hook": "sandbox_" + os.urandom(8).hex(),
    }
    called, loads = used_builtins(test)
    imports = [alias.name for node in syntax.nodes_of(test) if isinstance(node, ast.Import) for alias in node.names]
    imports += [node.module for node in syntax.nodes_of(test) if isinstance(node, ast.ImportFrom) and node.module]
    ready["names"] = (
        sorted(loads),
        sorted(called),
        sorted(ours),
        sorted({part for name in imports for part in _parents(name)}),
    )
    instrument = instruments.Instrument(ready["hook"], test, "make" in means)
    if case.get("each"):
        instruments.run_each(test, ready["hook"])
    test = ast.fix_missing_locations(instrument.visit(test))
    ready["calls_main"] = instrument.calls_main
    try:
        with warnings.catch_warnings():
            # The marks of the instruments are texts, and stand where functions will.
            warnings.filterwarnings("ignore", "'str' object is not callable", SyntaxWarning)
            ready["tests"] = compiled(test, TESTS, responses[0].co_flags & FUTURE)
    except RecursionError:
        raise
    except BaseException as error:
        raise Broken(error, "in the tests") from None
    return [dict(ready, code=each) for each in responses]


def patches(test, text):
    """Tell whether tests change things that are not their own."""
    return syntax.sets_attributes(test) or "patch" in text or "setattr" in text


def mentioned(code_text, test_text):
    """Return how the names of library classes begin whose objects agree with others, if the response makes some."""
    found = [name for name in ("Approx",) if "approx" in code_text or "pytest" in code_text]
    return found + (["_ANY"] if ("ANY" in code_text or "mock" in code_text) and "ANY" not in test_text else [])


def used_builtins(test):
    """Return the names that tests call, and all that they read."""
    loads = {node.id for node in syntax.nodes_of(test) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return {syntax.called_name(node) for node in syntax.nodes_of(test)} & loads, loads


def asks_for_doctests(test, text):
    """Tell whether tests mean the examples of docstrings to run, and leave it to whoever runs them.

    They import `doctest` and do no more with it, or they are nothing but docstrings themselves.
    """
    if any(syntax.called_name(node) in instruments.DOCTESTS for node in syntax.nodes_of(test)):
        return False
    imports = [node for node in syntax.nodes_of(test) if isinstance(node, ast.Import)]
    imported = any(alias.name == "doctest" for node in imports for alias in node.names)
    used = any(isinstance(node, ast.Name) and node.id == "doctest" for node in syntax.nodes_of(test))
    if imported and not used:
        return True
    return bool(syntax.DOCTEST.search(text)) and not vacuity.checks_of(test)


def deeply(work, *given):
    """Do work on syntax trees, once more with a deeper stack if they are very deep."""
    limit = sys.getrecursionlimit()
    try:
        return work(*given)
    except RecursionError:
        sys.setrecursionlimit(max(limit, DEEPEST))
    try:
        return work(*given)
    finally:
        sys.setrecursionlimit(limit)


def _parents(name):
    """Return a dotted name and those of the packages it lies in."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))]


def translate_program(case):
    """Return a whole program, compiled."""
    return {"code": compile(case["program"], PROGRAM, "exec", dont_inherit=True)}


@functools.lru_cache(maxsize=8)
def program_code(text):
    """Return a whole program, translated and marshalled; benchmarks send one script for many cases."""
    return marshal.dumps(translate_program({"program": text}))


def translations(case):
    """Return marshalled translations by role; empty if the case is out of the ordinary. Used by the helper."""
    # A warning is for the program's own stderr.
    warnings.simplefilter("error", SyntaxWarning)
    try:
        if "program" in case:
            return {"real": program_code(case["program"])}
        roles = ("real", "stub") if case["vacuous"] else ("real",)
        return dict(zip(roles, map(marshal.dumps, translate(case, roles))))  # noqa: B905 - Python 3.8 has no strict
    except BaseException:
        return {}
