"""Put sections together into one page that needs no network and no script."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Figure:
    """A chart with the sentence below it."""

    svg: str
    caption: str

    @property
    def inline(self) -> str:
        """The chart as part of the page."""
        from selfcodealign.report import charts  # Altair, which the tools that only write durations do without.

        return charts.inline(self.svg, self.caption)


@dataclass
class Section:
    """A part of the page.

    Args:
        id: anchor in the page, and name of its template.
        title: its heading.
        missing: the sentence that stands in its place when the run has nothing to show.
        values: what its template shows.
        figures: charts of the section by name.
        files: charts that are files of their own as well, by the keyword of `build_report` that names the file.
    """

    id: str
    title: str
    missing: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Figure] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Notice:
    """A sentence at the head of the page that a reader must not miss."""

    kind: str
    """"note" or "warning"."""
    text: str


@dataclass(frozen=True)
class Headline:
    """One number at the head of the page, and in the terminal when the run ends."""

    label: str
    value: str
    note: str = ""


def count(value: int) -> str:
    """Write a count with thousands apart."""
    return f"{value:,}"


def percent(value: float, digits: int = 1) -> str:
    """Write a share as percent."""
    return f"{100 * value:.{digits}f} %"


def duration(seconds: float) -> str:
    """Write seconds the way a person says them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def plural(number: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count(number)} {noun}" if number == 1 else f"{count(number)} {noun}s"


def render(
    *,
    title: str,
    subtitle: str,
    notices: Sequence[Notice],
    headlines: Sequence[Headline],
    sections: Iterable[Section],
    footer: str,
) -> str:
    """Render the page; every text of a row is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"count": count, "percent": percent, "duration": duration}
    return environment.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        notices=notices,
        headlines=headlines,
        sections=list(sections),
        footer=footer,
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
    )
