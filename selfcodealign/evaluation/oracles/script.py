"""Judge a program as a script with tests at its end, by its exit status."""

import ast
import difflib
import io
import json
import re
import tokenize
import types

from selfcodealign.evaluation.oracles.outside import MOST_PRINTED, Gone, Run

NO_COVER = re.compile(r"#\s*(pragma|PRAGMA)[:\s]?\s*(no|NO)\s*(cover|COVER)")


def decide(nursery, data, secret, inputs, report):
    """Run program and tests as a script; `data`: `tail` (the tests), limit_s. `secret`: `before` the edit.

    With `other`, the number of a run with other values, it reports which places agreed with them.
    """
    with Run(nursery, "script", False, b"", MOST_PRINTED) as run:
        try:
            status, told = run.finish(data["limit_s"], data["limit_s"] + 1)
        except Gone as end:
            report("tests", end.status, tests_detail=end.reason)
            return
    places, changed = json.loads(told.get(b"M", '[[], ""]'))
    if data.get("other") is not None:
        report("tests", "", tests_lying=[each for each in places if isinstance(each, str)])
        return
    if status or changed:
        report("tests", "fail", tests_detail=told.get(b"E") or changed or f"exit status {status}")
        return
    # The authors look at the exit status alone, so a program that leaves in peace before its tests end has passed.
    met = {"tests_met": places} if places else {}
    report("tests", "pass", **met, **({} if b"L" in told else {"left_early": True}))
    if b"L" in told:
        with Run(nursery, "script", True, b"", MOST_PRINTED) as run:
            _, told = run.finish(3 * data["limit_s"], 3 * data["limit_s"])
        executed = {line for line in json.loads(told.get(b"L", "[]")) if isinstance(line, int)}
        report("", "", excess=excess(nursery.program + data["tail"], secret["before"], nursery.program, executed))


def excess(whole, before, after, executed):
    """Return CanItEdit's ExcessCode of a passing edit: lines the tests do not reach, per line of the edit's diff.

    Uncovered lines are counted as the authors read them off coverage.py's report, where a range of missing statements
    includes the lines between them; the diff counts unchanged lines and hints too.
    """
    missing = uncovered(whole, executed)
    return missing / max(1, len(list(difflib.Differ().compare(before.splitlines(), (after + "\n").splitlines()))))


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
