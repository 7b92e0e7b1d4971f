"""Who is made from what where responses are asked for in rounds."""

import re

import pytest

from selfcodealign.config import load
from selfcodealign.errors import UserError
from selfcodealign.plan import Plan
from selfcodealign.planned_samples import PlannedSamples
from selfcodealign.planned_tables import PlannedTables

SHARDS = ["results/make_demo_shards/00000.parquet"]


def planned(asked: dict | None = None, **values) -> PlannedSamples:
    asked = {"samples": 4, "enough": 1} if asked is None else asked
    return PlannedSamples(Plan(load({"demo": True, "write_responses": asked, **values}), SHARDS))


def test_without_enough_there_is_one_round_that_looks_at_nothing():
    made = planned({"samples": 4})
    assert made.rounds("self") == ["self"]
    assert made.verdicts("self", "00000") == made.answers("self", "00000") == made.recipe("passing") == []
    assert set(made.stopping("passing").values()) == {None}
    assert re.fullmatch(made.pattern, "self/samples-0") is None


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        pytest.param({"samples": 4, "enough": 1}, ["self/samples-0", "self/samples-1", "self"], id="doubling"),
        pytest.param({"samples": 4, "enough": 1, "samples_per_round": 2}, ["self/samples-0-1", "self"], id="by-two"),
    ],
)
def test_the_last_round_has_the_name_of_its_generation(asked, names):
    made = planned(asked)
    assert made.rounds("self") == names
    assert all(re.fullmatch(made.pattern, name) for name in names)


def test_a_round_goes_by_the_verdicts_of_those_before_it_and_the_last_one_hands_on_their_responses():
    made = planned()
    rows = "results/{}/self/{}/00001.parquet".format
    first, second = (rows("verify_responses", folder) for folder in ("samples-0", "samples-1"))
    assert made.verdicts("self/samples-0", "00001") == []
    assert made.verdicts("self/samples-1", "00001") == [first]
    assert made.verdicts("self", "00001") == [first, second]
    assert made.answers("self/samples-0", "00001") == made.answers("self/samples-1", "00001") == []
    assert made.answers("self", "00001") == [rows("write_responses", folder) for folder in ("samples-0", "samples-1")]


def test_a_writer_may_differ():
    generations = {"self": {}, "whole": {"responses": {"enough": None}}, "two": {"responses": {"samples_per_round": 2}}}
    datasets = {"passing": {}, "random": {"generation": "whole", "selection": "random"}}
    made = planned(generations=generations, datasets=datasets)
    assert [len(made.rounds(name)) for name in generations] == [3, 1, 2]
    assert made.stopping("passing") == {"samples": 4, "enough": 1, "samples_per_round": None}
    assert made.recipe("passing") == ["write_responses.samples=4", "write_responses.enough=1"]
    assert made.recipe("random") == []


def test_a_round_that_there_is_not_is_one_sentence():
    with pytest.raises(
        UserError, match=r"makes no round self/samples-7; it makes self/samples-0, self/samples-1, self$"
    ):
        planned().verdicts("self/samples-7", "00000")


def test_files_of_a_round_may_be_asked_for_and_those_of_no_shard_may_not():
    plan = planned().plan
    plan.check_target("results/write_responses/self/samples-0/00000.parquet")
    with pytest.raises(UserError, match=r"gather_seeds.shards of the config has no entry '00009'"):
        plan.check_target("results/write_responses/self/samples-0/00009.parquet")


def test_the_hours_of_a_generation_are_those_of_all_its_rounds():
    made = planned(tables={"cost": {"rows": {"CodeQwen1.5-7B": "aligned"}}})
    cells = PlannedTables(made.plan).cells("cost")
    files = next(cell["files"] for cell in cells if cell["kind"] == "generation_h")
    written = [file for file in files if "write_responses" in file]
    shards = ("00000", "00001")
    names = ("self/samples-0", "self/samples-1", "self")
    assert written == [f"timings/write_responses/{name}/{shard}.jsonl" for name in names for shard in shards]
    assert len([file for file in files if "write_instructions" in file]) == 2
