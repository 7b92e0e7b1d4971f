"""Keep functions that return a value and whose every name is defined, builtin or importable; add the imports."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfcodealign.ids import content_id
from selfcodealign.rows import FunctionRow, SeedRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.seeds import lexer, names
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)

NOTHING = names.Resolved([], [], [])


def imports_of(function: str, bindings: Sequence[str] = ()) -> tuple[names.Resolved, str, str]:
    """Return what a function needs, the reason if it goes, and a detail; `bindings` are those of its file.

    Reasons: returns_nothing (paper B.2: no `return` with a value), syntax_error, too_nested, undefined_name.
    """
    if not lexer.returns_value(lexer.as_array(function.encode("utf-8", "surrogatepass"))):
        return NOTHING, "returns_nothing", ""
    try:
        resolved = names.resolve(function, bindings)
    except SyntaxError as error:
        return NOTHING, "syntax_error", f"{error.msg} (line {error.lineno})"
    except ValueError as error:
        return NOTHING, "syntax_error", str(error)
    except (RecursionError, MemoryError):
        return NOTHING, "too_nested", ""
    if resolved.unknown:
        return NOTHING, "undefined_name", " ".join(resolved.unknown)
    return resolved, "", ""


def seed_row(function: dict[str, Any], resolved: names.Resolved) -> dict[str, Any]:
    """Make a seed of a function and what it needs."""
    text = function["content"]
    if resolved.undecorated:
        text = names.without_decorators(text, resolved.undecorated)
    content = names.with_imports(text, resolved.statements)
    return {
        "id": content_id("seed", function["id"], content),
        "function_id": function["id"],
        "content": content,
        "imports": resolved.statements,
        "repo": function["repo"],
        "path": function["path"],
        "line": function["line"],
        "licence": function["licence"],
        "judge_score": None,
    }


def main(functions: Path, seeds: Path, dropped: Path, funnel: Path) -> None:
    """Keep functions that return a value and whose every name is defined, builtin or importable; add the imports."""
    with StageOutput(
        "infer_imports", rows=seeds, dropped=dropped, funnel=funnel, schema=SeedRow, dropped_schema=FunctionRow
    ) as output:
        for row in progress(read_rows(functions), unit="functions", label="infer_imports"):
            resolved, reason, detail = imports_of(row["content"], row.get("bindings") or ())
            if reason:
                output.drop(row, reason, detail)
            else:
                output.keep(seed_row(row, resolved))
    log.info("%d of %d functions kept", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
