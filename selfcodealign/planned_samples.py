"""The rounds in which responses are asked for: of which files each is made, for generations that stop at `enough`.

Each round goes through writing, sanitising and verification like a generation of its own, whose name has the folder of
the round in it: `self/samples-0`. The last round has the generation's plain name, and its files hold all responses, so
that nothing that comes after knows of rounds.
"""

from typing import Any

from selfcodealign.config.config import NAME
from selfcodealign.config.generation import Stopping
from selfcodealign.errors import UserError
from selfcodealign.plan import Plan, entry
from selfcodealign.sample_rounds import FOLDER, folder_of, rounds


class PlannedSamples:
    """What the rounds of a run's responses are made from.

    Args:
        plan: the plan of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def pattern(self) -> str:
        """Pattern of the names that a generation's rounds have: its own, and with the folder of a round behind it."""
        folder = f"(?:/{FOLDER.pattern})?" if any(map(self.folders, self.plan.config.generations)) else ""
        return NAME.pattern + folder

    def folders(self, generation: str) -> list[str]:
        """Folders of the rounds of a generation before its last one; none where all samples are asked for at once."""
        asked = self.plan.config.responses_of(generation)
        return [folder_of(one) for one in rounds(asked.samples, asked.enough, asked.samples_per_round)[:-1]]

    def rounds(self, generation: str) -> list[str]:
        """Names of the rounds of a generation, in order."""
        entry(self.plan.config.generations, "generations", generation)
        return [*(f"{generation}/{folder}" for folder in self.folders(generation)), generation]

    def before(self, name: str) -> list[str]:
        """Names of the rounds before one.

        Raises:
            UserError: the generation has no such round.
        """
        names = self.rounds(name.partition("/")[0])
        if name not in names:
            raise UserError(f"write_responses of the config makes no round {name}; it makes {', '.join(names)}")
        return names[: names.index(name)]

    def verdicts(self, name: str, shard: str) -> list[str]:
        """Verdicts that a round goes by: those of each round before it."""
        return [f"{self.plan.results}/verify_responses/{one}/{shard}.parquet" for one in self.before(name)]

    def answers(self, name: str, shard: str) -> list[str]:
        """Responses that a round hands on: the last one those of all rounds before it."""
        if "/" in name:
            return []
        return [f"{self.plan.results}/write_responses/{one}/{shard}.parquet" for one in self.before(name)]

    def stopping(self, dataset: str) -> dict[str, Any]:
        """How often the tasks of a dataset were answered, where that went by rounds; else empty keys."""
        name = entry(self.plan.config.datasets, "datasets", dataset).generation
        asked = self.plan.config.responses_of(name).model_dump(include=set(Stopping.model_fields))
        return asked if self.folders(name) else dict.fromkeys(asked)

    def recipe(self, dataset: str) -> list[str]:
        """Settings for a dataset's card, as KEY=VALUE words: how its tasks were answered in rounds; none otherwise."""
        return [f"write_responses.{key}={value}" for key, value in self.stopping(dataset).items() if value is not None]
