"""Build the report: one self-contained page on the run, its figures as files, and the numbers for the terminal.

Everything is read from the folders of the run; sections whose inputs are absent say so in a sentence. The page needs no
network and no script. Rows shown are drawn by the run seed, so that the same run gives the same page.
"""

import logging
from pathlib import Path
from typing import Any

from selfcodealign.paper import published
from selfcodealign.report import charts
from selfcodealign.report.page import Headline, Section, count, duration, percent, render
from selfcodealign.report.results import Run, read_json
from selfcodealign.report.sections import data, models, record, tables
from selfcodealign.rows_io import write_json, write_text
from selfcodealign.stage import run as run_stage

log = logging.getLogger(__name__)


def sections_of(run: Run, paper: dict[str, Any]) -> list[Section]:
    """Build every section, in the order of the page."""
    return [
        models.benchmarks(run, paper),
        tables.filled(run),
        tables.arms(run),
        models.arms(run, paper),
        data.funnel(run, paper),
        data.pass_rates(run),
        data.mix(run),
        data.lengths(run),
        data.judge(run),
        data.decontamination(run),
        models.training(run),
        data.rows(run),
        data.dropped_rows(run),
        record.isolation(run),
        record.time(run),
        record.provenance(run),
    ]


def headlines_of(run: Run, sections: list[Section]) -> list[Headline]:
    """Choose the numbers for the head of the page and for the terminal; what the run lacks is left out."""
    by_id = {section.id: section for section in sections}
    found = [Headline(label, value, note) for label, value, note in models.best_known(run)]
    seeds = run.funnel("gather_seeds")
    if seeds:
        first = run.funnel("extract_functions")
        note = f"of {count(first.produced)} functions" if first and first.produced else ""
        found.append(Headline("seeds", count(seeds.produced), note))
    responses = run.funnel("write_responses")
    if responses:
        found.append(Headline("responses written", count(responses.produced)))
    rate = by_id["pass-rates"].values.get("rate")
    if rate:
        found.append(
            Headline("pass their own tests", percent(rate.value), f"{percent(rate.low)} to {percent(rate.high)}")
        )
    rows = run.funnel("build_dataset")
    if rows:
        sets = len(run.config["datasets"])
        found.append(Headline("training rows", count(rows.produced), f"in {sets} datasets" if sets > 1 else ""))
    seconds = by_id["time"].values.get("seconds")
    if seconds:
        found.append(Headline("time of all jobs", duration(seconds), "added up"))
    return found


def main(
    results: Path,
    timings: Path,
    provenance: Path,
    report: Path,
    summary: Path,
    funnel: Path,
    verdicts: Path,
    lengths: Path,
    judge_scores: Path,
    loss: Path,
    scores: Path,
) -> None:
    """Build the report: one self-contained page on the run, its figures as files, and the numbers for the terminal.

    Args:
        results: folder that the rules wrote to.
        timings: folder of Snakemake's measurements of the jobs.
        provenance: what record_provenance recorded.
        report: the page.
        summary: headline numbers (JSON), for `python -m selfcodealign summary`.
        funnel: figure of what each stage kept and dropped.
        verdicts: figure of the sandbox's verdicts.
        lengths: figure of the lengths of responses.
        judge_scores: figure of the seed judge's scores.
        loss: figure of the training loss.
        scores: figure of the benchmark scores.

    Raises:
        UserError: a file of the run is damaged; the sentence names it.
    """
    run = Run(results, timings, read_json(provenance))
    paper = published()
    sections = sections_of(run, paper)
    headlines = headlines_of(run, sections)
    notices = tables.first_lines(run) + record.notices(run)
    files = {name: svg for section in sections for name, svg in section.files.items()}
    named = {
        "funnel": funnel,
        "verdicts": verdicts,
        "lengths": lengths,
        "judge_scores": judge_scores,
        "loss": loss,
        "scores": scores,
    }
    for name, path in named.items():
        write_text(path, files.get(name) or charts.sentence("This run has nothing to draw here."))
    code = run.provenance.get("code", {})
    page = render(
        title=f"Self-alignment of {run.config['model']['base']}",
        subtitle=f"Run seed {run.seed}, {run.config['mode']} mode, commit {str(code.get('commit') or 'unknown')[:12]}.",
        notices=notices,
        headlines=headlines,
        sections=sections,
        footer=f"selfcodealign {code.get('version', '')}; provenance {run.provenance.get('hash', 'not recorded')}. "
        "Published numbers: arXiv 2410.24198.",
    )
    write_text(report, page)
    write_json(
        summary,
        {
            "report": str(report),
            "headlines": [{"label": one.label, "value": one.value, "note": one.note} for one in headlines],
            "notices": [notice.text for notice in notices],
        },
    )
    log.info("wrote %s (%d kB)", report, len(page.encode()) // 1000)


if __name__ == "__main__":
    run_stage(main)
