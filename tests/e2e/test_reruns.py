"""What an edit runs again: the table of docs/usage.md, walked row by row, and what the config may name."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from selfcodealign.pipeline import RULES
from tests.e2e.conftest import Checkout

ROOT = Path(__file__).parent.parent.parent
CONFIG = "extends: tests/e2e/small.yaml\nbenchmarks: {demo: {file: tasks.jsonl}}\n"

SELF = "extract_concepts write_instructions write_responses sanitize_responses verify_responses"
DATASET = (
    "select_responses decontaminate_dataset dedup_dataset augment_dataset build_preferences build_dataset check_funnels"
)
MODEL = "train_sft record_provenance build_report"
SCORES = "sample_solutions extract_programs execute_programs score_benchmark"
SEEDS = "filter_seeds decontaminate_seeds judge_seeds gather_seeds"
FUNCTIONS = (
    "extract_functions sign_functions match_functions cluster_functions dedup_functions infer_imports "
    "typecheck_functions"
)
RESPONSES = f"{SELF} {DATASET} {MODEL} {SCORES}"
"""Everything from the concepts on."""


def line(text: str) -> tuple[str, str]:
    """An edit that adds a line to a file."""
    return text, "\n# edited\n"


EDITS = {
    "a function of `selfcodealign/seeds/filters.py`": (line("selfcodealign/seeds/filters.py"), f"{SEEDS} {RESPONSES}"),
    "`selfcodealign/generation/prompts.py`": (
        line("selfcodealign/generation/prompts.py"),
        f"judge_seeds gather_seeds {RESPONSES}",
    ),
    "`selfcodealign/dataset/sanitizing.py`": (
        line("selfcodealign/dataset/sanitizing.py"),
        f"sanitize_responses verify_responses {DATASET} {MODEL} {SCORES}",
    ),
    "a file of `selfcodealign/sandbox/inside/`": (
        line("selfcodealign/sandbox/inside/harness.py"),
        f"verify_responses {DATASET} {MODEL} {SCORES}",
    ),
    "`selfcodealign/training/trainer.py`": (line("selfcodealign/training/trainer.py"), f"{MODEL} {SCORES}"),
    "a file of `selfcodealign/evaluation/oracles/`": (
        line("selfcodealign/evaluation/oracles/function.py"),
        "execute_programs score_benchmark build_report",
    ),
    "`selfcodealign/report/page.py`": (line("selfcodealign/report/page.py"), "build_report"),
    "`scripts/select_responses.py`": (line("scripts/select_responses.py"), f"{DATASET} {MODEL} {SCORES}"),
    "`selfcodealign/rows_io.py`, `stage.py`, `ledger.py`": (line("selfcodealign/rows_io.py"), ""),
    "`write_responses.samples`": (
        ("reruns.yaml", "\nwrite_responses: {samples: 3}\n"),
        f"write_responses sanitize_responses verify_responses {DATASET} {MODEL} {SCORES}",
    ),
    "`write_responses.enough`": (
        ("reruns.yaml", "\nwrite_responses: {enough: 1}\n"),
        f"write_responses sanitize_responses verify_responses {DATASET} {MODEL} {SCORES}",
    ),
    "`verify_responses.timeout_s`": (
        ("reruns.yaml", "\nverify_responses: {timeout_s: 5}\n"),
        f"verify_responses {DATASET} {MODEL} {SCORES}",
    ),
    "`score_benchmark.missing`": (
        ("reruns.yaml", "\nscore_benchmark: {missing: fail}\n"),
        "score_benchmark record_provenance build_report",
    ),
    "the file of a benchmark": (
        ("tasks.jsonl", "\n"),
        f"fetch_benchmark decontaminate_seeds judge_seeds gather_seeds {RESPONSES}",
    ),
    "the files of a local base model": (
        ("demo/model/config.json", "\n"),
        f"judge_seeds gather_seeds {RESPONSES}",
    ),
    "`prompts/judge.yaml`": (line("prompts/judge.yaml"), f"judge_seeds gather_seeds {RESPONSES}"),
}
"""What is changed → file and the text added to it, and the rules that run again; the rows of docs/usage.md."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout whose run counts as finished: empty outputs, touched in the order in which the rules make them."""
    checkout = Checkout(tmp_path_factory.mktemp("reruns") / "checkout", config="reruns.yaml")
    (checkout.folder / "reruns.yaml").write_text(CONFIG)
    (checkout.folder / "tasks.jsonl").write_text("{}\n")
    finish(checkout, checkout.folder)
    return checkout


def finish(checkout: Checkout, run: Path) -> None:
    """Let a run in a folder count as finished."""
    where = ["--directory", str(run)]
    for name in re.findall(r"^(results/\S+)\t", checkout.run("--summary", *where), re.MULTILINE):
        output = run / name
        (output.parent if output.suffix else output).mkdir(parents=True, exist_ok=True)
        if output.suffix:
            output.touch()
    checkout.run("--touch", "--cores", "1", *where)
    assert jobs(checkout.run("--dry-run", *where)) == set()


def jobs(printed: str) -> set[str]:
    """Read the rules of a dry run from its table of jobs."""
    return set(re.findall(r"^([a-z_]+) +\d+$", printed, re.MULTILINE)) - {"all", "total"}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_runs_again_what_the_page_says_and_nothing_else(done, what):
    (name, added), expected = EDITS[what]
    file = done.folder / name
    before, times = file.read_bytes(), file.stat()
    try:
        file.write_bytes(before + added.encode())
        os.utime(file, (time.time() + 1, time.time() + 1))
        assert jobs(done.run("--dry-run")) == set(expected.split())
    finally:
        file.write_bytes(before)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_page_has_the_edits_that_are_walked_and_where_each_begins():
    page = (ROOT / "docs" / "usage.md").read_text()
    table = page[page.index("## If you change this") :].split("\n\n## ")[0]
    rows = dict(re.findall(r"^\| (?!if you|---)(.+?) \| (.+?) \|$", table, re.MULTILINE))
    assert set(rows) == set(EDITS)
    for what, said in rows.items():
        expected = EDITS[what][1].split()
        first = min(expected, key=list(RULES).index) if expected else "nothing"
        named = re.findall(r"`(\w+)`", said) or ["nothing"]
        assert first == named[0], what
        assert set(named) <= {*expected, "nothing"}, what


def test_a_run_runs_nothing_again_after_it_or_the_pipeline_was_moved(tmp_path):
    here = Checkout(tmp_path / "here", config=str(ROOT / "tests/e2e/small.yaml"))
    finish(here, tmp_path / "run")
    run = tmp_path / "another" / "place" / "run"
    run.parent.mkdir(parents=True)
    (tmp_path / "run").rename(run)
    assert jobs(here.run("--dry-run", "--directory", str(run))) == set()
    here.folder.rename(tmp_path / "elsewhere")
    here.folder = tmp_path / "elsewhere"
    assert jobs(here.run("--dry-run", "--directory", str(run))) == set()


# ---- what a config may name ----


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(tmp_path_factory.mktemp("named") / "checkout", config="named.yaml")


def planned(checkout: Checkout, config: str, *words: str) -> str:
    (checkout.folder / "named.yaml").write_text(config)
    return checkout.run("--dry-run", "--printshellcmds", *words)


def test_all_rules_that_run_responses_run_them_in_one_image(checkout):
    config = "extends: config.yaml\nverify_responses: {image: mine.sif, timeout_s: 7}\n"
    targets = [
        f"results/{rule}/self/00000.parquet"
        for rule in ("verify_responses", "cross_verify_responses", "count_assertions", "weigh_assertions")
    ]
    (checkout.folder / "mine.sif").touch()
    printed = planned(checkout, config, *targets)
    for target in targets:
        script = target.split("/")[1]
        (command,) = re.findall(rf"python \S*scripts/{script}\.py.*?\n\s*\n", printed, re.DOTALL)
        assert "--image=mine.sif" in command, script
        assert "--timeout-s=7.0" in command, script


def test_a_version_of_a_benchmark_stays_one_word_of_the_shell(checkout):
    config = "benchmarks: {humaneval_plus: {version: 'v 1; echo hi'}}\n"
    printed = planned(checkout, config, "results/fetch_benchmark/humaneval_plus.gz")
    assert "'--version=v 1; echo hi'" in printed


def test_models_that_rules_make_are_made_before_they_are_used(checkout):
    config = "model: {base: results/pretrain_demo_model}\n"
    assert {"pretrain_demo_model", "judge_seeds"} <= jobs(
        planned(checkout, config, "results/judge_seeds/00000.parquet")
    )
    config = "demo: true\nmodels: {aligned: {}, preferring: {from: aligned, objective: dpo}}\n"
    target = "results/sample_solutions/preferring/demo.parquet"
    assert {"train_sft", "train_dpo", "sample_solutions"} <= jobs(planned(checkout, config, target))


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("results/build_viewer/nonsense", "datasets of the config has no entry 'nonsense'; it has passing"),
        ("results/train_dpo/theirs", "objective of the config is sft, so that this model is results/train_sft/theirs"),
        ("results/filter_seeds/00009.parquet", "data.raw_shards of the config has no entry '00009'"),
    ],
)
def test_a_target_of_no_entry_is_one_sentence(checkout, target, sentence):
    (checkout.folder / "named.yaml").write_text(
        "other_datasets: {others: {source: org/name}}\nmodels: {aligned: {}, theirs: {dataset: others}}\n"
    )
    command = checkout.command("--dry-run", target)
    done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, timeout=300, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode != 0
    assert sentence in printed
    assert "Traceback" not in printed


def test_a_preset_stands_alone_and_extends_lays_it_over_a_config_of_ones_own(tmp_path):
    (tmp_path / "code.jsonl").write_text('{"content": "x = 1"}\n')
    (tmp_path / "config.yaml").write_text("data: {raw_shards: [code.jsonl]}\n")
    (tmp_path / "alone.yaml").write_text("write_responses: {samples: 3}\n")
    (tmp_path / "over.yaml").write_text("extends: config.yaml\nwrite_responses: {samples: 3}\n")
    checkout = Checkout(tmp_path / "checkout", config=None)
    for preset, made in (("alone.yaml", True), ("over.yaml", False)):
        words = ["--dry-run", "--directory", str(tmp_path), "--configfile", str(tmp_path / preset)]
        assert ("make_demo_shards" in jobs(checkout.run(*words))) == made


def test_the_workflow_runs_as_a_module_with_results_in_another_folder(checkout):
    outer = checkout.folder / "outer.smk"
    outer.write_text(
        'module align:\n    snakefile: "Snakefile"\n'
        '    config: {"tables": {"cost": {"rows": {"CodeQwen1.5-7B": "aligned"}}}}\n'
        '    pathvars:\n        results="out/results",\n        timings="out/timings",\n        logs="out/logs"\n\n'
        "use rule * from align as align_*\n\n"
        'rule everything:\n    default_target: True\n    input: "out/results/report.html"\n'
    )
    command = [checkout.command()[0], "--dry-run", "--snakefile", "outer.smk", "--printshellcmds"]
    done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True, timeout=300, check=False)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-3000:]
    assert "align_make_demo_shards" in printed
    assert "align_build_table" in printed
    assert "out/results/report.html" in printed
    assert not re.search(r"(?<!out/)\bresults/", printed), "no path outside the folder of results"
