"""What a row was made from has changed, its id has not: nothing of before comes back, and nothing else runs again."""

import json
import shutil

import pytest

from scripts import (
    count_assertions,
    cross_verify_responses,
    execute_programs,
    extract_concepts,
    judge_seeds,
    sample_solutions,
    verify_responses,
    weigh_assertions,
    write_instructions,
)
from selfcodealign import ledger, pipeline, verification
from selfcodealign.config.dataset import WeighAssertions
from selfcodealign.config.execution import ExecutePrograms, RunResponses, VerifyResponses
from selfcodealign.config.generation import WriteInstructions
from selfcodealign.evaluation import execution
from selfcodealign.evaluation.rows import ProgramRow
from selfcodealign.generation import engine
from selfcodealign.ledger import Ledger
from selfcodealign.rows import ConceptRow, ResponseRow, SeedRow, VerdictRow
from selfcodealign.rows_io import read_rows, write_rows
from selfcodealign.sandbox import runner
from selfcodealign.sandbox.cache import Cache
from tests.conftest import ROOT
from tests.dataset_rows import verdict_row
from tests.generation_rows import asking, call, outputs, rows_of, write_seeds
from tests.stub_server import running
from tests.tiny_model import tiny_model
from tests.unit.test_execute_programs import PROGRAMS, RECORD
from tests.unit.test_verify_responses import SAMPLES, response_row

pytestmark = pytest.mark.slow

RIGHT = "```python\ndef double(x):\n    return 2 * x\n```"
WRONG = "```python\ndef double(x):\n    return x ** 2\n```"
GOOD = "```python\nassert double(3) == 6\n```"
BAD = "```python\nassert double(3) == 9\n```"


@pytest.fixture
def ran(monkeypatch):
    """The ids of all cases that are handed to the sandbox."""
    ids: list[str] = []
    for room in (verification, execution):
        run_cases = room.run_cases

        def counting(cases, settings, run_cases=run_cases):
            return run_cases((ids.append(case["id"]) or case for case in cases), settings)

        monkeypatch.setattr(room, "run_cases", counting)
    return ids


def run_verify(folder, tests):
    rows = [response_row("x", RIGHT, tests), response_row("other", *SAMPLES["right"][:2])]
    write_rows(folder / "responses.parquet", ResponseRow, rows)
    outs = [folder / name for name in ("rows.parquet", "dropped.parquet", "funnel.json")]
    verify_responses.main(folder / "responses.parquet", *outs, folder / "work", settings=VerifyResponses())
    return next(row["verdict"] for row in read_rows(outs[0]))


def run_count(folder, tests):
    rows = [verdict_row(n, id=f"res-{n}", passed=False, response=RIGHT, tests=t) for n, t in enumerate((tests, BAD))]
    write_rows(folder / "verdicts.parquet", VerdictRow, rows)
    files = [folder / name for name in ("verdicts.parquet", "rows.parquet", "work")]
    count_assertions.main(*files, settings=RunResponses())
    return next(row["held"] for row in read_rows(folder / "rows.parquet"))


def run_cross(folder, tests):
    texts = enumerate(((RIGHT, GOOD), (RIGHT, tests), (WRONG, BAD)))
    rows = [
        verdict_row(0, id=f"res-{n}", instruction_id="ins-0", verdict="pass", passed=True, response=r, tests=t)
        for n, (r, t) in texts
    ]
    write_rows(folder / "verdicts.parquet", VerdictRow, rows)
    files = [folder / name for name in ("verdicts.parquet", "rows.parquet", "work")]
    cross_verify_responses.main(*files, settings=RunResponses())
    return [row["tests_passed"] for row in read_rows(folder / "rows.parquet")]


def run_weigh(folder, tests):
    rows = [
        verdict_row(number, id=f"res-{number}", passed=True, response=response, tests=own)
        for number, (response, own) in enumerate(((RIGHT, tests), (WRONG, BAD)))
    ]
    write_rows(folder / "verdicts.parquet", VerdictRow, rows)
    files = [folder / name for name in ("verdicts.parquet", "rows.parquet", "assertions.parquet", "work")]
    weigh_assertions.main(*files, settings=RunResponses(), weighing=WeighAssertions())
    return [row["score"] for row in read_rows(folder / "rows.parquet")]


RUNNERS = {
    "verify_responses": (run_verify, 1),
    "count_assertions": (run_count, 1),
    "cross_verify_responses": (run_cross, 2),
    "weigh_assertions": (run_weigh, 2),  # beside a stub, and by itself
}


@pytest.mark.parametrize("rule", RUNNERS)
def test_new_tests_under_an_old_id_run_again_and_no_other_row_does(tmp_path, ran, rule):
    run, cases = RUNNERS[rule]
    before = run(tmp_path, GOOD)
    ran.clear()
    assert run(tmp_path, GOOD) == before
    assert ran == []
    after = run(tmp_path, BAD)
    assert len(ran) == cases
    assert after != before
    shutil.rmtree(tmp_path / "work")
    assert run(tmp_path, BAD) == after


def edited(rule, module, folder):
    """List what decides a rule, with one module edited in a copy, so that what runs stays as it is."""
    copy = folder / "edited" / module.name
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(module.read_text() + "\nEDITED = True\n")
    return [copy if path == module else path for path in pipeline.decided_by(rule)]


@pytest.mark.parametrize("rule", ["typecheck_functions", "execute_programs", *RUNNERS])
def test_an_edit_of_any_deciding_module_sets_the_ledger_aside(tmp_path, monkeypatch, rule):
    real = pipeline.decided_by(rule)
    with Ledger(tmp_path / "kept", {}, decided_by=rule) as kept:
        kept.append("a", {})
    for module in real:
        found = edited(rule, module, tmp_path)
        monkeypatch.setattr(ledger, "modules_of", lambda rule, found=found: found)
        shutil.copytree(tmp_path / "kept", tmp_path / "copy")
        with Ledger(tmp_path / "copy", {}, decided_by=rule) as other:
            assert "a" not in other, module
        shutil.rmtree(tmp_path / "copy")


@pytest.mark.parametrize("rule", RUNNERS)
def test_an_edit_of_the_sandbox_and_other_packages_judge_again(tmp_path, ran, monkeypatch, rule):
    """Neither the ledger nor the sandbox's own cache gives back what was judged otherwise."""
    run, _ = RUNNERS[rule]
    run(tmp_path, GOOD)
    ran.clear()
    harness = ROOT / "selfcodealign/sandbox/inside/harness.py"
    found = edited(rule, harness, tmp_path)
    monkeypatch.setattr(ledger, "modules_of", lambda rule: found)
    run(tmp_path, GOOD)
    assert ran
    monkeypatch.setattr(runner.images, "digest", lambda image: "sha256:of other content")
    monkeypatch.setattr(runner, "packages", lambda python: "other packages")
    ran.clear()
    run(tmp_path, GOOD)
    assert ran


def test_the_cache_of_verdicts_holds_for_this_sandbox_alone(tmp_path):
    one = Cache(tmp_path / "cache.sqlite", "one")
    one.put("key", {"verdict": "pass"})
    one.close()
    assert Cache(tmp_path / "cache.sqlite", "one").get("key") == {"verdict": "pass"}
    assert Cache(tmp_path / "cache.sqlite", "other").get("key") is None


def executed(folder, record):
    (folder / "tasks.jsonl").write_text(json.dumps(record) + "\n")
    rows = [{"id": "HumanEval/0#0", "task_id": "HumanEval/0", "sample": 0, "program": PROGRAMS["right"][0], "note": ""}]
    write_rows(folder / "programs.parquet", ProgramRow, rows)
    paths = [folder / name for name in ("tasks.jsonl", "programs.parquet", "rows.parquet", "work", "references")]
    execute_programs.main("demo", *paths, workers=1, settings=ExecutePrograms())
    return next(row["passed"] for row in read_rows(folder / "rows.parquet"))


def test_a_benchmark_file_with_the_same_ids_and_other_tests_gives_other_scores(tmp_path, ran):
    assert executed(tmp_path, RECORD)
    ran.clear()
    assert executed(tmp_path, RECORD)
    assert ran == []
    assert not executed(tmp_path, {**RECORD, "test": RECORD["test"].replace("== 1", "== 7")})


def test_a_benchmark_file_with_the_same_ids_and_other_prompts_is_asked_again(tmp_path):
    def asked(record, url):
        (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(one) + "\n" for one in record))
        paths = [tmp_path / name for name in ("tasks.jsonl", "rows.parquet")]
        call(sample_solutions.main, "demo", *paths, work=tmp_path / "work", **asking(url), style="base")

    rows = [RECORD, {**RECORD, "task_id": "HumanEval/1"}]
    with running() as stub:
        asked(rows, stub.url)
        first = len(stub.bodies)
        asked(rows, stub.url)
        assert len(stub.bodies) == first
        asked([{**RECORD, "prompt": RECORD["prompt"].replace("Half", "Less")}, rows[1]], stub.url)
        assert len(stub.bodies) == first + 1


def test_a_seed_with_another_text_under_its_id_is_asked_about_again_alone(tmp_path):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 6), outputs(tmp_path)
    with running() as stub:
        call(extract_concepts.main, seeds, **out, **asking(stub.url))
        rows = rows_of(seeds)
        rows[2]["content"] = rows[2]["content"].replace("return", "return 1 +")
        write_rows(seeds, SeedRow, rows)
        before = len(stub.bodies)
        call(extract_concepts.main, seeds, **out, **asking(stub.url))
        assert len(stub.bodies) == before + 1


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_the_judge_reads_a_changed_seed_again(tmp_path, mode):
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 4), outputs(tmp_path)
    with running() as stub:
        call(judge_seeds.main, seeds, prompts=ROOT / "prompts/judge.yaml", **out, **asking(stub.url), mode=mode)
        rows = rows_of(seeds)
        rows[1]["content"] = rows[1]["content"].replace("return", "return 1 +")
        write_rows(seeds, SeedRow, rows)
        before = len(stub.bodies)
        call(judge_seeds.main, seeds, prompts=ROOT / "prompts/judge.yaml", **out, **asking(stub.url), mode=mode)
        assert len(stub.bodies) > before
        call(judge_seeds.main, seeds, prompts=ROOT / "prompts/judge.yaml", **out, **asking(stub.url), mode=mode)


def test_another_language_writes_the_tasks_again_instead_of_relabelling_them(tmp_path):
    concepts, tasks = outputs(tmp_path, "concepts"), outputs(tmp_path, "tasks")
    with running() as stub:
        call(extract_concepts.main, write_seeds(tmp_path / "seeds.parquet", 4), **concepts, **asking(stub.url))
        assert set(rows_of(concepts["rows"])[0]) == set(ConceptRow.model_fields)
        call(write_instructions.main, concepts["rows"], **tasks, **asking(stub.url))
        before = len(stub.bodies)
        rust = WriteInstructions().model_copy(update={"language": "Rust"})  # No config may ask for it today.
        call(write_instructions.main, concepts["rows"], **tasks, **asking(stub.url), settings=rust)
        assert len(stub.bodies) == before + 4
        assert all("Rust" in body["prompt"] for body in stub.bodies[before:])


def test_a_local_model_is_asked_again_when_its_files_change_and_not_when_it_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model(), tmp_path / "here/model")
    seeds, out = write_seeds(tmp_path / "seeds.parquet", 2), outputs(tmp_path)
    flags = {"engine": {"backend": "transformers"}, "max_tokens": 4, "few_shots": 1}

    def run(model):
        call(extract_concepts.main, seeds, **out, **flags, model=model)
        return rows_of(out["rows"]) + rows_of(out["dropped"]), out["rows"].read_bytes()

    first = run(str(tmp_path / "here/model"))
    shutil.copytree(tmp_path / "here/model", tmp_path / "deeper/there/model")
    shutil.rmtree(tmp_path / "here")
    opened: list[str] = []
    real = engine.open_backend
    monkeypatch.setattr(
        engine, "open_backend", lambda model, settings: opened.append(model.name) or real(model, settings)
    )
    assert run("deeper/there/model") == first
    assert opened == []
    config = tmp_path / "deeper/there/model/generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "top_k": 7}) if config.exists() else "{}")
    run("deeper/there/model")
    assert opened == ["deeper/there/model"]
    assert str(tmp_path).encode() not in out["rows"].read_bytes()
