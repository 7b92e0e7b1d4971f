"""From what a pilot measured to what the whole run will leave and take.

A job takes a fixed time, in which Python starts and a model is loaded, and time for each row. The log of a stage says
what its rows took; a stage whose log does not is over in seconds, and taken for fixed. Rows go from stage to stage by
the shares that the pilot saw, but for programs that define the same names: how many more of those are among more rows
is extrapolated. Two things that grow with a run are not foreseen: other near-duplicates, and the speed of a GPU that
has more rows to work on at once.
"""

import math
import statistics
from dataclasses import dataclass, field, replace

from selfcodealign.config.cells import evaluated
from selfcodealign.config.config import Config
from selfcodealign.config.lineage import equal_rows
from selfcodealign.config.training import TrainSft
from selfcodealign.evaluation.statistics import expected_distinct
from selfcodealign.pilot import setup
from selfcodealign.pilot.measure import Measured
from selfcodealign.pipeline import RULES, WRITING, before

Z95 = 1.96
"""Standard deviations on each side of a 95 % interval."""
LOOPS = 4
"""Fewest loops from which the time of a batch is told apart from that of its rows."""
TRAINING_SIZE = 4
"""Bytes of a training on disk for each of its weights' bytes: weights, the latest checkpoint, its optimizer's state."""


@dataclass(frozen=True)
class Cost:
    """What a stage of a branch takes: jobs, rows that enter, hours of its jobs, GPUs of a job, tokens written, bytes.

    Hours are job hours: a job on GPUs holds all of them as long.
    """

    stage: str
    branch: str
    jobs: int
    rows: int
    hours: float
    gpus: int = 0
    tokens_out: int = 0
    size: float = 0.0


@dataclass
class Forecast:
    """What the whole run leaves and takes. Rows of datasets come with a 95 % interval from the pilot's counts."""

    before_judge: int
    seeds: int
    rows: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    costs: list[Cost] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def gpu_hours(self) -> float:
        """Hours of all GPUs together."""
        return sum(cost.hours * cost.gpus for cost in self.costs)

    @property
    def cpu_hours(self) -> float:
        """Hours of jobs that hold no GPU."""
        return sum(cost.hours for cost in self.costs if not cost.gpus)

    @property
    def size(self) -> float:
        """Bytes of results and ledgers."""
        return sum(cost.size for cost in self.costs)


@dataclass(frozen=True)
class Run:
    """What of a run its pilot does not know by itself.

    Args:
        config: the run's.
        shards: files that its judge reads.
        before_judge: seeds in them.
        problems: tasks of each benchmark.
        gpus: GPUs of a job in which a model answers, by what asks it: `judge_seeds`, `generations.NAME`, `models.NAME`.
        training_gpus: whether training runs on GPUs.
        pilot_shards: shards of the pilot's seeds.
    """

    config: Config
    shards: int
    before_judge: int
    problems: dict[str, int]
    gpus: dict[str, int]
    training_gpus: bool = False
    pilot_shards: int = 1


def foreseen(run: Run, pilot: dict[str, Measured], judged: tuple[int, int, int]) -> Forecast:
    """Extrapolate a pilot to its run.

    Args:
        run: the run.
        pilot: what was measured, by stage and branch.
        judged: seeds that the judge was shown, those with a score, those that the run would keep; all alike where the
            run has no judge.
    """
    shown, scored, kept = judged
    settings = run.config.judge_seeds
    if settings.keep_share:
        kept = round(settings.keep_share * scored)
    share = kept / shown if shown else 0.0
    seeds = round(run.before_judge * share)
    limit = run.config.gather_seeds.limit
    found = Forecast(run.before_judge, min(seeds, limit) if limit else seeds)
    if setup.from_functions(run.config) and (judge := pilot.get("judge_seeds")):
        found.costs.append(_cost(judge, run.before_judge, run.shards, gpus=run.gpus.get("judge_seeds", 0)))
    leaving = {
        name: _generation(found, run, pilot, name, writer) for name, writer in setup.generations(run.config).items()
    }
    for name, one in setup.datasets(run.config).items():
        shards, dataset = run.config.gather_seeds.shards, run.config.datasets[name]
        entering = leaving[dataset.generation] * (dataset.seed_shards or shards) / shards
        rows = _dataset(found, run, pilot, name, one, entering)
        spread = _spread(pilot, one, kept, shown)
        found.rows[name] = (round(rows), round(rows * max(0.0, 1 - spread)), round(rows * (1 + spread)))
    _equal(found, run.config)
    _trainings(found, run, pilot)
    _evaluations(found, run, pilot)
    if any(cost.gpus for cost in found.costs):
        found.notes.append(
            "A GPU that works on more rows at once is faster than it was in the pilot: its hours are an upper bound."
        )
    return found


def _cost(one: Measured, rows: float, jobs: int, *, branch: str | None = None, gpus: int = 0, batch: int = 0) -> Cost:
    """Scale a stage to the rows that enter it, in so many jobs; `batch` is how many rows are worked on at once."""
    scale = rows / one.entered if one.entered else 0.0
    fixed = (one.seconds - one.looped_s) / one.jobs
    looped = one.looped_s * scale
    if batch and (of_batch := _of_a_batch(one)):
        answers = one.looped * scale
        looped = of_batch[0] * jobs * math.ceil(answers / jobs / batch) + of_batch[1] * answers
    return Cost(
        one.stage,
        one.branch if branch is None else branch,
        jobs,
        round(rows),
        (fixed * jobs + looped) / 3600,
        gpus,
        round(one.tokens_out * scale),
        one.size * scale,
    )


def _of_a_batch(one: Measured) -> tuple[float, float] | None:
    """Fit what a batch takes and what each of its rows adds, in seconds, by least squares over the loops of the pilot.

    A batch takes most of its time however few its rows are, so that a pilot's small ones say too much of large ones.
    None where the loops are too few, or too much alike, to tell the two apart.
    """
    sizes = [size for size, _ in one.loops]
    if len(sizes) < LOOPS or max(sizes) < 2 * min(sizes) or sum(sizes) != one.looped or min(sizes) < 1:
        return None
    slope, start = statistics.linear_regression(sizes, [seconds for _, seconds in one.loops])
    return (start, slope) if start > 0 and slope > 0 else None


def _generation(found: Forecast, run: Run, pilot: dict[str, Measured], name: str, writer: str) -> float:
    """Add the stages of a generation; returns the rows that leave its last one."""
    rows = float(found.seeds)
    config = run.config.generations[name]
    jobs, gpus = run.config.gather_seeds.shards, run.gpus.get(f"generations.{name}", 0)
    for stage in (stage for stage, one in RULES.items() if one.per == "generation" and one.noun):
        if stage == "import_tasks" or (config.tasks and stage in ("extract_concepts", "write_instructions")):
            one = pilot.get(f"{stage}/{writer}")
            if config.tasks and one:  # It has read every task, and drawn few.
                rows = float(min(one.entered, config.tasks.limit or one.entered))
            continue
        if stage == "extract_concepts" and config.path == "direct":
            continue
        if stage in ("extract_concepts", "write_instructions") and config.answers is not None:
            author = setup.generations(run.config)[config.answers]
            rows *= _ratio(pilot.get(f"{stage}/{author}"))
            continue
        one = pilot.get(f"{stage}/{writer}")
        if one is None:
            return 0.0
        asks = stage in WRITING
        # More jobs than shards are the rounds in which responses are asked for.
        rounds = max(1, one.jobs // run.pilot_shards)
        batch = run.config.engine.batch_size if asks else 0
        found.costs.append(_cost(one, rows, jobs * rounds, branch=name, gpus=gpus if asks else 0, batch=batch))
        rows *= _ratio(one)
    return rows


def _dataset(found: Forecast, run: Run, pilot: dict[str, Measured], name: str, stand_in: str, entering: float) -> float:
    """Add the stages of a dataset; returns its rows."""
    stages = ["build_dataset"]
    while RULES[earlier := before(stages[0], run.config.mode)[0]].per == "dataset":
        stages.insert(0, earlier)
    for stage in stages:
        one = pilot.get(f"{stage}/{stand_in}")
        if one is None:
            return 0.0
        found.costs.append(_cost(one, entering, 1, branch=name))
        writer = setup.generations(run.config)[run.config.datasets[name].generation]
        programs = pilot.get(f"sanitize_responses/{writer}")
        if stage == "dedup_dataset" and programs and programs.same_names and run.config.dedup_dataset.names:
            entering *= _distinct(one, programs.same_names, entering)
        else:
            entering *= _ratio(one)
    return entering


def _distinct(one: Measured, same_names: list[int], rows: float) -> float:
    """Share of so many rows that a deduplication keeps.

    The names that programs define are like the species of a sample: Chao's estimator says how many a larger one has.
    They are counted over all tasks of the pilot, of which few have a row.
    """
    apart = one.entered - one.dropped.get("same_names", 0)
    if not apart or rows < 1:
        return _ratio(one)
    return expected_distinct(same_names, round(rows)) / round(rows) * one.produced / apart


def _ratio(one: Measured | None) -> float:
    """Rows that a stage makes of each that enters it."""
    return one.produced / one.entered if one and one.entered else 0.0


def _spread(pilot: dict[str, Measured], dataset: str, kept: int, shown: int) -> float:
    """Half of a dataset's 95 % interval as a share of its rows: that of the judge's share and of rows for each seed."""
    begun, ended = pilot.get("gather_seeds"), pilot.get(f"build_dataset/{dataset}")
    if not begun or not ended or not ended.produced or not kept:
        return 0.0
    share = min(1.0, ended.produced / begun.kept) if begun.kept else 0.0
    judge = (1 - kept / shown) / kept
    return Z95 * math.sqrt(judge + (1 - share) / ended.produced)


def _equal(found: Forecast, config: Config) -> None:
    """Cut datasets that must have equally many rows to the least of them."""
    for name in config.datasets:
        group = {name, *equal_rows(config.datasets, name)}
        least = min((found.rows[other] for other in group), key=lambda rows: rows[0])
        for other in group:
            found.rows[other] = least


def _trainings(found: Forecast, run: Run, pilot: dict[str, Measured]) -> None:
    """Add the trainings, by the speed of the pilot's."""
    one = next((one for one in pilot.values() if one.stage == "train_sft" and one.steps.get("seconds")), None)
    if one is None:
        if run.config.models:
            found.notes.append("Training is not in these hours: no training was measured (run_pilot.train).")
        return
    for name, model in run.config.models.items():
        if not setup.measured_by_the_base(run.config, name):
            what = "rows of others" if set(model.weights) - set(run.config.datasets) else "another start or objective"
            found.notes.append(f"The training of {name} is not in these hours: it has {what}.")
            continue
        settings = TrainSft.model_validate(dict(run.config.training_of(name)))
        rows = round(sum(found.rows[dataset][0] * weight for dataset, weight in model.weights.items()))
        worked = one.steps["row_s"] * rows * settings.epochs
        hours = (one.seconds - one.steps["seconds"] + worked) / 3600
        gpus = settings.processes * settings.nodes if run.training_gpus else 0
        found.costs.append(Cost("train_sft", name, 1, rows, hours, gpus, 0, one.size * TRAINING_SIZE))


def _in_full_batches(one: Measured, pilot: dict[str, Measured], batch: int) -> Measured:
    """Let a benchmark's few answers take no longer than as many tokens of responses, which fill the batches."""
    speeds = [_speed(other, batch) for other in pilot.values() if other.stage == WRITING[-1] and other.tokens_per_s]
    if not speeds:
        return one
    # What a batch waits for is no part of a job's start.
    faster = min(one.looped_s, one.tokens_out / max(speeds))
    return replace(one, looped_s=faster, seconds=one.seconds - one.looped_s + faster)


def _speed(one: Measured, batch: int) -> float:
    """Return the tokens a second of full batches as far as they are known, else those that were measured."""
    of_batch = _of_a_batch(one)
    seconds = (of_batch[0] / batch + of_batch[1]) * one.looped if of_batch else one.looped_s
    return one.tokens_out / seconds


def _evaluations(found: Forecast, run: Run, pilot: dict[str, Measured]) -> None:
    """Add the benchmarks of every model, as if each answered as long as the base."""
    for model, names in evaluated(run.config).items():
        for name in names:
            for stage in ("sample_solutions", "extract_programs", "execute_programs"):
                one = pilot.get(f"{stage}/base/{name}")
                if one is None or not run.problems.get(name):
                    continue
                run_tasks, few = run.config.benchmarks[name].tasks or math.inf, run.config.run_pilot.tasks
                asked = min(run.problems[name], run_tasks)
                rows = one.entered * asked / min(few, asked)
                gpus = 0
                if stage == "sample_solutions":
                    gpus, one = (
                        run.gpus.get(f"models.{model}", 0),
                        _in_full_batches(one, pilot, run.config.engine.batch_size),
                    )
                found.costs.append(_cost(one, rows, 1, branch=f"{model}/{name}", gpus=gpus))
