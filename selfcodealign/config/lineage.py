"""Which entry of a config comes from which: models from datasets, those from generations, and these from models.

A run makes them one after another, so that none may come from itself.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from selfcodealign.config.dataset import Dataset
from selfcodealign.config.training import TrainedModel

if TYPE_CHECKING:
    from selfcodealign.config.config import Config

Entry = tuple[str, str]
"""A section and the name of an entry in it."""


def checked_weights(name: str, model: TrainedModel, datasets: Iterable[str]) -> list[str]:
    """List the datasets of a model, after a look at their weights and at what its objective needs of them.

    Args:
        name: of the model.
        model: its entry.
        datasets: names of the datasets of this run.

    Raises:
        ValueError: there is no dataset, a weight takes no row, or a dataset has nothing that the objective learns from.
    """
    key = f"models.{name}.dataset"
    if not model.weights:
        raise ValueError(f"{key}: names no dataset; name one, or several with their weights")
    for dataset, weight in model.weights.items():
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"{key}.{dataset}: {weight} is no weight; write a number above 0, or leave {dataset} out")
        if model.objective != "sft" and dataset not in datasets:
            lacking = "preference pairs" if model.objective == "dpo" else "tasks with tests"
            raise ValueError(
                f"{key}: {model.objective} learns from {lacking}, and {dataset} is no entry of datasets, which alone "
                "have them; name one of those"
            )
    return list(model.weights)


def equal_rows(datasets: Mapping[str, Dataset], name: str) -> list[str]:
    """Name the datasets that one must have equally many rows as, directly or by way of others, in order."""
    wanted, group = [name], set()
    while wanted:
        one = wanted.pop()
        if one not in group:
            group.add(one)
            wanted += datasets[one].equal_rows_with
            wanted += [other for other, entry in datasets.items() if one in entry.equal_rows_with]
    return sorted(group - {name})


def sources(config: "Config", entry: Entry) -> Iterator[Entry]:
    """Yield the entries that one is made from."""
    section, name = entry
    if section == "models":
        model = config.models[name]
        if model.start in config.models:
            yield "models", model.start
        yield from (("datasets", dataset) for dataset in model.weights if dataset in config.datasets)
    elif section == "datasets":
        for dataset in (name, *equal_rows(config.datasets, name)):
            yield "generations", config.datasets[dataset].generation
    else:
        generation = config.generations[name]
        if generation.model in config.models:
            yield "models", generation.model
        if generation.answers is not None:
            yield "generations", generation.answers


def check(config: "Config") -> None:
    """Check that no entry comes from itself.

    Raises:
        ValueError: one does; the sentence goes all the way round.
    """
    done: set[Entry] = set()

    def visit(entry: Entry, way: tuple[Entry, ...]) -> None:
        if entry in way:
            circle = [*way[way.index(entry) :], entry]
            told = ", which comes from ".join(".".join(one) for one in circle[1:])
            raise ValueError(f"{'.'.join(entry)} comes from {told}: nothing can be made first; change one of them")
        if entry not in done:
            for source in sources(config, entry):
                visit(source, (*way, entry))
            done.add(entry)

    for name in config.models:
        visit(("models", name), ())


def style(config: "Config", model: str) -> str:
    """Say how a trained model is asked in benchmarks: in this project's layout once fine-tuned, else in chats."""
    one = config.models[model]
    if one.objective == "sft":
        return "instruct"
    return style(config, one.start) if one.start in config.models else "chat"
