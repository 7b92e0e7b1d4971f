"""Keep functions that return a value and whose every name is defined, builtin or importable; add the imports."""

import logging
from pathlib import Path
from typing import Any

from selfcodealign.ids import content_id
from selfcodealign.rows import FunctionRow, SeedRow
from selfcodealign.rows_io import StageOutput, read_rows
from selfcodealign.seeds import lexer, names
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)


def imports_of(function: str) -> tuple[list[str], str, str]:
    """Return the imports a function needs, or else (no imports, the reason it goes, a detail).

    Reasons: returns_nothing (paper B.2: no `return` with a value), syntax_error, too_nested, undefined_name.
    """
    if not lexer.returns_value(lexer.as_array(function.encode("utf-8", "surrogatepass"))):
        return [], "returns_nothing", ""
    try:
        imports, unknown = names.resolve(function)
    except SyntaxError as error:
        return [], "syntax_error", f"{error.msg} (line {error.lineno})"
    except ValueError as error:
        return [], "syntax_error", str(error)
    except (RecursionError, MemoryError):
        return [], "too_nested", ""
    if unknown:
        return [], "undefined_name", " ".join(unknown)
    return imports, "", ""


def seed_row(function: dict[str, Any], imports: list[str]) -> dict[str, Any]:
    """Make a seed of a function and the imports it needs."""
    content = names.with_imports(function["content"], imports)
    return {
        "id": content_id("seed", function["id"], content),
        "function_id": function["id"],
        "content": content,
        "imports": imports,
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
            imports, reason, detail = imports_of(row["content"])
            if reason:
                output.drop(row, reason, detail)
            else:
                output.keep(seed_row(row, imports))
    log.info("%d of %d functions kept", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
