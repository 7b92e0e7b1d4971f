"""What the pilot of a run needs of it, and which words of a command line its own Snakemake is started with."""

import sys
from collections.abc import Sequence

from selfcodealign.pilot import setup
from selfcodealign.plan import Plan

NOT_PASSED_ON = {
    *("--configfile", "--configfiles", "--config", "-C", "--directory", "-d", "--snakefile", "-s", "--quiet", "-q"),
    *("--dry-run", "--dryrun", "-n", "--touch", "-t", "--force", "-f", "--forceall", "-F", "--forcerun", "-R"),
    *("--until", "-U", "--omit-from", "-O", "--report", "--report-stylesheet", "--rerun-triggers", "--target-jobs"),
}
"""Options that are about the run and not about the pilot; they go with their values."""


class PlannedPilot:
    """What a pilot is made from.

    Args:
        plan: the plan of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def seeds(self) -> list[str]:
        """Files of the seeds that it draws from: those that the judge reads, or snippets where all start from those."""
        if setup.from_functions(self.plan.config):
            return [self.plan.unjudged(shard) for shard in self.plan.shards]
        return self.plan.files("gather_snippets", ".parquet")

    @property
    def needed(self) -> list[str]:
        """What else of the run its config names, and rules make or find: benchmarks, models, files of examples."""
        plan = self.plan
        writers = [name for name, stand_in in setup.generations(plan.config).items() if name == stand_in]
        found = [
            *(f"{plan.results}/fetch_benchmark/{name}.{kind}" for name in plan.fetched for kind in ("gz", "json")),
            *plan.config.data.other_benchmarks.values(),
            *plan.models.files(plan.config.model.base),
            *plan.models.files(plan.judge()[0]),
            *(file for name in writers for file in (*plan.writer_files(name), *plan.examples(name))),
        ]
        return list(dict.fromkeys(found))


def passed_on(words: Sequence[str] | None = None) -> list[str]:
    """Keep the words of Snakemake's command line that say where and with how much jobs run.

    Args:
        words: those after the program's name; this process's own by default.
    """
    found: list[str] = []
    keeping = True
    for word in sys.argv[1:] if words is None else words:
        if word.startswith("-"):
            keeping = word.partition("=")[0] not in NOT_PASSED_ON
        elif word == "pilot" or "/run_pilot/" in word:
            continue
        if keeping:
            found.append(word)
    return found
