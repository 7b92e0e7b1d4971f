"""`python -m selfcodealign evaluate` scores samples and models, and says in one sentence what is wrong."""

import json
from pathlib import Path

import pytest

from selfcodealign.__main__ import main

pytestmark = pytest.mark.slow

HEAD = 'def halve(x):\n    """Half of it."""\n'
TASKS = [
    {
        "task_id": f"HumanEval/{number}",
        "prompt": HEAD,
        "entry_point": "halve",
        "canonical_solution": "    return x / 2\n",
        "test": "def check(candidate):\n    assert candidate(2) == 1\n",
        "base_input": [[2.0]],
        "plus_input": [[0.5], [-4.0]],
        "atol": 0,
    }
    for number in range(2)
]
SAMPLES = [
    {"task_id": "HumanEval/0", "completion": "    return x * 0.5\n"},
    {"task_id": "HumanEval/0", "solution": "```python\ndef halve(x):\n    return abs(x) / 2\n```"},
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Write two tasks and samples of one of them."""
    for name, records in (("tasks", TASKS), ("samples", SAMPLES)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def evaluate(folder: Path, *flags: str) -> dict:
    paths = [
        "--problems",
        str(folder / "tasks.jsonl"),
        "--output",
        str(folder / "r.json"),
        "--work",
        str(folder / "work"),
    ]
    main(["evaluate", *paths, "--workers", "1", *flags])
    return json.loads((folder / "r.json").read_text())


def test_published_samples_are_scored_group_by_group(files, capsys):
    found = evaluate(files, "--benchmark", "humaneval_plus", "--samples", str(files / "samples.jsonl"))
    assert found["metrics"]["pass@1"]["value"] == 50
    assert found["metrics"]["base_pass@1"]["value"] == 100
    first, second = found["tasks"]["HumanEval/0"]["verdicts"]
    assert first["groups"] == {"base": "pass", "plus": "pass"}
    assert (second["groups"], second["note"]) == ({"base": "pass", "plus": "fail"}, "markdown_removed")
    assert found["missing"] == ["HumanEval/1"]
    text = " ".join(found["warnings"])
    assert "HumanEval/1" in text
    assert "were Markdown" in text
    assert "is no published version" in text
    assert found["paper"]["ours"]["value"] == 67.1
    assert "pass@1" in capsys.readouterr().out


def test_missing_tasks_fail_when_asked(files):
    found = evaluate(
        files, "--benchmark", "humaneval+", "--samples", str(files / "samples.jsonl"), "--missing", "fail", "--as-is"
    )
    assert found["metrics"]["pass@1"]["value"] == 25
    assert found["tasks"]["HumanEval/0"]["verdicts"][1]["groups"] == {"base": "fail", "plus": "fail"}


def test_the_authors_solutions_test_a_setup(files):
    assert evaluate(files, "--benchmark", "humaneval", "--canonical")["metrics"]["pass@1"]["value"] == 100


def test_a_model_is_sampled_and_scored(files, root):
    tasks = [task | {"instruction": "Write a Python function halve that takes a number x."} for task in TASKS]
    (files / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    flags = ("--benchmark", "demo", "--model", str(root / "demo" / "model"), "--style", "base", "--max-tokens", "24")
    found = evaluate(files, *flags, "--n", "2", "--temperature", "0.8")
    assert found["tasks"]["HumanEval/0"]["n"] == 2
    assert found["settings"]["sampling"]["temperature"] == 0.8


def test_missing_tasks_have_verdicts_of_the_same_form(files):
    flags = ("--benchmark", "humaneval_plus", "--samples", str(files / "samples.jsonl"), "--missing", "fail")
    tasks = evaluate(files, *flags)["tasks"]
    assert len(tasks["HumanEval/1"]["verdicts"]) == 2
    for task in tasks.values():
        for verdict in task["verdicts"]:
            assert verdict.keys() == {"sample", "passed", "groups", "reason", "note"}
    assert tasks["HumanEval/1"]["verdicts"][1]["groups"] == {"base": "missing", "plus": "missing"}


def test_an_evalplus_folder_may_hold_what_evalplus_left_there(files):
    for number in range(2):
        folder = files / "s" / f"HumanEval_{number}"
        folder.mkdir(parents=True)
        (folder / "0.py").write_text(HEAD + "    return x / 2\n")
    (files / "s" / "eval_results.json").write_text(json.dumps({"date": "now", "hash": "", "eval": {}}))
    (files / "s" / "humaneval_eval_results.json").write_text(json.dumps({"eval": {}}))
    for hidden in (".ipynb_checkpoints", "__pycache__", ".git"):
        (files / "s" / hidden).mkdir()
        (files / "s" / hidden / "x-checkpoint.py").write_text("1")
    found = evaluate(files, "--benchmark", "humaneval_plus", "--samples", str(files / "s"))
    assert found["metrics"]["pass@1"]["value"] == 100


@pytest.mark.parametrize(
    "kept", ['{"important": 1}', "no JSON", "[]", "", json.dumps(SAMPLES[0]), json.dumps({"benchmark": "x"})]
)
def test_an_output_that_holds_something_else_is_refused_untouched(files, capsys, kept):
    (files / "r.json").write_text(kept)
    with pytest.raises(SystemExit):
        evaluate(files, "--benchmark", "humaneval", "--canonical")
    assert "holds something else" in capsys.readouterr().err
    assert (files / "r.json").read_text() == kept


def test_results_are_written_over_results(files):
    for _ in range(2):
        assert evaluate(files, "--benchmark", "humaneval", "--canonical")["metrics"]["pass@1"]["value"] == 100


def test_problems_without_tests_are_named_and_their_samples_left_out(files):
    tests = json.dumps([{"input": "1\n", "output": "1\n", "testtype": "stdin"}])
    problems = [("ok", tests), ("none", "[]"), ("empty", "")]
    rows = [{"question_id": name, "public_test_cases": given, "private_test_cases": "[]"} for name, given in problems]
    (files / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    samples = [{"question_id": name, "code_list": ["print(input())"]} for name, _ in problems]
    (files / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in samples))
    found = evaluate(files, "--benchmark", "livecodebench", "--samples", str(files / "samples.jsonl"))
    assert found["metrics"]["pass@1"]["value"] == 100
    assert "2 problems of tasks.jsonl have no tests and are left out: none, empty" in " ".join(found["warnings"])


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--benchmark", "nothing", "--canonical"], "there is no benchmark 'nothing'"),
        (["--benchmark", "humaneval", "--canonical", "--workers", "0"], "--workers is 0"),
        (["--benchmark", "humaneval", "--canonical", "--rules", "0.3"], "--rules is for HumanEval+ and MBPP+"),
        (["--benchmark", "humaneval_plus", "--samples", "absent.jsonl"], "absent.jsonl does not exist"),
        (["--benchmark", "classeval", "--canonical"], "has no field skeleton"),
    ],
)
def test_mistakes_are_one_sentence(files, capsys, flags, sentence):
    with pytest.raises(SystemExit) as error:
        evaluate(files, *flags)
    assert error.value.code == 1
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ")
    assert sentence in message
