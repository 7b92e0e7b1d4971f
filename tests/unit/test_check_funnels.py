"""Rows may neither appear nor vanish, and whoever says otherwise stops the run."""

import json
import re

import pytest

from scripts.check_funnels import links_of, main
from selfcodealign.dataset.funnels import branch, leaks, read_funnels
from selfcodealign.errors import UserError
from selfcodealign.rows import FunctionRow
from selfcodealign.rows_io import StageOutput
from tests.small_run import make_run

LINKS = [
    "extract_functions=dedup_functions",
    "dedup_functions=infer_imports",
    "infer_imports=typecheck_functions",
    "typecheck_functions=filter_seeds",
    "filter_seeds=decontaminate_seeds",
    "decontaminate_seeds=judge_seeds",
    "judge_seeds=gather_seeds",
    "gather_seeds=extract_concepts/self",
    "extract_concepts/self=write_instructions/self",
    "sanitize_responses/self=verify_responses/self",
    "verify_responses/self=select_responses/passing",
]


def funnel_file(folder, stage, place, entered, kept, dropped, produced=None):
    path = folder / stage / f"{place}.funnel.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = {"stage": stage, "entered": entered, "kept": kept, "dropped": dropped}
    path.write_text(json.dumps(counts | {"produced": kept if produced is None else produced}))
    return path


@pytest.mark.parametrize(
    ("path", "stage", "name"),
    [
        ("results/filter_seeds/00003.funnel.json", "filter_seeds", "filter_seeds"),
        ("results/write_responses/self/00000.funnel.json", "write_responses", "write_responses/self"),
        ("results/select_responses/passing.funnel.json", "select_responses", "select_responses/passing"),
        ("filter_seeds/results/filter_seeds/00003.funnel.json", "filter_seeds", "filter_seeds"),
        ("results/select_responses/v1.2.funnel.json", "select_responses", "select_responses/v1.2"),
    ],
)
def test_a_branch_is_named_after_the_path(tmp_path, path, stage, name):
    assert branch(tmp_path / path, stage) == name


def test_shards_add_up(tmp_path):
    files = [
        funnel_file(tmp_path, "filter_seeds", "00000", 5, 3, {"too_long": 2}),
        funnel_file(tmp_path, "filter_seeds", "00001", 4, 3, {"no_return": 1}),
    ]
    (funnel,) = read_funnels(files).values()
    assert (funnel.entered, funnel.kept, dict(funnel.dropped)) == (9, 6, {"too_long": 2, "no_return": 1})
    assert str(funnel) == "filter_seeds: 9 in, 6 kept (too_long 2, no_return 1)"


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ((3, 3, {}), None),
        ((2, 2, {}), "filter_seeds → judge_seeds: 3 rows were produced, but 2 entered"),
        ((4, 4, {}), "filter_seeds → judge_seeds: 3 rows were produced, but 4 entered"),
        ((3, 1, {"no": 1}), "judge_seeds: 3 rows entered, but 1 were kept and 1 dropped"),
    ],
)
def test_a_leak_is_named(tmp_path, second, sentence):
    files = [
        funnel_file(tmp_path, "filter_seeds", "00000", 5, 3, {"too_long": 2}),
        funnel_file(tmp_path, "judge_seeds", "00000", *second),
    ]
    assert leaks(read_funnels(files), [("filter_seeds", "judge_seeds", None)]) == ([sentence] if sentence else [])


def test_one_row_may_become_several(tmp_path):
    files = [
        funnel_file(tmp_path, "write_responses", "self/00000", 5, 3, {"malformed": 2}, produced=30),
        funnel_file(tmp_path, "sanitize_responses", "self/00000", 30, 30, {}),
    ]
    assert leaks(read_funnels(files), [("write_responses/self", "sanitize_responses/self", None)]) == []


def test_a_missing_stage_is_a_leak(tmp_path):
    files = [funnel_file(tmp_path, "filter_seeds", "00000", 5, 5, {})]
    assert leaks(read_funnels(files), [("filter_seeds", "judge_seeds", None)]) == [
        "filter_seeds → judge_seeds: no funnel of judge_seeds"
    ]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stage": "filter_seeds"}', "not json"])
def test_a_broken_funnel_file_is_named(tmp_path, text):
    path = tmp_path / "filter_seeds" / "00000.funnel.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UserError, match=re.escape(f"{path} is no funnel")):
        read_funnels([path])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"filter_seeds.00000\.funnel\.json cannot be read"):
        read_funnels([tmp_path / "filter_seeds" / "00000.funnel.json"])


@pytest.mark.parametrize("word", ["a", "a=", "=b"])
def test_a_link_needs_two_ends(word):
    with pytest.raises(UserError, match="BEFORE=AFTER"):
        links_of([word])


def test_a_whole_run_conserves(tmp_path):
    run = make_run(tmp_path)
    funnels = sorted(run.results.rglob("*.funnel.json"))
    main(funnels, tmp_path / "totals.json", links=LINKS)
    totals = json.loads((tmp_path / "totals.json").read_text())
    assert [item["name"] for item in totals][:2] == ["extract_functions", "dedup_functions"]
    assert totals[0]["entered"] == len(run.functions)


def test_a_lost_row_stops_the_run(tmp_path):
    run = make_run(tmp_path)
    funnels = sorted(run.results.rglob("*.funnel.json"))
    path = run.results / "judge_seeds" / "00001.funnel.json"
    counts = json.loads(path.read_text())
    path.write_text(json.dumps(counts | {"kept": counts["kept"] - 1, "entered": counts["entered"] - 1}))
    with pytest.raises(UserError, match="decontaminate_seeds → judge_seeds"):
        main(funnels, tmp_path / "totals.json", links=LINKS)
    assert not (tmp_path / "totals.json").exists()


def test_a_file_with_other_rows_than_its_funnel_stops_the_run(tmp_path):
    run = make_run(tmp_path)
    base = run.results / "extract_functions" / "00000"
    with StageOutput(
        "extract_functions",
        rows=base.with_name("00000.parquet"),
        dropped=base.with_name("00000.dropped.parquet"),
        funnel=tmp_path / "thrown away.json",
        schema=FunctionRow,
    ) as output:
        output.keep(run.functions[0])
    with pytest.raises(UserError, match=r"extract_functions: the funnel says 48 rows, the \*\.parquet files hold 25"):
        main(sorted(run.results.rglob("*.funnel.json")), tmp_path / "totals.json", links=LINKS)
