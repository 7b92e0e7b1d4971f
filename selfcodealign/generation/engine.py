"""Ask a model about every row of a stage, remember every answer, and give them back in the rows' order.

Answers are appended to a ledger as they finish. Killed at any point, a stage loses at most the answers in flight; run
again, it asks for what is missing and writes the same file as a run that was never killed.
"""

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from selfcodealign import models, tokens
from selfcodealign.generation import prompts as layouts
from selfcodealign.generation.attributes import Draw, Drawer
from selfcodealign.generation.backends import Backend, Completion, Request, Sampling, Scores, open_backend
from selfcodealign.generation.prompts import Mode, Template, load_template
from selfcodealign.generation.settings import LOADING, EngineSettings, ModelSettings
from selfcodealign.ledger import Ledger, mark_of
from selfcodealign.rows_io import StageOutput, count_rows, read_rows
from selfcodealign.stage import progress

if TYPE_CHECKING:
    from selfcodealign.config.asking import Prompting
    from selfcodealign.config.generation import Sampled

log = logging.getLogger(__name__)

SYNC_EVERY = 256
"""Answers between two writes forced to disk; each answer is handed to the operating system at once."""

RENDERING = [Path(layouts.__file__), Path(tokens.__file__)]
"""What decides an answer, beside what a ledger's settings and marks hold: how a prompt becomes text and tokens.

How answers are fetched or batched does not count: an edit there must not cost a run's answers.
"""


@dataclass(frozen=True)
class Stage:
    """What a generating stage asks, of whom, and how answers are sampled."""

    name: str
    mode: Mode
    template: Template
    drawer: Drawer
    sampling: Sampling
    model: ModelSettings
    samples: range = range(1)
    """Numbers of the answers asked for about each row."""
    first_index: int = 0
    """Absolute line number of the first row; only mode `reference` draws from line numbers."""
    title: str = ""
    revision: str = ""
    """What rows say of the model, by `pinned`."""

    def pinned(self, engine: EngineSettings) -> "Stage":
        """Return the stage with the name and the revision of its model as rows record them."""
        return replace(self, title=models.title(self.model.name), revision=model_revision(self.model, engine))

    def settings(self) -> dict[str, Any]:
        """Return everything an answer depends on besides its row and its model."""
        drawer = asdict(self.drawer)
        return {
            "mode": self.mode,
            "template": self.template.label,
            "drawer": drawer,
            "sampling": asdict(self.sampling),
            "first_index": self.first_index if self.drawer.reference else 0,
        }

    def sampled(self, draw: Draw, seed: int, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns that say how a row was sampled (`SampledRow`)."""
        return {
            "model": self.title,
            "revision": self.revision,
            "template": self.template.label,
            "examples": list(draw.examples),
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_tokens": self.sampling.max_tokens,
            "seed": seed,
            "tokens_in": answer["tokens_in"],
            "tokens_out": answer["tokens_out"],
            "reasoning": answer.get("reasoning", ""),
        }


@dataclass(frozen=True)
class Answer:
    """One finished answer, read back from the ledger."""

    sample: int
    text: str
    finish_reason: str
    columns: dict[str, Any]
    """How it was sampled (`SampledRow`)."""
    reason: str = ""
    """Why the request failed for good; empty if it did not."""
    detail: str = ""


@dataclass
class Totals:
    """What a stage cost, for its funnel."""

    tokens_in: int = 0
    tokens_out: int = 0
    finish_reasons: dict[str, int] = field(default_factory=dict)
    duplicates: int = 0
    """Answers whose text an earlier answer of this shard already had."""
    _seen: set[bytes] = field(default_factory=set, repr=False)

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.tokens_in += answer.columns["tokens_in"]
        self.tokens_out += answer.columns["tokens_out"]
        self.finish_reasons[answer.finish_reason] = self.finish_reasons.get(answer.finish_reason, 0) + 1
        mark = hashlib.sha256(answer.text.encode()).digest()[:8]
        self.duplicates += mark in self._seen
        self._seen.add(mark)

    def columns(self) -> dict[str, Any]:
        """Return the totals for the funnel file."""
        return {
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "finish_reasons": dict(sorted(self.finish_reasons.items())),
            "duplicates": self.duplicates,
        }


def fault(text: str, finish_reason: str, headings: frozenset[str], *, reference: bool = False) -> str | None:
    """Name what is wrong with an answer of any kind, or None: cut off, empty, or run on into a heading of the prompt.

    The reference takes any answer that ended by itself.
    """
    if finish_reason != "stop":
        return finish_reason
    if reference:
        return None
    if not text.strip():
        return "empty"
    return None if headings.isdisjoint(text.splitlines()) else "malformed"


def write_one_each(
    stage: Stage,
    source: Path,
    fields: Callable[[dict[str, Any], Draw], dict[str, str]],
    engine: EngineSettings,
    work: Path,
    output: StageOutput,
    *,
    why_dropped: Callable[[Answer], str | None],
    made: Callable[[dict[str, Any], Draw, Answer], dict[str, Any]],
) -> None:
    """Ask once about every row; keep the row that is made of the answer, or drop the source's with the reason.

    Args:
        stage: what to ask.
        source: file of the rows to ask about.
        fields: fills the placeholders of a row's prompt.
        engine: how the model is run.
        work: folder of the ledger.
        output: takes the rows, and the totals for the funnel; its kind of dropped rows is that of the source.
        why_dropped: names what is wrong with an answer that the model gave, or None.
        made: makes the row to keep of a source's row, what was drawn for it, and the answer.
    """
    totals = Totals()
    for row, draw, (answer,) in answered(stage, source, output.dropped_schema, fields, engine, work):
        totals.add(answer)
        reason = answer.reason or why_dropped(answer)
        if reason:
            output.drop(row, reason, answer.detail or answer.text)
        else:
            output.keep(made(row, draw, answer))
    output.extra = totals.columns()


def answered(
    stage: Stage,
    source: Path,
    schema: type[BaseModel],
    fields: Callable[[dict[str, Any], Draw], dict[str, str]],
    engine: EngineSettings,
    work: Path,
    skip: Container[str] = (),
) -> Generator[tuple[dict[str, Any], Draw, list[Answer]]]:
    """Ask about every row and yield (row, what was drawn for it, its answers by sample), in the rows' order.

    Args:
        stage: what to ask.
        source: file of the rows, read twice; a row is in memory only while it is worked on.
        schema: kind of the rows.
        fields: fills the placeholders of a row's prompt.
        engine: how the model is run.
        work: folder of the ledger.
        skip: ids of rows that are passed over.
    """

    def rows(first: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
        places = enumerate(read_rows(source, list(schema.model_fields), first), first)
        return ((place, row) for place, row in places if row["id"] not in skip)

    stage = stage.pinned(engine)
    settings = stage.settings() | engine.decides() | {"kind": "answers"}
    settings["model"] = identity(stage.model, stage.revision)
    if stage.drawer.reference:
        # It draws by line number, so that answers hold for these rows in this order alone.
        settings["rows"] = digest_of_ids(source)
    with Ledger(work, settings, decided_by=RENDERING) as ledger:
        # Counted by id: a ledger may also hold answers about rows that are no longer there.
        missing, held, first = 0, 0, 0
        # Draws are kept, each once: rows share sets of examples, and a draw costs as much as reading its row.
        known: dict[Draw, Draw] = {}
        drawn: list[Draw] = []
        for place, row in rows():
            draw = stage.drawer.draw(row["id"], stage.first_index + place)
            drawn.append(known.setdefault(draw, draw))
            mark = mark_of(str(draw.examples), *(text for item in fields(row, draw).items() for text in item))
            has = sum(ledger.holds(f"{row['id']}/{sample}", mark) for sample in stage.samples)
            if has < len(stage.samples):
                missing, first = missing + len(stage.samples) - has, first if missing else place
            held += has
        if missing:
            backend = open_backend(stage.model, engine)
            # A server answers each prompt by itself; batches made here must see finished rows, to be the same batches.
            asked = (
                rows()
                if engine.backend == "transformers"
                else ((place, row) for place, row in rows(first) if not _has_all(stage, row["id"], ledger))
            )
            try:
                requests = _requests(stage, asked, fields)
                _record(stage.name, backend, requests, stage.sampling, ledger, held, missing)
            finally:
                backend.close()
        for (place, row), draw in zip(rows(), drawn, strict=True):
            answers = []
            for sample in stage.samples:
                record = ledger.get(f"{row['id']}/{sample}")
                seed = stage.drawer.sampling_seed(row["id"], stage.first_index + place, sample)
                columns = stage.sampled(draw, seed, record)
                answers.append(
                    Answer(sample, record["text"], record["finish_reason"], columns, record["reason"], record["detail"])
                )
            yield row, draw, answers


def digest_of_ids(source: Path) -> str:
    """Hash which rows a file holds, and in which order."""
    found = hashlib.sha256()
    for row in read_rows(source, ["id"]):
        found.update(row["id"].encode() + b"\n")
    return found.hexdigest()


def _has_all(stage: Stage, row_id: str, done: Container[str]) -> bool:
    return all(f"{row_id}/{sample}" in done for sample in stage.samples)


def _requests(
    stage: Stage,
    rows: Iterable[tuple[int, dict[str, Any]]],
    fields: Callable[[dict[str, Any], Draw], dict[str, str]],
) -> Iterator[Request]:
    for index, row in rows:
        place = stage.first_index + index
        draw = stage.drawer.draw(row["id"], place)
        for sample in stage.samples:
            yield Request(
                f"{row['id']}/{sample}",
                stage.drawer.sampling_seed(row["id"], place, sample),
                lambda row=row, draw=draw: stage.template.render(stage.mode, draw.examples, **fields(row, draw)),
                draw.examples,
            )


def _record(
    name: str,
    backend: Backend,
    requests: Iterable[Request],
    sampling: Sampling,
    ledger: Ledger,
    held: int,
    missing: int,
) -> None:
    """Bring the ledger to completion; of the answers asked for it holds so many, and so many are missing."""
    if held:
        log.info("resuming: the ledger holds %d answers; %d are missing", held, missing)
    begun, tokens_in, tokens_out = time.perf_counter(), 0, 0
    finished = backend.complete(requests, sampling, ledger)
    for number, completion in enumerate(progress(finished, missing, "answers", name, backend.doing), start=1):
        ledger.append(completion.id, record_of(completion))
        if number % SYNC_EVERY == 0:
            ledger.sync()
        tokens_in += completion.tokens_in
        tokens_out += completion.tokens_out
    ledger.sync()
    seconds = time.perf_counter() - begun
    log.info(
        "%s: %d tokens in, %d out in %.1f s: %.0f tokens/s", name, tokens_in, tokens_out, seconds, tokens_out / seconds
    )


def record_of(completion: Completion) -> dict[str, Any]:
    """Return a completion as the ledger keeps it."""
    record = asdict(completion)
    del record["id"]
    if not record["reasoning"]:
        del record["reasoning"]
    return record


def scored(
    name: str,
    rows: Callable[[], Iterable[dict[str, Any]]],
    prompt: Callable[[dict[str, Any]], str],
    candidates: tuple[str, ...],
    model: ModelSettings,
    engine: EngineSettings,
    work: Path,
    settings: dict[str, Any],
) -> Iterator[tuple[dict[str, Any], Scores]]:
    """Score candidate continuations of every row's prompt and yield (row, scores) in the rows' order.

    `settings` is everything the scores depend on besides model, prompts and candidates.
    """
    settings = settings | engine.decides() | {"kind": "scores", "candidates": list(candidates)}
    settings["model"] = identity(model, model_revision(model, engine))
    with Ledger(work, settings) as ledger:
        missing = sum(not ledger.holds(row["id"], mark_of(prompt(row))) for row in rows())
        if missing:
            backend = open_backend(model, engine)
            try:
                requests = (Request(row["id"], 0, lambda row=row: prompt(row)) for row in rows())
                finished = backend.score(requests, candidates, ledger)
                for scores in progress(finished, missing, "rows", name, backend.doing):
                    ledger.append(scores.id, asdict(scores))
                ledger.sync()
            finally:
                backend.close()
        for row in rows():
            record = ledger.get(row["id"])
            record["logprobs"] = tuple(record["logprobs"])
            yield row, Scores(**record)


def make_stage(
    name: str,
    mode: Mode,
    prompting: "Prompting",
    settings: "Sampled",
    run_seed: int,
    *,
    samples: range = range(1),
    categories: Mapping[str, float] | None = None,
    difficulties: Mapping[str, float] | None = None,
) -> Stage:
    """Put a generating stage together from its settings.

    The rows of the earlier shards count towards the absolute line number (mode `reference`).
    """
    reference = prompting.reference
    template = load_template(prompting.prompts, prompting.examples)
    return Stage(
        name=name,
        mode=mode,
        template=template,
        drawer=Drawer(
            stage=name,
            run_seed=run_seed,
            reference=reference,
            examples=len(template.examples),
            few_shots=settings.few_shots,
            example_sets=settings.example_sets,
            categories=categories,
            difficulties=difficulties,
        ),
        sampling=Sampling(
            settings.temperature, settings.top_p, settings.max_tokens, tuple(template.stop(mode, reference=reference))
        ),
        model=prompting.given,
        samples=samples,
        first_index=count_rows(prompting.earlier) if reference else 0,
    )


@contextmanager
def completed(
    name: str,
    requests: Callable[[], Iterable[Request]],
    sampling: Sampling,
    model: ModelSettings,
    engine: EngineSettings,
    work: Path,
    settings: dict[str, Any],
) -> Iterator[Callable[[str], Completion]]:
    """Answer requests of any kind and give a look-up of the finished answers by request id.

    `settings` is everything the answers depend on besides model, requests and sampling.
    """
    settings = settings | engine.decides() | {"kind": "completions", "sampling": asdict(sampling)}
    settings["model"] = identity(model, model_revision(model, engine))
    with Ledger(work, settings) as ledger:
        has = [ledger.holds(item.id, mark_of(str(item.seed), item.prompt)) for item in requests()]
        if missing := has.count(False):
            backend = open_backend(model, engine)
            try:
                _record(name, backend, requests(), sampling, ledger, len(has) - missing, missing)
            finally:
                backend.close()
        yield lambda request_id: Completion(id=request_id, **ledger.get(request_id))


def identity(model: ModelSettings, revision: str) -> str:
    """Name a model in a ledger: by its content where it lies here, since its path changes when a run moves."""
    return revision if models.is_local(model.name) else f"{model.name}@{revision}"


def model_revision(model: ModelSettings, engine: EngineSettings) -> str:
    """Return what pins a model: the fingerprint of one that runs here, the named revision of one that a server has.

    Which commit a server runs is not known here; what lies in this machine's cache says nothing about it.
    """
    served = engine.backend not in LOADING and not models.is_local(model.name)
    if served:
        return model.revision
    found = models.fingerprint(model.name, model.revision)
    if found == model.revision and not models.COMMIT.fullmatch(found):
        # Fetched before the ledger is opened: loading the model would make its commit known in the middle of a run.
        with contextlib.suppress(Exception):
            from huggingface_hub import hf_hub_download

            hf_hub_download(model.name, "config.json", revision=model.revision)
        found = models.fingerprint(model.name, model.revision)
    return found
