"""The models of a run: where each lies, what its training starts from, and what it is trained on."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from selfcodealign.config import Config
from selfcodealign.config.lineage import style
from selfcodealign.config.tables import BASE
from selfcodealign.config.training import TrainedModel
from selfcodealign.errors import UserError
from selfcodealign.models import identity_files

Entry = TypeVar("Entry")


def entry(entries: Mapping[str, Entry], section: str, name: str) -> Entry:
    """Look up a named entry of a config section.

    Raises:
        UserError: the section has no such entry.
    """
    if name not in entries:
        raise UserError(f"{section} of the config has no entry {name!r}; it has {', '.join(entries) or 'none'}")
    return entries[name]


class PlannedModels:
    """What the models of a run are made from.

    Args:
        config: a checked config, whose paths under results/ have been placed.
        results: folder of the run's results.
    """

    def __init__(self, config: Config, results: str) -> None:
        self.config = config
        self.results = results

    def _entry(self, name: str) -> TrainedModel:
        return entry(self.config.models, "models", name)

    def files(self, model: str) -> list[str]:
        """What a model is, as inputs: the folder that a rule makes, or local files; none from the Hub."""
        if model.startswith(f"{self.results}/"):
            return [model]
        return [str(file) for file in identity_files(Path(model).expanduser())]

    def tuned(self, name: str, suffix: str = "") -> str:
        """Folder of a model that this run trains, or a file beside it."""
        return f"{self.results}/{self._entry(name).rule}/{name}{suffix}"

    def all_tuned(self, suffix: str = "") -> list[str]:
        """Folders of all models that this run trains, or files beside them, in the order of the config."""
        return [self.tuned(name, suffix) for name in self.config.models]

    def start(self, name: str) -> tuple[str, str]:
        """Folder or Hub id that a model's training starts from, and its revision."""
        one = self._entry(name)
        if one.start == BASE:
            return self.config.model.base, self.config.model.revision
        if one.start in self.config.models:
            return self.tuned(one.start), "main"
        return one.start, one.revision

    def files_of_start(self, name: str) -> list[str]:
        """What a model's training starts from, as inputs."""
        return self.files(self.start(name)[0])

    def style(self, name: str) -> str:
        """How a model is asked in benchmarks."""
        self._entry(name)
        return style(self.config, name)

    def datasets(self, name: str) -> list[str]:
        """Folders of the datasets that a model is trained on: of this run, or of others."""
        return [
            f"{self.results}/{'build' if dataset in self.config.datasets else 'import'}_dataset/{dataset}"
            for dataset in self._entry(name).weights
        ]

    def pairs(self, name: str) -> list[str]:
        """Preference pairs that a model is trained on, of each of its datasets."""
        return self._preferences(name, "pairs")

    def tasks(self, name: str) -> list[str]:
        """Tasks with tests that a model is trained on, of each of its datasets."""
        return self._preferences(name, "tasks")

    def _preferences(self, name: str, kind: str) -> list[str]:
        return [f"{self.results}/build_preferences/{dataset}.{kind}.parquet" for dataset in self._entry(name).weights]

    def weights(self, name: str) -> list[float]:
        """Weights of a model's datasets, in their order."""
        return list(self._entry(name).weights.values())

    def seed(self, name: str) -> int:
        """Seed of a model's training."""
        seed = self._entry(name).seed
        return self.config.seed if seed is None else seed

    def threads(self, name: str) -> int:
        """Cores that a model's training takes on a node: for its processes, or for programs that judge its answers."""
        self._entry(name)
        section = dict(self.config.training_of(name))
        return max(section["processes"], section.get("reward_workers", 1))

    def check_rule(self, target: str, rule: str, name: str) -> None:
        """Check that a model is trained by the rule whose folder a target lies in.

        Raises:
            UserError: it is trained by another one; the sentence says where it lies.
        """
        one = self._entry(name)
        if rule != one.rule:
            raise UserError(
                f"{target}: models.{name}.objective of the config is {one.objective}, so that this model is "
                f"{self.tuned(name)}"
            )
