"""Overlap with a benchmark is found, and shown with the matching text."""

import json

import pytest

from scripts.decontaminate_seeds import main
from selfcodealign import decontamination
from selfcodealign.config.seeds import DecontaminateSeeds
from selfcodealign.decontamination import (
    Hit,
    Index,
    ReferenceIndex,
    Report,
    index_for,
    reference_passages,
)
from selfcodealign.evaluation.base import Passage
from selfcodealign.rows import SeedRow
from selfcodealign.rows_io import read_rows, write_rows
from tests.seed_rows import DOUBLE, seed_row

TASK = {
    "task_id": "HumanEval/7",
    "entry_point": "rotate",
    "prompt": 'def rotate(text, by):\n    """Rotate every letter of the text by the given number of places and keep '
    'the rest of it as it is."""\n',
    "canonical_solution": "    letters = string.ascii_lowercase\n    moved = letters[by:] + letters[:by]\n"
    "    return text.translate(str.maketrans(letters, moved))\n",
    "test": "assert rotate('a', 1) == 'b'",
}
PROMPT, DOCSTRING, SOLUTION = TASK["prompt"], TASK["prompt"].split('"""')[1], TASK["canonical_solution"]
PARAPHRASE = "Rotate every letter of the text by the given number of places and keep the rest of everything in place"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "humaneval.jsonl"
    path.write_text(json.dumps(TASK) + "\n")
    return path


@pytest.mark.parametrize(
    "text",
    [
        PROMPT + SOLUTION,
        DOCSTRING.upper(),
        "x = 1\n\t" + "\n\n   ".join(DOCSTRING.split()) + "\ny = 2",
        SOLUTION.replace("    ", "\t\t"),
        f'def other(x):\n    """{PARAPHRASE}."""',
    ],
    ids=["whole", "upper case", "other white space", "solution", "paraphrase"],
)
def test_copies_and_paraphrases_are_found(text, file):
    hits = index_for({"humaneval": file}, mode="fixed", stage="seeds").search(text)
    assert hits
    assert hits[0].task == "HumanEval/7"
    assert hits[0].reason == "in_humaneval"
    assert hits[0].detail.startswith("humaneval: HumanEval/7 ")


@pytest.mark.parametrize(
    "text",
    [
        DOUBLE,
        "",
        "rotate",
        "def rotate(text, by):\n    return text[by:] + text[:by]",
        "Rotate every letter of the word.",
    ],
)
def test_other_text_is_not(text, file):
    assert index_for({"humaneval": file}, mode="fixed", stage="seeds").search(text) == []


def test_a_hit_shows_the_matching_text_and_how_much_of_the_task_it_is(file):
    index = index_for({"humaneval": file}, mode="fixed", stage="seeds")
    (exact, *_) = index.search(SOLUTION)
    assert (exact.how, exact.overlap) == ("substring", 1.0)
    assert exact.text.startswith("letters = string")
    hits = [hit for hit in index.search(PARAPHRASE) if hit.how == "ngram"]
    assert hits
    assert 0.5 <= hits[0].overlap < 1
    assert hits[0].text == "rotate every letter of the text by the given number of places and keep the rest of"


def test_the_thresholds_decide():
    passage = Passage("1", "prompt", " ".join(f"w{k}" for k in range(29)))  # 20 runs of ten words
    for share, found in [(9, False), (10, True), (15, True)]:
        text = " ".join(f"w{k}" for k in range(share + 9))
        assert bool(Index({"b": [passage]}, overlap=0.5).search(text)) is found
    assert not Index({"b": [passage]}, overlap=1.5).search(" ".join(f"w{k}" for k in range(28)))
    short = Passage("2", "solution", "return x + y")
    assert not Index({"b": [short]}).search("return x + y")
    assert Index({"b": [short]}, min_tokens=3).search("return  X + y")


def test_one_common_run_of_words_is_chance():
    passage = Passage("1", "solution", " ".join(f"w{k}" for k in range(11)))  # Two runs of ten words.
    index = Index({"b": [passage]})
    assert index.search(" ".join(f"w{k}" for k in range(10))) == []
    assert [hit.how for hit in index.search(passage.text)] == ["substring"]


def test_boilerplate_of_a_benchmark_counts_for_nothing():
    preamble = "you are an expert programmer and will be given a question now answer it in python only"
    passages = [Passage(str(n), "prompt", f"{preamble} " + " ".join(f"q{n}_{k}" for k in range(30))) for n in range(8)]
    index = Index({"b": passages})
    assert index.search(preamble + " something else") == []
    assert [hit.task for hit in index.search(" ".join(f"q3_{k}" for k in range(30)))] == ["3"]


def test_counting_from_1_to_30_is_no_overlap():
    numbers = " ".join(map(str, range(1, 31)))
    passage = Passage("1", "prompt", f"Print the numbers {numbers} in order.")
    index = Index({"b": [passage, Passage("2", "prompt", "\n".join(map(str, range(1, 31))))]}, min_tokens=100)
    assert index.search(f"x = [{numbers.replace(' ', ', ')}]") == []
    assert index.search(passage.text) == []
    assert Index({"b": [passage]}).search(passage.text)


def test_reference_mode_takes_what_the_published_filters_take(tmp_path):
    humaneval = [
        TASK,
        {**TASK, "task_id": "HumanEval/8", "canonical_solution": "    return x + y\n"},
        {**TASK, "task_id": "HumanEval/9", "canonical_solution": "    return ''.join(strings)\n"},
        {**TASK, "task_id": "HumanEval/10", "prompt": 'def a():\n    """First."""\ndef b():\n    """ Second. """\n'},
    ]
    mbpp = [{"task_id": n, "text": f"Task {n}.", "code": f"code_{n}"} for n in (10, 11, 510, 511, 601, 974)]
    ds1000 = {"prompt": "Do that. \nSOLUTION START\n", "reference_code": "df"}
    files = {}
    for name, tasks in {"humaneval": humaneval, "mbpp": mbpp, "ds1000": [ds1000]}.items():
        files[name] = tmp_path / f"{name}.jsonl"
        files[name].write_text("\n".join(map(json.dumps, tasks)))
    common = [DOCSTRING, SOLUTION.strip(), DOCSTRING, DOCSTRING, "return ''.join(strings)", "Second.", SOLUTION.strip()]
    seeds = [passage.text for found in reference_passages(files, "seeds").values() for passage in found]
    assert sorted(seeds) == sorted([*common, "Task 601.", "code_601", "Task 974.", "code_974"])
    dataset = [passage.text for found in reference_passages(files, "dataset").values() for passage in found]
    assert sorted(dataset) == sorted([*common, "Do that.", "Task 11.", "code_11", "Task 510.", "code_510"])


def test_reference_mode_compares_exactly_as_published():
    passages = {"mbpp": [Passage("1", "prompt", "Write A function.")]}
    assert ReferenceIndex(passages, lower=False).search("# Write A function.")
    assert not ReferenceIndex(passages, lower=False).search("# write a function.")
    assert not ReferenceIndex(passages, lower=False).search("# Write  A function.")
    assert ReferenceIndex(passages, lower=True).search("# write a FUNCTION.")
    assert ReferenceIndex({}, lower=True).search("anything") == []


def test_the_report_counts_each_benchmark_once_per_row():
    sought = {"a": [Passage("1", "prompt", "p"), Passage("2", "solution", "q")], "b": [Passage("1", "prompt", "r")]}
    report = Report(sought, examples=1)
    hits = [Hit("a", "1", "prompt", "substring", 1.0, "p" * 500), Hit("a", "2", "solution", "ngram", 0.6, "q")]
    report.add("row-1", hits)
    report.add("row-2", hits[1:])
    report.add("row-3", [])
    summary = report.summary()
    assert summary["rows_searched"] == 3
    a, b = summary["benchmarks"]["a"], summary["benchmarks"]["b"]
    assert (a["rows_hit"], a["tasks_hit"], a["tasks"], a["how"]) == (2, 2, 2, {"ngram": 1, "substring": 1})
    assert [(example["row"], len(example["text"])) for example in a["examples"]] == [("row-1", decontamination.SHOWN)]
    assert b["rows_hit"] == 0


@pytest.mark.parametrize("mode", ["fixed", "reference"])
def test_rows_that_overlap_are_set_aside_with_the_text(mode, file, tmp_path):
    rows = [seed_row(), seed_row(PROMPT + SOLUTION, path="b.py")]
    write_rows(tmp_path / "s.parquet", SeedRow, rows)
    outputs = [tmp_path / name for name in ("k.parquet", "d.parquet", "n.json", "o.json")]
    benchmarks = {"humaneval": str(file)}
    main(tmp_path / "s.parquet", *outputs, benchmarks=benchmarks, mode=mode, settings=DecontaminateSeeds())
    assert list(read_rows(outputs[0])) == [rows[0]]
    (dropped,) = read_rows(outputs[1])
    assert dropped["reason"] == "in_humaneval"
    assert "HumanEval/7" in dropped["detail"]
    assert json.loads(outputs[2].read_text())["dropped"] == {"in_humaneval": 1}
    report = json.loads(outputs[3].read_text())
    assert report["rows_searched"] == 2
    assert report["benchmarks"]["humaneval"]["rows_hit"] == 1


def test_without_benchmarks_everything_passes():
    for mode in ("fixed", "reference"):
        assert index_for({}, mode=mode, stage="dataset").search(PROMPT) == []
