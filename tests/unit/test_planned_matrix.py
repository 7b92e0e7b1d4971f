"""Only a dataset that goes by the matrix waits for it."""

from selfcodealign.config import load
from selfcodealign.plan import Plan
from selfcodealign.planned_matrix import matrix_recipe, matrix_weights


def test_weights_are_those_of_a_datasets_own_generation_and_shards():
    values = {
        "demo": True,
        "gather_seeds": {"shards": 2},
        "generations": {"self": {}, "other": {"seed": 1}},
        "datasets": {
            "passing": {},
            "matrix": {"selection": "matrix", "generation": "other"},
            "small": {"selection": "matrix", "seed_shards": 1},
        },
        "models": {"aligned": {"dataset": "matrix"}},
    }
    plan = Plan(load(values), ["results/make_demo_shards/00000.parquet"])
    assert matrix_weights(plan, "passing") == []
    assert matrix_weights(plan, "small") == ["results/weigh_assertions/self/00000.parquet"]
    assert matrix_weights(plan, "matrix") == [
        f"results/weigh_assertions/other/0000{number}.parquet" for number in range(2)
    ]
    assert matrix_recipe(plan, "passing") == []
    assert "weigh_assertions.least_evidence=0.27" in matrix_recipe(plan, "small")
