"""Judge a program as a script with tests at its end: it passes if the end is reached."""

import ast
import difflib
import io
import linecache
import re
import sys
import tokenize
import types

from selfcodealign.evaluation.oracles.common import silent

NO_COVER = re.compile(r"#\s*(pragma|PRAGMA)[:\s]?\s*(no|NO)\s*(cover|COVER)")


def judge(program, data, blobs, report):
    """Run program and tests as `__main__`; `data` has `tests`, and `before` where excess code is to be measured."""
    whole = program + "\n" + data["tests"]
    try:
        run(whole)
    except SystemExit as leaving:
        # The authors look at the exit status alone, so a program that leaves in peace before its tests end has passed.
        if leaving.code not in (None, 0):
            raise
        report("tests", "pass", left_early=True)
        return
    report("tests", "pass")
    if "before" in data:
        report("", "", excess=excess(whole, data["before"], program))


def run(text):
    """Execute a text as the main script; leaving it early raises."""
    module = types.ModuleType("__main__")
    module.__file__ = "program.py"
    sys.modules["__main__"] = module
    with open("program.py", "w", encoding="utf-8") as file:
        file.write(text)
    linecache.checkcache("program.py")
    with silent():
        exec(compile(text, "program.py", "exec"), module.__dict__)


def excess(whole, before, after):
    """Return CanItEdit's ExcessCode of a passing edit: lines the tests do not reach, per line of the edit's diff.

    Uncovered lines are counted as the authors read them off coverage.py's report, where a range of missing statements
    includes the lines between them; the diff counts unchanged lines and hints too.
    """
    executed = traced(whole)
    missing = uncovered(whole, executed)
    return missing / max(1, len(list(difflib.Differ().compare(before.splitlines(), (after + "\n").splitlines()))))


def traced(text):
    """Run a text once more and return the lines that were executed."""
    lines = set()

    def local(frame, event, argument):
        if event == "line":
            lines.add(frame.f_lineno)
        return local

    def trace(frame, event, argument):
        return local if frame.f_code.co_filename == "program.py" else None

    sys.settrace(trace)
    try:
        run(text)
    finally:
        sys.settrace(None)
    return lines


def uncovered(text, executed):
    """Count the uncovered lines of a text as coverage.py's report shows them."""
    first = logical_lines(text)
    hidden = excluded(text)
    statements = sorted({first.get(line, line) for line in code_lines(compile(text, "program.py", "exec"))} - hidden)
    reached = {first.get(line, line) for line in executed}
    count, start, end = 0, 0, 0
    for line in [*statements, 0]:
        if line and line not in reached:
            start, end = start or line, line
        elif start:
            count += end - start + 1
            start = 0
    return count


def code_lines(code):
    """Return the lines that have code, in a code object and all within it."""
    found = {line for _, _, line in code.co_lines() if line}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= code_lines(constant)
    return found


def logical_lines(text):
    """Map each line of a statement that spans several lines to its first."""
    first, start = {}, None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER):
            continue
        start = token.start[0] if start is None else start
        for line in range(start, token.end[0] + 1):
            first[line] = start
        if token.type == tokenize.NEWLINE:
            start = None
    return first


def excluded(text):
    """Return the lines of docstrings, and those that a `pragma: no cover` hides, with the suite it stands before."""
    marked = {number for number, line in enumerate(text.splitlines(), start=1) if NO_COVER.search(line)}
    hidden = set(marked)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(getattr(body[0].value, "value", None), str):
                hidden |= set(range(body[0].lineno, (body[0].end_lineno or 0) + 1))
        suite = getattr(node, "body", None)
        if isinstance(suite, list) and suite and isinstance(node, ast.stmt):
            heads = range(node.lineno, max(node.lineno + 1, suite[0].lineno))
            if marked & set(heads):
                hidden |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return hidden
