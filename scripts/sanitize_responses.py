"""Split every generation into a response and its tests, and drop those that break a rule of form.

The rules run in a fixed order (see `selfcodealign.dataset.sanitizing`); a row is dropped by the first that it breaks,
and the funnel counts by rule. They look at one row at a time, so running them before execution, where the reference
runs them after it, changes no result and saves the sandbox work.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from selfcodealign.config.dataset import SanitizeResponses
from selfcodealign.config.given import GivenTests
from selfcodealign.config.section import Mode
from selfcodealign.dataset.sanitizing import Draft, Layout, Rule, rules
from selfcodealign.rows import ResponseRow
from selfcodealign.rows_io import StageOutput, count_rows, read_rows
from selfcodealign.stage import progress, run

log = logging.getLogger(__name__)


def why_dropped(draft: Draft, ordered: Iterable[tuple[str, Rule]]) -> tuple[str, str] | None:
    """Name the first rule that a draft breaks, with a detail; None if it is kept, its parts then filled in."""
    for name, rule in ordered:
        detail = rule(draft)
        if detail is not None:
            return name, detail
    return None


def layout_of(template: str) -> Layout:
    """Tell from the name of a prompt template how its generations are divided."""
    name = template.partition("@")[0]
    return "headings" if "headings" in name else "sections" if "starcoder2" in name else "tags"


def draft_of(row: dict[str, Any], given: str = "", *, replaces: bool = False) -> Draft:
    """Make the draft of one response row, with the tests that came with its task, in Python."""
    return Draft(
        instruction=row["instruction"],
        raw=row["raw"],
        finish_reason=row["finish_reason"],
        layout=layout_of(row["template"]),
        given=f"```python\n{given}\n```" if given else "",
        replaces=replaces,
    )


def sanitized(
    rows: Iterable[dict[str, Any]],
    output: StageOutput,
    ordered: tuple[tuple[str, Rule], ...],
    given: Mapping[str, str] | None = None,
    *,
    replaces: bool = False,
) -> None:
    """Keep or drop every row; kept rows carry their response and tests.

    `given` has the tests that came with tasks, by the instruction's id.
    """
    for row in rows:
        draft = draft_of(row, (given or {}).get(row["instruction_id"], ""), replaces=replaces)
        if broken := why_dropped(draft, ordered):
            output.drop(row, *broken)
        else:
            output.keep({**row, "response": draft.response, "tests": draft.tests})


def main(
    responses: Path,
    rows: Path,
    dropped: Path,
    funnel: Path,
    *,
    tasks: list[Path] | None = None,
    given_tests: GivenTests = "join",
    mode: Mode = "fixed",
    settings: SanitizeResponses,
) -> None:
    """Split generations into response and tests, and drop those that break a rule of form.

    Args:
        responses: generated responses (ResponseRow).
        rows: the kept responses, `response` and `tests` filled in.
        dropped: the others, with the rule they broke and a detail.
        funnel: how many each rule dropped.
        tasks: file of tasks that came with tests of their own (TaskRow); none if a model wrote the tasks.
        given_tests: run these after the tests that a response brings, or in place of them.
    """
    given = {row["id"]: row["given_tests"] for file in tasks or () for row in read_rows(file, ("id", "given_tests"))}
    ordered = rules(mode, max_words=settings.max_words)
    with StageOutput("sanitize_responses", rows=rows, dropped=dropped, funnel=funnel, schema=ResponseRow) as output:
        found = progress(read_rows(responses), total=count_rows(responses))
        sanitized(found, output, ordered, given, replaces=given_tests == "replace")
    log.info("kept %d of %d responses", output.kept, output.entered)


if __name__ == "__main__":
    run(main)
