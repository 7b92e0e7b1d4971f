"""Follow any row, kept or dropped, back to the function it came from.

Rows lie in `<results>/<rule>/…/*.parquet`, set-aside ones beside them in `*.dropped.parquet` with a reason. An id names
the same thing in every stage that it passes, and the `*_id` columns name what it was made from.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfcodealign.errors import UserError
from selfcodealign.ids import KINDS
from selfcodealign.pipeline import position

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ID = re.compile(rf"({'|'.join(KINDS)})-[0-9a-f]{{8,20}}")
FULL_LENGTH = 20
"""Hexadecimal digits of a whole id; at least 8 of them may stand for it where that is unambiguous."""
CHILD_COLUMN = {
    "fn": "function_id",
    "snip": "function_id",
    "seed": "seed_id",
    "con": "concept_id",
    "ins": "instruction_id",
    "res": "response_id",
}
"""Column in which what was made from a row of a kind names it."""
ORDER = {kind: number for number, kind in enumerate(KINDS)}
SAMPLING = ("model", "revision", "template", "examples", "temperature", "top_p", "max_tokens", "seed")

FACTS: dict[str, tuple[str, ...]] = {
    "fn": ("licence",),
    "snip": ("licence",),
    "seed": ("imports", "judge_score"),
    "con": ("concepts",),
    "ins": ("category", "difficulty", "language"),
    "res": (
        *("sample", "finish_reason", "tokens_in", "tokens_out"),
        *("verdict", "reason", "cpu_s", "wall_s", "memory_mb", "isolation", "mutation_score"),
    ),
    "row": ("category", "difficulty", "verdict", "pass_rate", "licence"),
}
"""Columns printed on one line each, by kind of row."""

TEXTS: dict[str, tuple[str, ...]] = {
    "fn": ("content",),
    "snip": ("content",),
    "seed": ("content",),
    "con": (),
    "ins": ("instruction",),
    "res": ("response", "tests", "raw", "stdout", "stderr"),
    "row": ("instruction",),
}
"""Columns printed as blocks, by kind of row; `raw` only while it has not been split into response and tests."""


@dataclass(frozen=True)
class Sighting:
    """One row of one file."""

    path: Path
    stage: str
    place: str
    row: Mapping[str, Any]

    @property
    def dropped(self) -> bool:
        """Whether the stage set the row aside."""
        return self.path.name.endswith(".dropped.parquet")

    @property
    def fate(self) -> str:
        """Say in a few words what the stage did with the row."""
        label = f"{self.stage} {self.place}".strip()
        if not self.dropped:
            return label
        detail = f" ({self.row['detail']})" if self.row.get("detail") else ""
        return f"{label}: DROPPED, {self.row.get('reason') or 'no reason recorded'}{detail}"


@dataclass(frozen=True)
class Link:
    """Everything known about one id."""

    id: str
    sightings: tuple[Sighting, ...]

    @property
    def kind(self) -> str:
        """The part of the id before the dash, a key of `ids.KINDS`."""
        return _kind(self.id)

    @property
    def row(self) -> dict[str, Any]:
        """Columns of all sightings together; what a later stage filled in wins over an empty value before it."""
        merged: dict[str, Any] = {}
        for sighting in self.sightings:
            merged |= {name: value for name, value in sighting.row.items() if value is not None}
        return merged


def whole_id(results: Path, text: str) -> str:
    """Complete an id of which at least the first 8 hexadecimal digits are given.

    Raises:
        UserError: the text has no known form, or no row or several rows have such an id.
    """
    if not ID.fullmatch(text):
        raise UserError(
            f"{text!r} is not a row id: an id is one of {', '.join(KINDS)}, a dash and {FULL_LENGTH} hexadecimal "
            "digits; ids stand in the column `id` of the parquet files and in the report"
        )
    if len(text.partition("-")[2]) == FULL_LENGTH:
        return text
    files = row_files(results)
    found = sorted({name for path in files for name in _ids(path) if name.startswith(text)})
    if not found:
        raise _absent(text, files, results)
    if len(found) > 1:
        raise UserError(
            f"{len(found)} rows have an id that begins with {text}: {', '.join(found[:5])}; give more digits"
        )
    return found[0]


def _ids(path: Path) -> Iterator[str]:
    """Yield the ids of a file's rows; nothing if it has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        if "id" in file.schema_arrow.names:
            for group in range(file.num_row_groups):
                yield from file.read_row_group(group, columns=["id"])["id"].to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} cannot be read as parquet ({error}); delete it and make it again")


def _absent(row_id: str, files: list[Path], results: Path) -> UserError:
    return UserError(
        f"no row {row_id} in the {len(files)} parquet files under {results}; "
        "check the id, or name another folder with --results"
    )


def ancestry(results: Path, row_id: str) -> list[Link]:
    """Find a row and everything it was made from, the oldest first.

    Raises:
        UserError: no file under `results` holds the row.
    """
    files = row_files(results)
    found: dict[str, list[Sighting]] = {}
    wanted = {row_id}
    while wanted:
        for sighting in sightings(files, results, "id", wanted):
            found.setdefault(sighting.row["id"], []).append(sighting)
        if row_id not in found:
            raise _absent(row_id, files, results)
        named = {
            sighting.row[column]
            for seen in found.values()
            for sighting in seen
            for column in CHILD_COLUMN.values()
            if sighting.row.get(column)
        }
        # An ancestor that lies in no file is looked for once.
        wanted = named - found.keys()
        for name in wanted:
            found[name] = []
    links = [Link(name, tuple(sorted(seen, key=_order))) for name, seen in found.items()]
    return sorted(links, key=lambda link: (ORDER[link.kind], link.id))


def _order(sighting: Sighting) -> tuple[Any, ...]:
    return (*position(sighting.stage), str(sighting.path))


def offspring(results: Path, row_id: str) -> list[Link]:
    """Find every row made from a row, directly or later, in the order of the data path."""
    files = row_files(results)
    found: dict[str, dict[tuple[Path, str], Sighting]] = {}
    wanted = {row_id}
    while wanted:
        new: set[str] = set()
        for column in {CHILD_COLUMN[kind] for kind in map(_kind, wanted) if kind in CHILD_COLUMN}:
            for sighting in sightings(files, results, column, wanted):
                name = sighting.row["id"]
                # A verdict names its own response only by id, so nothing is its own offspring.
                if name not in found and name != row_id:
                    new.add(name)
                found.setdefault(name, {})[sighting.path, name] = sighting
        wanted = new
    found.pop(row_id, None)
    links = [Link(name, tuple(sorted(seen.values(), key=_order))) for name, seen in found.items()]
    return sorted(links, key=lambda link: (ORDER[link.kind], link.id))


def _kind(row_id: str) -> str:
    return row_id.partition("-")[0]


def row_files(results: Path) -> list[Path]:
    """List the parquet files of a run.

    Raises:
        UserError: there are none.
    """
    files = sorted(results.rglob("*.parquet"))
    if not files:
        raise UserError(f"no parquet files under {results}; run the pipeline first, or name its folder with --results")
    return files


def sightings(files: Iterable[Path], results: Path, column: str, wanted: set[str]) -> Iterator[Sighting]:
    """Yield every row whose `column` is one of `wanted`.

    Row groups whose range of ids cannot hold a wanted one are skipped by their footers, so that files of other kinds of
    rows cost nothing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    chosen = pc.field(column).isin(sorted(wanted))
    for path in files:
        try:
            file = pq.ParquetFile(path)
            names = file.schema_arrow.names
            if column not in names or "id" not in names:
                continue
            for group in _groups(file, names.index(column), wanted):
                if file.read_row_group(group, columns=[column]).filter(chosen).num_rows == 0:
                    continue
                stage, place = _place(path, results)
                for row in file.read_row_group(group).filter(chosen).to_pylist():
                    yield Sighting(path, stage, place, row)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path, error) from error


def _groups(file: "pq.ParquetFile", column: int, wanted: set[str]) -> Iterator[int]:
    """Yield the row groups that may hold a wanted value, going by the footer's least and greatest value."""
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max:
            yield group
            continue
        least, greatest = statistics.min, statistics.max
        if any(least <= value <= greatest for value in wanted):
            yield group


def _place(path: Path, results: Path) -> tuple[str, str]:
    """Split results/<rule>/<wildcards>.parquet into rule and wildcards."""
    parts = path.relative_to(results).with_suffix("").parts
    last = parts[-1].removesuffix(".dropped")
    return parts[0], "/".join((*parts[1:-1], last))


# ---- print ----


class Paint:
    """Emphasis for a terminal, nothing for a file."""

    def __init__(self, colour: bool) -> None:
        self.colour = colour

    def _wrap(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def bold(self, text: str) -> str:
        """Make text stand out."""
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        """Make text step back."""
        return self._wrap("2", text)

    def red(self, text: str) -> str:
        """Mark something that went wrong."""
        return self._wrap("31", text)


def render(
    links: list[Link],
    made: list[Link],
    row_id: str,
    *,
    width: int = 100,
    max_lines: int | None = 30,
    colour: bool = False,
) -> str:
    """Lay an ancestry, and what was made from the row, out for a terminal of `width` columns.

    Texts and lists longer than `max_lines` lines are cut.
    """
    paint = Paint(colour)
    blocks = [_link(link, link.id == row_id, paint, width, max_lines) for link in links]
    text = paint.dim("\n  ↓\n").join(blocks)
    if made:
        text += f"\n\n{paint.bold('what came of it')}\n"
        cut = len(made) - max_lines if max_lines is not None and len(made) > max_lines + 1 else 0
        for link in made[: len(made) - cut]:
            last = link.sightings[-1]
            verdict = f"{link.row['verdict']}; " if link.kind == "res" and "verdict" in link.row else ""
            fate = paint.red(last.fate) if last.dropped else last.fate
            text += f"  {KINDS[link.kind]:<13} {link.id:<26} {verdict}{fate}\n"
        if cut:
            text += f"  {paint.dim(f'┆ {cut} more; --full shows them')}\n"
    return text.rstrip("\n") + "\n"


def _link(link: Link, asked: bool, paint: Paint, width: int, max_lines: int | None) -> str:
    name = KINDS[link.kind]
    lines = [paint.bold(f"{name}  {link.id}") + (paint.dim("  ← the row asked for") if asked else "")]
    if not link.sightings:
        return "\n".join([*lines, *_fact("stages", "in no file of this run any more", paint, width)])
    row = link.row
    if link.kind in ("fn", "snip"):
        source = "/".join(part for part in (row.get("repo"), row.get("path")) if part)
        lines += _fact("from", f"{source or 'unknown file'}, line {row.get('line', '?')}", paint, width)
    for number, sighting in enumerate(link.sightings):
        fate = paint.red(sighting.fate) if sighting.dropped else sighting.fate
        lines += _fact("stages" if number == 0 else "", fate, paint, width)
    lines += [
        line
        for fact in FACTS[link.kind]
        if row.get(fact) not in (None, "", [])
        for line in _shown(fact, row, paint, width)
    ]
    if "temperature" in row and link.kind != "row":
        settings = ", ".join(f"{key} {_plain(row[key])}" for key in SAMPLING if row.get(key) not in (None, ""))
        lines += _fact("sampled", settings, paint, width)
        lines += _fact("prompt", f"python -m selfcodealign prompt {link.id}", paint, width)
    for column in TEXTS[link.kind]:
        if row.get(column) and not (column == "raw" and row.get("response")):
            lines += _text(column, row[column], paint, width, max_lines)
    return "\n".join(lines)


def _shown(column: str, row: Mapping[str, Any], paint: Paint, width: int) -> list[str]:
    if column == "reason" and "verdict" not in row:
        return []  # The reason of a drop stands with its stage; this line is for the reason of a verdict.
    return _fact(column.replace("_", " "), _plain(row[column]), paint, width)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _fact(name: str, value: str, paint: Paint, width: int) -> list[str]:
    """Lay one fact out as a name and a value, wrapped under itself."""
    wrapped = textwrap.wrap(value, max(20, width - 18), break_long_words=False, break_on_hyphens=False) or [""]
    names = [name] + [""] * (len(wrapped) - 1)
    return [f"  {paint.dim(f'{label:<16}')}{line}".rstrip() for label, line in zip(names, wrapped, strict=True)]


def _text(name: str, text: str, paint: Paint, width: int, max_lines: int | None) -> list[str]:
    """Lay a text out as a block with a bar at its left; prose is wrapped, code is left as it is."""
    lines = text.rstrip("\n").expandtabs(4).splitlines()
    if name == "instruction":
        lines = [part for line in lines for part in (textwrap.wrap(line, max(20, width - 4)) or [""])]
    cut = len(lines) - max_lines if max_lines is not None and len(lines) > max_lines + 1 else 0
    shown = lines[: len(lines) - cut]
    more = [f"  {paint.dim(f'┆ {cut} more lines; --full shows them')}"] if cut else []
    bar = paint.dim("│")
    return [f"  {paint.dim(name)}", *(f"  {bar} {_safe(line)}".rstrip() for line in shown), *more]


def _safe(line: str) -> str:
    """Show control characters, so that a row's text cannot command the terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
