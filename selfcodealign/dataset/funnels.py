"""Read the funnels of a run, add up shards, and check that no row appears or vanishes between stages."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from selfcodealign.errors import UserError
from selfcodealign.pipeline import position

SHARD = re.compile(r"\d{5}")
SUFFIX = ".funnel.json"
Link = tuple[str, str, int | None]
"""Two branches, and of how many seed shards; None: of all."""


@dataclass
class Funnel:
    """What one stage did with its rows, all shards of one branch together.

    `name` is the stage, followed by the generation or dataset if the stage runs once for each: `write_responses/self`.
    """

    name: str
    stage: str
    entered: int = 0
    kept: int = 0
    produced: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    files: list[Path] = field(default_factory=list)
    by_shard: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Entered and produced of each shard, for a stage that runs once for each."""

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.dropped.most_common(6))
        return f"{self.name}: {self.entered} in, {self.kept} kept" + (f" ({reasons})" if reasons else "")

    def within(self, shards: int | None) -> tuple[int, int]:
        """Return entered and produced, of the first so many shards where that is asked and there are shards."""
        if shards is None or not self.by_shard:
            return self.entered, self.produced
        counted = [counts for number, counts in self.by_shard.items() if number < shards]
        return sum(entered for entered, _ in counted), sum(produced for _, produced in counted)


def branch(path: Path, stage: str) -> str:
    """Name the branch that a funnel file belongs to: its path from the stage on, without shard and suffix.

    Raises:
        UserError: the file does not lie under a folder named like its stage.
    """
    parts = list(path.parts)
    if stage not in parts[:-1]:
        raise UserError(f"{path} is a funnel of {stage} but lies in no folder of that name; do not move result files")
    start = len(parts) - 2 - parts[-2::-1].index(stage)
    parts[-1] = parts[-1].removesuffix(SUFFIX)
    below = parts[start + 1 :]
    if SHARD.fullmatch(below[-1]):
        below = below[:-1]
    return "/".join([stage, *below])


def read_funnels(paths: Iterable[Path]) -> dict[str, Funnel]:
    """Read funnel files and add up those of one branch; the result is in the order of the data path.

    Raises:
        UserError: a file is missing or is no funnel.
    """
    found: dict[str, Funnel] = {}
    for path in paths:
        try:
            counts = json.loads(path.read_text())
            name = branch(path, counts["stage"])
            funnel = found.setdefault(name, Funnel(name, counts["stage"]))
            funnel.entered += counts["entered"]
            funnel.kept += counts["kept"]
            funnel.produced += counts["produced"]
            funnel.dropped.update(counts["dropped"])
            funnel.files.append(path)
            shard = path.name.removesuffix(SUFFIX)
            if SHARD.fullmatch(shard):
                funnel.by_shard[int(shard)] = counts["entered"], counts["produced"]
        except OSError as error:
            raise UserError(f"funnel {path} cannot be read: {error.strerror}; run the stage that makes it") from error
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no funnel ({error}); delete it and run its stage again") from error
    return dict(sorted(found.items(), key=lambda item: (position(item[1].stage), item[0])))


def leaks(funnels: dict[str, Funnel], links: Iterable[Link]) -> list[str]:
    """Return one sentence for each place where rows appear or vanish.

    Within a stage, entered = kept + Σ dropped. Along a link (A, B, shards), what A produced is what entered B, in the
    first so many shards or, with None, in all.
    """
    found = []
    for funnel in funnels.values():
        gone = funnel.dropped.total()
        if funnel.entered != funnel.kept + gone:
            found.append(
                f"{funnel.name}: {funnel.entered} rows entered, but {funnel.kept} were kept and {gone} dropped"
            )
    for before, after, shards in links:
        absent = [name for name in (before, after) if name not in funnels]
        if absent:
            found.append(f"{before} → {after}: no funnel of {' and '.join(absent)}")
            continue
        (_, produced), (entered, _) = funnels[before].within(shards), funnels[after].within(shards)
        if produced != entered:
            found.append(f"{before} → {after}: {produced} rows were produced, but {entered} entered")
    return found


def one_line(funnels: dict[str, Funnel]) -> str:
    """Lay funnels out in one line, for an error message."""
    return "; ".join(str(funnel) for funnel in funnels.values())
