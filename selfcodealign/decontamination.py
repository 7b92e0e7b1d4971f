"""Find text that overlaps with a benchmark: exact passages and shared n-grams, each hit with its matching text.

Passages are what each benchmark says itself (`Benchmark.passages`), given by its name.

* Exact: lower case, white space collapsed; one Aho-Corasick automaton looks for all passages at once. Passages of
  fewer than `min_tokens` words are left out: `return x + y` proves nothing. Where a script has no spaces between words,
  as Chinese, a character counts as a word.
* n-gram: a text overlaps with a passage if it contains at least the share `overlap` of the passage's runs of `ngram`
  words, and at least three. Runs that many tasks of one benchmark share are its boilerplate and count for nothing, and
  neither do runs of mostly numbers.

`ReferenceIndex` looks for what the published filters look for, defects included: substrings of a few benchmarks.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selfcodealign import minhash
from selfcodealign.config.section import Mode
from selfcodealign.config.seeds import DecontaminateSeeds
from selfcodealign.evaluation.base import Passage
from selfcodealign.evaluation.benchmarks.ds1000 import ANSWER_PLACE
from selfcodealign.evaluation.data import kept_out, records, shared_by_many
from selfcodealign.rows_io import StageOutput
from selfcodealign.word_runs import apart, count_known, look_up, run_hash, table_of, word_runs

log = logging.getLogger(__name__)

SHOWN = 200
"""Characters of matching text in a report."""

# One run of ten words in common may be chance where a solution has but two.
_LEAST_RUNS = 3
# Words of a run that says where the search for exact passages is worth while.
_PROBE = 6
# Characters of passages up to which the automaton is a table: twice as fast, and 64 MB for 125,000 characters.
_DENSE = 200_000


@dataclass(frozen=True)
class Hit:
    """An overlap: with which passage, found how, how much of the passage (0-1), and the text that matches."""

    benchmark: str
    task: str
    kind: str
    how: Literal["substring", "ngram"]
    overlap: float
    text: str

    @property
    def reason(self) -> str:
        """Name the reason to drop a row with."""
        return f"in_{self.benchmark}"

    @property
    def detail(self) -> str:
        """Describe the overlap in one line: benchmark, task, kind, how much, the matching text."""
        much = "substring" if self.how == "substring" else f"{self.overlap:.0%} of its n-grams"
        return f"{self.benchmark}: {self.task} {self.kind}, {much}: {' '.join(self.text.split())[:SHOWN]}"


# ---- search ---------------------------------------------------------------------------------------------------------


def normalised(text: str) -> str:
    """Lower the case and collapse white space, so that indentation and line breaks hide nothing."""
    return " ".join(text.lower().split())


class Index:
    """Search texts for the passages of benchmarks.

    Args:
        sought: what to look for, by the name of its benchmark.
        ngram: words in a run.
        overlap: share of a passage's runs that makes an overlap; above 1 looks for exact passages only.
        min_tokens: fewest words of a passage that is looked for exactly.
    """

    def __init__(
        self, sought: Mapping[str, Sequence[Passage]], *, ngram: int = 10, overlap: float = 0.5, min_tokens: int = 8
    ) -> None:
        import ahocorasick_rs

        self.sought = sought
        self._passages = [(name, passage) for name, passages in sought.items() for passage in passages]
        self.ngram = ngram
        self.overlap = overlap
        by_text: dict[str, list[int]] = defaultdict(list)
        for number, (_, passage) in enumerate(self._passages):
            text = normalised(passage.text)
            if len(minhash.words(apart(text)).split()) >= min_tokens:
                by_text[text].append(number)
        self._texts = list(by_text)
        self._owners = list(by_text.values())
        self._automaton = ahocorasick_rs.AhoCorasick(self._texts) if self._texts else None
        self._index_grams()
        self._index_probes(min_tokens)

    def _index_grams(self) -> None:
        """Number the runs of all passages, without each benchmark's boilerplate.

        Run k belongs to the passages `_owners_of[_starts[k]:_starts[k + 1]]`.
        """
        runs = [np.unique(word_runs(passage.text, self.ngram)[1]) for _, passage in self._passages]
        lengths = [len(hashes) for hashes in runs]
        hashes = np.concatenate([*runs, np.empty(0, dtype=np.uint64)])
        owners = np.repeat(np.arange(len(runs)), lengths)
        kept = hashes != 0
        names = [name for name, _ in self._passages]
        owner = [(name, passage.task) for name, passage in self._passages]
        tasks = {task: number for number, task in enumerate(dict.fromkeys(owner))}
        task_of = np.array([tasks[task] for task in owner], dtype=np.int64)
        benchmark_of = np.array([names.index(name) for name in names], dtype=np.int64)
        for number in np.unique(benchmark_of):
            inside = benchmark_of[owners] == number
            found, users_of = hashes[inside], task_of[owners[inside]]
            order = np.lexsort((users_of, found))
            found, users_of = found[order], users_of[order]
            new = np.ones(len(found), dtype=bool)
            new[1:] = (found[1:] != found[:-1]) | (users_of[1:] != users_of[:-1])
            shared, users = np.unique(found[new], return_counts=True)
            common = shared[users > shared_by_many(len(np.unique(task_of[benchmark_of == number])))]
            kept &= ~(inside & np.isin(hashes, common))
        hashes, owners = hashes[kept], owners[kept]
        self._sizes = np.bincount(owners, minlength=len(runs)).tolist()
        order = np.argsort(hashes, kind="stable")
        unique, starts = np.unique(hashes[order], return_index=True)
        self._owners_of, self._starts = owners[order], np.append(starts, len(order))
        self._table, self._numbers = table_of(unique)

    def _index_probes(self, min_tokens: int) -> None:
        """Choose a run from the middle of each exact passage: a text without any of them contains no passage.

        The first and the last word are left out, as they may be part of a longer word of the text.
        """
        self._probe = min(min_tokens - 2, _PROBE)
        probes = set()
        for text in self._texts if self._probe > 0 else ():
            inner = minhash.words(apart(text)).split()[1:-1]
            start = (len(inner) - self._probe) // 2
            probes.add(run_hash(b" ".join(inner[start : start + self._probe])))
        self._probes, _ = table_of(np.array(sorted(probes - {0}), dtype=np.uint64))
        # Nothing to go by: passages of one or two words, or a hash that the table cannot hold.
        self._always_exact = self._probe < 1 or 0 in probes

    def _passages_with(self, run: int) -> list[int]:
        """Return the passages that a run of words occurs in."""
        return self._owners_of[self._starts[run] : self._starts[run + 1]].tolist()

    def __len__(self) -> int:
        """Count the passages."""
        return len(self._passages)

    def search(self, text: str) -> list[Hit]:
        """Return a text's overlaps, the strongest first: exact ones, longest first, then by share of n-grams."""
        joined = np.frombuffer(minhash.words(apart(text)), dtype=np.uint8)
        runs, probes = count_known(joined, self.ngram, self._table, max(1, self._probe), self._probes)
        hits = {}
        if probes or self._always_exact:
            hits.update(self._exact(text))
        if runs >= _LEAST_RUNS:
            for number, hit in self._by_grams(text):
                hits.setdefault(number, hit)
        return sorted(
            hits.values(),
            key=lambda hit: (hit.how != "substring", -hit.overlap, -len(hit.text), hit.benchmark, hit.task),
        )

    def _exact(self, text: str) -> Iterator[tuple[int, Hit]]:
        if self._automaton is None:
            return
        found = self._automaton.find_matches_as_indexes(normalised(text), overlapping=True)
        for place in sorted({match[0] for match in found}):
            for number in self._owners[place]:
                name, passage = self._passages[number]
                yield number, Hit(name, passage.task, passage.kind, "substring", 1.0, self._texts[place])

    def _by_grams(self, text: str) -> Iterator[tuple[int, Hit]]:
        joined, hashes, ends = word_runs(text, self.ngram)
        found = np.empty(len(hashes), dtype=np.int64)
        if not len(hashes) or not look_up(self._table, self._numbers, hashes, found):
            return
        places = np.flatnonzero(found >= 0)
        shared: Counter[int] = Counter()
        where: dict[int, list[int]] = defaultdict(list)
        for gram in dict.fromkeys(found[places].tolist()):
            for number in self._passages_with(gram):
                shared[number] += 1
        enough = {
            number: count / self._sizes[number]
            for number, count in shared.items()
            if count >= max(_LEAST_RUNS, self.overlap * self._sizes[number])
        }
        if not enough:
            return
        for place in places.tolist():
            for number in self._passages_with(found[place]):
                if number in enough:
                    where[number].append(place)
        for number, share in sorted(enough.items()):
            name, passage = self._passages[number]
            matching = _longest_run(joined, ends, where[number], self.ngram)
            yield number, Hit(name, passage.task, passage.kind, "ngram", share, matching)


def _longest_run(joined: bytes, ends: np.ndarray, places: list[int], ngram: int) -> str:
    """Return the longest stretch of words that consecutive matching runs cover."""
    best = start = places[0], places[0]
    for place in places:
        start = (start[0], place) if place <= start[1] + 1 else (place, place)
        best = max(best, start, key=lambda run: run[1] - run[0])
    words = joined[: int(ends[best[1]])].split()
    return b" ".join(words[-(best[1] - best[0] + ngram) :]).decode("utf-8", "replace")


# ---- the published filters ------------------------------------------------------------------------------------------

EXEMPT = frozenset({"return x + y", "return len(string)", "return n**2", "return .join(strings)"})
"""HumanEval solutions that the published filters mean to let pass. Python joined the adjacent literals of the fourth,
so `return ''.join(strings)` is not let pass."""


def _docstring(prompt: str) -> str | None:
    """Return a HumanEval prompt's docstring as the published code finds it: the second, where there are two."""
    for quotes in ('"""', "'''"):
        parts = prompt.split(quotes)
        if len(parts) in (3, 5):
            return parts[-2].strip()
    return None


def reference_passages(files: Mapping[str, Path | str], stage: Literal["seeds", "dataset"]) -> dict[str, list[Passage]]:
    """Return the strings of the published filters.

    For seeds: HumanEval's docstrings and solutions, prompts and code of sanitized MBPP's train split (ids from 601).
    For the dataset: HumanEval's, GSM8K's test questions, DS-1000's prompts and MBPP's ids 11 to 510.
    Benchmarks are told apart by their columns; the others are not looked at, as in the published code.
    """
    return {
        name.partition(":")[0]: [
            Passage(str(task.get("task_id", number)), kind, text)
            for number, task in enumerate(records(Path(path)))
            for kind, text in dict.fromkeys(_reference_texts(task, stage))
            if text
        ]
        for name, path in sorted(files.items())
    }


def _reference_texts(task: Mapping[str, Any], stage: str) -> Iterator[tuple[Literal["prompt", "solution"], str]]:
    label = task.get("task_id")
    if isinstance(label, str) and label.startswith("HumanEval/"):
        docstring = _docstring(task["prompt"])
        if docstring is not None:
            yield "prompt", docstring
        solution = task["canonical_solution"].strip()
        if solution not in EXEMPT:
            yield "solution", solution
    elif isinstance(label, int) and "code" in task:
        first, last = (601, 974) if stage == "seeds" else (11, 510)
        if first <= label <= last:
            yield "prompt", task.get("prompt") or task.get("text") or ""
            yield "solution", task["code"]
    elif stage == "dataset" and "reference_code" in task and "prompt" in task:
        yield "prompt", ANSWER_PLACE.split(task["prompt"])[0].strip()
    elif stage == "dataset" and {"question", "answer"} <= task.keys():
        yield "prompt", task["question"]


class ReferenceIndex:
    """Search texts for substrings as the published filters do: unnormalised, whatever their length.

    Args:
        sought: from `reference_passages`.
        lower: compare in lower case (the dataset's filter does, the seeds' does not).
    """

    def __init__(self, sought: Mapping[str, Sequence[Passage]], *, lower: bool) -> None:
        import ahocorasick_rs

        self.sought = sought
        self._passages = [(name, passage) for name, passages in sought.items() for passage in passages]
        self.lower = lower
        texts = [passage.text.lower() if lower else passage.text for _, passage in self._passages]
        kind = ahocorasick_rs.Implementation.DFA if sum(map(len, texts)) <= _DENSE else None
        self._automaton = ahocorasick_rs.AhoCorasick(texts, implementation=kind) if texts else None

    def __len__(self) -> int:
        """Count the passages."""
        return len(self._passages)

    def search(self, text: str) -> list[Hit]:
        """Return the passages that a text contains."""
        if self._automaton is None:
            return []
        found = self._automaton.find_matches_as_indexes(text.lower() if self.lower else text, overlapping=True)
        numbers = sorted({match[0] for match in found})
        return [
            Hit(name, passage.task, passage.kind, "substring", 1.0, passage.text)
            for name, passage in (self._passages[number] for number in numbers)
        ]


# ---- report ---------------------------------------------------------------------------------------------------------


class Report:
    """Collect the overlaps of many rows, per benchmark.

    Args:
        sought: what was looked for; a benchmark without hits is reported with 0.
        examples: hits per benchmark shown with their matching text.
    """

    def __init__(self, sought: Mapping[str, Sequence[Passage]], examples: int = 20) -> None:
        self._sought = {name: passages for name, passages in sought.items() if passages}
        self._rows: Counter[str] = Counter()
        self._hit_tasks: dict[str, set[str]] = defaultdict(set)
        self._hows: dict[str, Counter[str]] = defaultdict(Counter)
        self._examples: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._limit = examples
        self.searched = 0

    def add(self, row_id: str, hits: Sequence[Hit]) -> None:
        """Count one row and its hits, strongest first."""
        self.searched += 1
        seen = set()
        for hit in hits:
            self._hit_tasks[hit.benchmark].add(hit.task)
            if hit.benchmark in seen:
                continue
            seen.add(hit.benchmark)
            self._rows[hit.benchmark] += 1
            self._hows[hit.benchmark][hit.how] += 1
            if len(self._examples[hit.benchmark]) < self._limit:
                self._examples[hit.benchmark].append(
                    {
                        "row": row_id,
                        "task": hit.task,
                        "kind": hit.kind,
                        "how": hit.how,
                        "overlap": round(hit.overlap, 4),
                        "text": hit.text[:SHOWN],
                    }
                )

    def summary(self) -> dict[str, Any]:
        """Return rows searched and, per benchmark, passages sought, rows and tasks hit, how, and examples."""
        return {
            "rows_searched": self.searched,
            "benchmarks": {
                name: {
                    "passages": len(passages),
                    "tasks": len({passage.task for passage in passages}),
                    "rows_hit": self._rows[name],
                    "tasks_hit": len(self._hit_tasks[name]),
                    "how": dict(sorted(self._hows[name].items())),
                    "examples": self._examples[name],
                }
                for name, passages in sorted(self._sought.items())
            },
        }


def index_for(
    files: Mapping[str, Path | str],
    *,
    mode: Mode,
    stage: Literal["seeds", "dataset"],
    settings: DecontaminateSeeds | None = None,
) -> "Index | ReferenceIndex":
    """Return the search that a mode and stage call for, over benchmark files given as name → file (see `kept_out`)."""
    if mode == "reference":
        return ReferenceIndex(reference_passages(files, stage), lower=stage == "dataset")
    sought = {name.partition(":")[0]: kept_out(name, Path(path)) for name, path in sorted(files.items())}
    return Index(sought, **(settings or DecontaminateSeeds()).model_dump())


def set_aside(
    rows: Iterable[dict[str, Any]],
    text_of: Callable[[dict[str, Any]], str],
    index: "Index | ReferenceIndex",
    output: StageOutput,
) -> Report:
    """Keep the rows whose text overlaps with no passage, drop the others with what they overlap with.

    Returns:
        The overlaps of all rows.
    """
    if not len(index):
        log.warning("no benchmarks are given, so nothing is compared")
    report = Report(index.sought)
    for row in rows:
        hits = index.search(text_of(row))
        report.add(row["id"], hits)
        if hits:
            output.drop(row, hits[0].reason, hits[0].detail)
        else:
            output.keep(row)
    return report
