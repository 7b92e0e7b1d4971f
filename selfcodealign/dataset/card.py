"""Write a dataset's card from what is in it: rows, provenance, licences, and the funnel that led to it."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from selfcodealign.dataset.funnels import Funnel
from selfcodealign.pipeline import STAGES

CONFIGURATIONS = {
    "sft": "instruction and response for supervised fine-tuning, as plain columns and as `messages`",
    "dpo": "a passing and a failing response to one instruction (`prompt`, `chosen`, `rejected`)",
    "kto": "single responses with a label, true if they passed their tests (`prompt`, `completion`, `label`)",
    "rl": "instructions with tests and the pass rate of the sampled responses",
}

COLUMNS = {
    "id": "content hash of the row",
    "instruction": "the task",
    "response": "the answer: explanation and fenced Python",
    "messages": "the same two texts as a chat",
    "tests": "tests that the model wrote for its own response and that the sandbox ran; not part of the response",
    "response_id … function_id": "the chain of ids from this row back to its source function",
    "category, difficulty, concepts": "what the instruction was asked to be about",
    "model, revision": "the model that wrote instruction, response and tests",
    "verdict, passed": "outcome of running the tests",
    "pass_rate": "share of the instruction's responses that passed their own tests: low means difficult",
    "mutation_score": "share of mutated responses that the tests reject, where measured",
    "repo, path, licence": "source of the seed function, and its licence",
}


@dataclass
class Facts:
    """What a card tells, gathered while the dataset is written."""

    name: str
    rows: dict[str, int] = field(default_factory=dict)
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)
    models: Counter[tuple[str, str]] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    difficulties: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    repositories: set[str] = field(default_factory=set)
    pass_rates: list[float] = field(default_factory=list)
    words: list[tuple[int, int]] = field(default_factory=list)

    def see(self, row: Mapping[str, Any]) -> None:
        """Count one row of the training set."""
        self.models[row["model"], row["revision"]] += 1
        self.licences[row["licence"] or "unknown"] += 1
        self.categories[row["category"] or "none"] += 1
        self.difficulties[row["difficulty"] or "none"] += 1
        self.verdicts[row["verdict"]] += 1
        self.repositories.add(row["repo"])
        self.pass_rates.append(row["pass_rate"])
        self.words.append((len(row["instruction"].split()), len(row["response"].split())))


@dataclass(frozen=True)
class Dropped:
    """One example of what a rule dropped."""

    stage: str
    reason: str
    detail: str
    text: str


def render(
    facts: Facts,
    funnels: Iterable[Funnel],
    examples: Iterable[Dropped],
    recipe: Mapping[str, str],
    *,
    version: str,
) -> str:
    """Write the card: YAML front matter that `datasets` reads, then Markdown that people read."""
    funnels = list(funnels)
    parts = [
        _front_matter(facts),
        f"# {facts.name}",
        _summary(facts, funnels),
        "## Configurations\n\n" + _configurations(facts),
        "## Columns\n\n" + _table(("column", "meaning"), _columns(facts, recipe).items()),
        "## What is in it\n\n" + _contents(facts),
        "## How it was made\n\n" + _recipe(facts, recipe),
        "## From source function to row\n\n" + _funnel(funnels),
        "## What the rules dropped\n\n" + _dropped(examples),
        "## Licences\n\n" + _licences(facts),
        "## One row of each configuration\n\n" + _samples(facts),
        "## How to make it again\n\n" + _again(facts, version),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _columns(facts: Facts, recipe: Mapping[str, str]) -> dict[str, str]:
    return COLUMNS | _in_rounds(recipe) | _by_matrix(facts, recipe)


def _in_rounds(recipe: Mapping[str, str]) -> dict[str, str]:
    """Say what columns mean where tasks were answered until enough responses passed."""
    if "write_responses.enough" not in recipe:
        return {}
    return {
        "pass_rate": (
            "estimate without bias of the share of the instruction's responses that pass their own tests, from the few "
            "that it took until enough passed: right on average, rough for one instruction"
        )
    }


def _by_matrix(facts: Facts, recipe: Mapping[str, str]) -> dict[str, str]:
    """Say what columns mean where responses were weighed by the assertions of all."""
    if recipe.get(f"datasets.{facts.name}.selection") != "matrix":
        return {}
    return {
        "tests": (
            "assertions pooled from all responses to the instruction: those that the best of them hold and that "
            "reject wrong responses or mutants; not part of the response"
        ),
        "verdict, passed": "outcome of running the response's own tests; whether it holds all pooled ones",
        "pass_rate": "share of the instruction's responses that hold all pooled tests: low means difficult",
    }


def _front_matter(facts: Facts) -> str:
    """Name the files of each configuration; the first is the default one."""
    lines = ["---", f"pretty_name: {json.dumps(facts.name)}", "language:", "- en", "- code", "license: other"]
    lines += ["license_name: mixed", "tags:", "- code", "- instruction-tuning", "- self-alignment", "- synthetic"]
    lines += ["size_categories:", f"- {_size(facts.rows['sft'])}", "configs:"]
    for number, name in enumerate(name for name in CONFIGURATIONS if facts.rows.get(name)):
        lines += [f"- config_name: {name}", *(["  default: true"] if number == 0 else []), "  data_files:"]
        lines += ["  - split: train", f"    path: {name}/train.parquet"]
    return "\n".join([*lines, "---"])


def _size(rows: int) -> str:
    """Return the Hub's name for a size."""
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if rows < limit:
            return name
    return "1M<n<10M"


def _summary(facts: Facts, funnels: list[Funnel]) -> str:
    writers = " and ".join(f"`{model}`" for model, _ in sorted(facts.models))
    first = funnels[0] if funnels else None
    start = f" It began with {first.entered:,} {_unit(first)}." if first else ""
    passed = facts.verdicts["pass"]
    total = facts.rows["sft"]
    share = "Every response" if passed == total else f"{passed:,} of the responses"
    return (
        f"{total:,} programming tasks with answers that {writers} wrote by itself: it read concepts off functions, "
        f"made tasks of them, answered each several times, and wrote tests for its own answers. "
        f"{share} here passed the tests that came with it, in a sandbox.{start}"
    )


def _unit(funnel: Funnel) -> str:
    return {"extract_functions": "source files", "sample_snippets": "source files"}.get(
        funnel.stage, f"rows entering `{funnel.stage}`"
    )


def _configurations(facts: Facts) -> str:
    rows = (
        (f"`{name}`", f"{facts.rows[name]:,}", CONFIGURATIONS[name]) for name in CONFIGURATIONS if facts.rows.get(name)
    )
    return _table(("name", "rows", "what a row is"), rows) + (
        "\n\n```python\nfrom datasets import load_dataset\n\n"
        'rows = load_dataset("path/to/this/folder", "sft", split="train")\n```'
    )


def _contents(facts: Facts) -> str:
    instruction = sorted(words for words, _ in facts.words)
    response = sorted(words for _, words in facts.words)
    rates = sorted(facts.pass_rates)
    lines = [
        ("category", _shares(facts.categories)),
        ("difficulty asked for", _shares(facts.difficulties)),
        ("verdict", _shares(facts.verdicts)),
        ("words in an instruction (10 %, median, 90 %)", _spread(instruction, "d")),
        ("words in a response (10 %, median, 90 %)", _spread(response, "d")),
        ("pass rate of the instruction (10 %, median, 90 %)", _spread(rates, ".2f")),
    ]
    return _table(("measure", "value"), lines)


def _shares(counts: Counter[str]) -> str:
    total = counts.total()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} {count / total:.0%}" for name, count in ordered)


def _spread(values: list[Any], form: str) -> str:
    last = len(values) - 1
    return ", ".join(format(values[round(last * share)], form) for share in (0.1, 0.5, 0.9))


def _recipe(facts: Facts, recipe: Mapping[str, str]) -> str:
    lines = [("writer", f"`{model}`, revision `{revision}`") for model, revision in sorted(facts.models)]
    lines += [(f"`{key}`", f"`{value}`") for key, value in recipe.items()]
    return _table(("setting", "value"), lines)


def _funnel(funnels: list[Funnel]) -> str:
    lines = []
    for funnel in funnels:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(funnel.dropped.items(), key=_by_count))
        made = f"{funnel.kept:,}" + (f" → {funnel.produced:,}" if funnel.produced != funnel.kept else "")
        done = STAGES[funnel.stage].done if funnel.stage in STAGES else ""
        lines.append((f"`{funnel.stage}`", f"{funnel.entered:,}", made, reasons or "–", done))
    note = (
        "Every row that enters a stage is either kept or dropped for one reason, and what a stage produces enters the "
        "next; an arrow shows where one row becomes several."
    )
    return note + "\n\n" + _table(("stage", "in", "kept", "dropped", "what was done"), lines)


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _dropped(examples: Iterable[Dropped]) -> str:
    lines = []
    for example in examples:
        head = f"**`{example.stage}`: {example.reason}**" + (f" ({_inline(example.detail)})" if example.detail else "")
        lines.append(f"{head}\n\n{_fenced(example.text, 'text')}")
    if not lines:
        return "Nothing was dropped in the stages that this card shows."
    return "One example for each reason, shortened.\n\n" + "\n\n".join(lines)


def _licences(facts: Facts) -> str:
    writers = ", ".join(f"`{model}`" for model, _ in sorted(facts.models))
    intro = (
        f"Rows inherit two things: the licence of the seed function they grew from, in the column `licence`, and the "
        f"terms of the model that wrote them ({writers}). Check both before you use the data. "
        f"The seeds come from {len(facts.repositories - {''}):,} repositories."
    )
    ordered = sorted(facts.licences.items(), key=_by_count)
    shown = [(name, f"{count:,}") for name, count in ordered[:20]]
    if len(ordered) > 20:
        shown.append((f"{len(ordered) - 20} others", f"{sum(count for _, count in ordered[20:]):,}"))
    return intro + "\n\n" + _table(("licence of the seed", "rows"), shown)


def _samples(facts: Facts) -> str:
    parts = []
    for name, row in facts.samples.items():
        parts.append(
            f"### {name}\n\n" + _fenced(json.dumps(row, indent=2, ensure_ascii=False, sort_keys=False), "json")
        )
    return "\n\n".join(parts)


def _again(facts: Facts, version: str) -> str:
    return (
        f"Made by selfcodealign {version}. Put the settings above into `config.yaml` and run\n\n"
        f"```bash\nsnakemake results/build_dataset/{facts.name}\n```\n\n"
        "Ids and random choices derive from the content of the rows and the run seed, so equal generations give equal "
        "bytes, whatever the order, the number of shards or of cores."
    )


def _table(head: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows += ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _inline(text: str) -> str:
    return "`" + text.replace("`", "'").replace("\n", " ")[:120] + "`"


def _fenced(text: str, tag: str) -> str:
    """Fence a text with more backticks than it contains in a row."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{tag}\n{text}\n{fence}"
