"""Which datasets go by the matrix of responses and assertions, and of which files it is made."""

from selfcodealign.plan import Plan, entry


def matrix_weights(plan: Plan, dataset: str) -> list[str]:
    """Weights of weigh_assertions, for a dataset that is selected by them; none for any other."""
    chosen = entry(plan.config.datasets, "datasets", dataset).selection == "matrix"
    return plan.of_generation("weigh_assertions", dataset) if chosen else []


def matrix_recipe(plan: Plan, dataset: str) -> list[str]:
    """Settings for a dataset's card, as KEY=VALUE words: how its responses were weighed; none otherwise."""
    settings = plan.config.weigh_assertions.model_dump() if matrix_weights(plan, dataset) else {}
    return [f"weigh_assertions.{key}={value}" for key, value in settings.items()]
