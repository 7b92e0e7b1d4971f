"""What looks wrong in a pilot, each in one sentence with the key to change."""

from collections.abc import Iterator
from dataclasses import dataclass

from selfcodealign.config.config import Config
from selfcodealign.pilot.forecast import Forecast
from selfcodealign.pilot.measure import Measured
from selfcodealign.pipeline import WRITING

ENOUGH = 8
"""Answers from which a share is spoken of: of fewer, one more or less says nothing."""
CUT_OFF = 0.1
"""Share of answers that reach `max_tokens`: each was paid for in full and is dropped; the demo has none."""
RUN_ON = 0.2
"""Share of answers that run on into the prompt's headings, or are empty: the layout is not understood."""
TOO_LONG = 0.1
"""Share of prompts that do not fit the context: what is left is no fair sample any more."""
FAILED = 0.05
"""Share of requests that fail for good: a server that works fails on single rows only."""
ALL_NO = 0.05
"""Share of seeds that the judge keeps, below which it says no to nearly all; the paper's kept about a quarter."""
ALL_YES = 0.98
"""Share above which it says yes to nearly all, and only costs time."""
FORMAT = 0.5
"""Share of responses that break a rule of form: more than half of the dearest stage is thrown away."""
PASSING = 0.05
"""Share of responses that pass their own tests, below which ten samples leave most tasks without one."""
VACUOUS = 0.2
"""Share of verdicts that the tests test nothing."""
ALIKE = 0.5
"""Share of answers that another answer repeats: the model says the same whatever it is asked."""
FEWEST_STEPS = 20
"""Optimizer steps below which a training hardly moves a model; warm-up alone takes some."""

REFUSALS = ("refused_by_server", "refused_by_model", "server_error", "server_timeout", "malformed_answer")
ASKING = ("judge_seeds", *WRITING)


@dataclass(frozen=True)
class Finding:
    """Something that looks wrong: in which stage, in one sentence, and the keys that change it."""

    stage: str
    sentence: str
    keys: tuple[str, ...]


def found(
    config: Config,
    pilot: dict[str, Measured],
    judged: tuple[int, int, int],
    forecast: Forecast,
    style: str = "",
) -> list[Finding]:
    """List what looks wrong, in the order of the data path.

    Args:
        config: the run's.
        pilot: what was measured, by stage and branch.
        judged: seeds that the judge was shown, those with a score, those that the run would keep.
        forecast: what the run would leave.
        style: what `preflight.style_warning` says; empty if nothing.
    """
    listed = []
    if style:
        listed.append(Finding("sample_solutions", f"{style}.", ("model.style",)))
    if "judge_seeds" in pilot:
        listed += _judge(config, judged)
    for one in pilot.values():
        if one.stage in ASKING:
            listed += _asking(one)
        if one.stage in (*WRITING, "sample_solutions"):
            listed += _answers(one)
        if one.stage == "sanitize_responses":
            listed += _format(one)
        if one.stage == "verify_responses":
            listed += _verdicts(one)
    return [*listed, *_training(config, forecast)]


def _judge(config: Config, judged: tuple[int, int, int]) -> Iterator[Finding]:
    shown, scored, kept = judged
    if config.judge_seeds.keep_share or scored < ENOUGH:
        return
    if kept <= ALL_NO * shown:
        yield Finding(
            "judge_seeds",
            f"The judge says no to nearly all: {kept} of {shown} seeds stay; let it rank them, lower the threshold, or "
            "name another judge.",
            ("judge_seeds.keep_share", "judge_seeds.threshold", "judge_seeds.model"),
        )
    elif kept >= ALL_YES * shown:
        yield Finding(
            "judge_seeds",
            f"The judge says yes to nearly all: {kept} of {shown} seeds stay; let it rank them, raise the threshold, "
            "or name another judge.",
            ("judge_seeds.keep_share", "judge_seeds.threshold", "judge_seeds.model"),
        )


def _asking(one: Measured) -> Iterator[Finding]:
    """Find requests that got no answer."""
    reasons = dict(one.finish_reasons) if one.stage == WRITING[-1] else {"kept": one.kept, **one.dropped}
    total = sum(reasons.values())
    if total < ENOUGH:
        return
    if (share := one.share(reasons, "prompt_too_long")) > TOO_LONG:
        few = "judge_seeds.examples" if one.stage == "judge_seeds" else f"{one.stage}.few_shots"
        yield Finding(
            one.stage,
            f"{share:.0%} of the prompts of {one.name} do not fit the model's context; show fewer or shorter examples, "
            "or give it more context.",
            (few, "engine.max_model_len"),
        )
    if (share := one.share(reasons, *REFUSALS)) > FAILED:
        yield Finding(
            one.stage,
            f"{share:.0%} of the requests of {one.name} failed for good; its dropped rows say why.",
            ("engine",),
        )


def _answers(one: Measured) -> Iterator[Finding]:
    """Find answers that do not end, run on, or are all alike."""
    total = sum(one.finish_reasons.values())
    if total < ENOUGH:
        return
    section = f"benchmarks.{one.branch.partition('/')[2]}" if one.stage == "sample_solutions" else one.stage
    cut = one.share(one.finish_reasons, "length")
    ended = one.finish_reasons.get("stop", 0)
    if cut and not ended:
        layout = ("model.style",) if one.stage == "sample_solutions" else ("prompts.template", "engine.api")
        yield Finding(
            one.stage,
            f"No answer of {one.name} ended by itself: the model never writes what ends an answer, so each runs to "
            "max_tokens; give it the layout that it knows.",
            (*layout, f"{section}.max_tokens"),
        )
    elif cut > CUT_OFF:
        yield Finding(
            one.stage,
            f"{cut:.0%} of the answers of {one.name} reach max_tokens and are lost; allow more, or ask for less.",
            (f"{section}.max_tokens",),
        )
    fates = {"kept": one.kept, **one.dropped}
    if one.stage in WRITING and (share := one.share(fates, "malformed", "empty")) > RUN_ON:
        yield Finding(
            one.stage,
            f"{share:.0%} of the answers of {one.name} are empty or run on into the headings of the prompt; show more "
            "examples, or another layout.",
            (f"{one.stage}.few_shots", "prompts.template"),
        )
    if one.stage in WRITING and one.duplicates > ALIKE * total:
        yield Finding(
            one.stage,
            f"{one.duplicates} of {total} answers of {one.name} repeat another word for word; sample more freely.",
            (f"{one.stage}.temperature", f"{one.stage}.top_p"),
        )


def _format(one: Measured) -> Iterator[Finding]:
    form = {reason: count for reason, count in one.dropped.items() if reason != "unfinished"}
    if one.entered >= ENOUGH and sum(form.values()) > FORMAT * one.entered:
        reason = max(form, key=lambda name: form[name])
        yield Finding(
            one.stage,
            f"The model does not follow the format: {sum(form.values())} of {one.entered} responses of {one.branch} "
            f"break it, most often by {reason} (docs/dataset.md); show more examples, or name a model that follows.",
            ("write_responses.few_shots", "prompts.template", "model.base"),
        )


def _verdicts(one: Measured) -> Iterator[Finding]:
    total = sum(one.verdicts.values())
    if total < ENOUGH:
        return
    if (share := one.share(one.verdicts, "vacuous")) > VACUOUS:
        yield Finding(
            one.stage,
            f"The tests of {share:.0%} of the responses of {one.branch} test nothing; show examples with real tests.",
            ("prompts.examples", "write_responses.few_shots"),
        )
    if (share := one.share(one.verdicts, "pass")) < PASSING:
        worst = max(one.verdicts, key=lambda name: one.verdicts[name])
        yield Finding(
            one.stage,
            f"Only {share:.0%} of the responses of {one.branch} pass their own tests, most end as {worst}; ask for "
            "easier tasks, take more samples, or name a stronger model.",
            ("write_instructions.difficulties", "write_responses.samples", "model.base"),
        )


def _training(config: Config, forecast: Forecast) -> Iterator[Finding]:
    for name, model in config.models.items():
        if model.objective != "sft" or not set(model.weights) <= set(forecast.rows):
            continue
        settings = dict(config.training_of(name))
        rows = round(sum(forecast.rows[dataset][0] * weight for dataset, weight in model.weights.items()))
        steps = rows * settings["epochs"] / settings["batch_rows"]
        if steps < FEWEST_STEPS:
            yield Finding(
                "train_sft",
                f"{name} would be trained for about {steps:.0f} steps on {rows:,} rows, too few to learn from; "
                "bring more source files, take more samples, or learn from fewer rows a step.",
                ("data.raw_shards", "gather_seeds.limit", "write_responses.samples", "train_sft.batch_rows"),
            )
