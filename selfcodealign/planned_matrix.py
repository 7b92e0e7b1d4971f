"""Which datasets go by the matrix of responses and assertions, and of which files it is made."""

from selfcodealign.plan import Plan, entry


def weights(plan: Plan, dataset: str) -> list[str]:
    """Weights of weigh_assertions, for a dataset that is selected by them; none for any other."""
    chosen = entry(plan.config.datasets, "datasets", dataset).selection == "matrix"
    return plan.of_generation("weigh_assertions", dataset) if chosen else []
