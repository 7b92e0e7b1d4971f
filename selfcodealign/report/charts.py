"""Charts as SVG, drawn with Altair and rendered without a browser.

Charts are narrow (a phone's width) so that their text stays readable wherever they are put side by side. Each colour is
a token: in a file of its own a chart has the light colours; inside the page every token becomes a CSS variable, so that
the chart follows the reader's light or dark theme.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import vl_convert

WIDTH = 300
"""Width of a plot's area in pixels; with its axis a chart fits a window of 400."""

COLOURS = {
    "ink": "#1f2329",
    "muted": "#5b6571",
    "line": "#d9dee4",
    "paper": "#fefefe",
    "c1": "#2f6fc2",
    "c2": "#d9772b",
    "c3": "#2c8c62",
    "c4": "#8a5cc9",
    "c5": "#c2434a",
    "c6": "#87919d",
    "c7": "#17898f",
    "c8": "#b08a1e",
}
"""Token → colour on white. Each colour is used by one token only, because the page finds tokens by their colours."""

SERIES = [COLOURS[f"c{number}"] for number in range(1, 9)]
FONT = "DejaVu Sans, Verdana, sans-serif"


def _svg(chart: Any, *, padding: int = 4) -> str:
    """Render a chart in the house style."""
    styled = (
        chart.configure(background=COLOURS["paper"], font=FONT, padding=padding)
        .configure_view(stroke=None)
        .configure_axis(
            domainColor=COLOURS["line"],
            tickColor=COLOURS["line"],
            gridColor=COLOURS["line"],
            labelColor=COLOURS["muted"],
            titleColor=COLOURS["muted"],
            labelFontSize=11,
            titleFontSize=11,
            titleFontWeight="normal",
            labelLimit=150,
        )
        .configure_legend(
            labelColor=COLOURS["ink"],
            titleColor=COLOURS["muted"],
            labelFontSize=11,
            titleFontSize=11,
            orient="top",
            title=None,
            columns=3,
            symbolStrokeWidth=2,
        )
        .configure_title(color=COLOURS["ink"], fontSize=12, fontWeight="bold", anchor="start")
        .configure_text(font=FONT, fontSize=11, color=COLOURS["ink"])
    )
    return vl_convert.vegalite_to_svg(json.loads(styled.to_json(validate=False)))


def inline(svg: str, label: str) -> str:
    """Fit a chart into the page: its colours become CSS variables, its size is the most it may take.

    Args:
        svg: a chart from this module.
        label: one sentence for readers who cannot see it.
    """
    for token, colour in COLOURS.items():
        svg = re.sub(re.escape(colour), f"var(--{token})", svg, flags=re.IGNORECASE)
    width = re.search(r'width="(\d+)"', svg)
    size = f"max-width:{width[1]}px" if width else ""
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return re.sub(
        r'^<svg ([^>]*?)width="\d+" height="\d+"',
        rf'<svg role="img" aria-label="{quoted}" style="{size}" \1',
        svg,
        count=1,
    )


def sentence(text: str) -> str:
    """Draw a sentence in place of a chart whose data are missing, so that the declared file exists and says why."""
    data = alt.InlineData(values=[{"text": text}])
    return _svg(alt.Chart(data, width=WIDTH, height=40).mark_text(limit=WIDTH, lineBreak="\n").encode(text="text:N"))


def histogram(bins: Sequence[tuple[float, float, int]], title: str, rule: float | None = None) -> str:
    """Draw counted bins (from, to, count) as bars, with a vertical line at `rule`."""
    data = alt.InlineData(values=[{"low": low, "high": high, "count": count} for low, high, count in bins])
    # Whole edges count something, and nothing lies between 6 and 7 lines.
    step = 1 if all(float(low).is_integer() for low, _, _ in bins) else 0
    bars = (
        alt.Chart(data)
        .mark_bar(color=COLOURS["c1"], stroke=COLOURS["paper"], strokeWidth=0.5)
        .encode(
            x=alt.X("low:Q", bin="binned", title=title, axis=alt.Axis(grid=False, tickCount=6, tickMinStep=step)),
            x2="high:Q",
            y=alt.Y("count:Q", title="rows", axis=alt.Axis(tickCount=4, tickMinStep=1)),
        )
    )
    layers: list[Any] = [bars]
    if rule is not None:
        mark = alt.InlineData(values=[{"at": rule}])
        layers.append(alt.Chart(mark).mark_rule(color=COLOURS["c2"], strokeWidth=2, strokeDash=[5, 3]).encode(x="at:Q"))
    return _svg(alt.layer(*layers).properties(width=WIDTH, height=120))


def shares(rows: Sequence[Mapping[str, Any]], title: str, *, order: Sequence[str] | None = None) -> str:
    """Draw shares with intervals as bars and whiskers; rows have name, value, low, high in 0…1 and a note."""
    data = alt.InlineData(values=[dict(row) for row in rows])
    names = list(order or [row["name"] for row in rows])
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(grid=False, ticks=False, domain=False))
    scale = alt.Scale(domain=[0, 1])
    axis = alt.Axis(format="%", tickCount=5)
    bars = (
        alt.Chart(data)
        .mark_bar(color=COLOURS["c1"], height=13)
        .encode(y=y, x=alt.X("value:Q", title=title, scale=scale, axis=axis))
    )
    whiskers = alt.Chart(data).mark_rule(color=COLOURS["ink"]).encode(y=y, x=alt.X("low:Q", scale=scale), x2="high:Q")
    return _svg(alt.layer(bars, whiskers).properties(width=WIDTH - 90, height=alt.Step(22)))


def compared(rows: Sequence[Mapping[str, Any]], title: str, series: Sequence[str], names: Sequence[str]) -> str:
    """Draw shares of several series side by side for each name; rows have name, series, value in 0…1."""
    chart = (
        alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
        .mark_bar()
        .encode(
            y=alt.Y("name:N", title=None, sort=list(names), axis=alt.Axis(grid=False, ticks=False, domain=False)),
            yOffset=alt.YOffset("series:N", sort=list(series)),
            x=alt.X("value:Q", title=title, axis=alt.Axis(format="%", tickCount=5)),
            color=alt.Color("series:N", sort=list(series), scale=alt.Scale(domain=list(series), range=SERIES)),
        )
    )
    return _svg(chart.properties(width=WIDTH - 90, height=alt.Step(12)))


def counts(rows: Sequence[tuple[str, int]], title: str) -> str:
    """Draw one count for each name, in the order given."""
    data = alt.InlineData(values=[{"name": name, "count": count} for name, count in rows])
    names = [name for name, _ in rows]
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(grid=False, ticks=False, domain=False))
    bars = (
        alt.Chart(data)
        .mark_bar(color=COLOURS["c1"], height=13)
        .encode(y=y, x=alt.X("count:Q", title=title, axis=alt.Axis(tickCount=4, tickMinStep=1)))
    )
    text = (
        alt.Chart(data)
        .mark_text(align="left", dx=4, color=COLOURS["muted"])
        .encode(y=y, x="count:Q", text=alt.Text("count:Q", format=","))
    )
    return _svg(alt.layer(bars, text).properties(width=WIDTH - 90, height=alt.Step(22)))


def lines(rows: Sequence[Mapping[str, Any]], x_title: str, y_title: str, series: Sequence[str]) -> str:
    """Draw curves; rows have x, y and series. With more than one series a legend names them."""
    legend = alt.Legend() if len(series) > 1 else None
    chart = (
        alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("x:Q", title=x_title, axis=alt.Axis(grid=False, tickCount=6)),
            y=alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5)),
            color=alt.Color(
                "series:N", sort=list(series), scale=alt.Scale(domain=list(series), range=SERIES), legend=legend
            ),
            detail="line:N",
        )
    )
    return _svg(chart.properties(width=WIDTH, height=180))


def intervals(rows: Sequence[Mapping[str, Any]], title: str, names: Sequence[str]) -> str:
    """Draw values with intervals as points and whiskers; rows have name, value, low, high in 0…1."""
    data = alt.InlineData(values=[dict(row) for row in rows])
    y = alt.Y("name:N", title=None, sort=list(names), axis=alt.Axis(grid=False, ticks=False, domain=False))
    scale = alt.Scale(domain=[0, 1])
    spread = (
        alt.Chart(data)
        .mark_rule(color=COLOURS["c1"], strokeWidth=2)
        .encode(y=y, x=alt.X("low:Q", title=title, scale=scale, axis=alt.Axis(format="%", tickCount=5)), x2="high:Q")
    )
    points = (
        alt.Chart(data)
        .mark_circle(color=COLOURS["c1"], size=70, opacity=1)
        .encode(y=y, x=alt.X("value:Q", scale=scale))
    )
    text = (
        alt.Chart(data)
        .mark_text(dy=-10, color=COLOURS["ink"])
        .encode(y=y, x=alt.X("value:Q", scale=scale), text=alt.Text("value:Q", format=".1%"))
    )
    return _svg(alt.layer(spread, points, text).properties(width=WIDTH - 90, height=alt.Step(34)))


def funnel(rows: Sequence[Mapping[str, Any]]) -> str:
    """Draw the fate of what entered each stage as one bar of full length; rows have name, fate, share, order, note.

    Fates are "kept" and "dropped"; the note stands at the right end.
    """
    names = list(dict.fromkeys(row["name"] for row in rows))
    data = alt.InlineData(values=[dict(row) for row in rows])
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(grid=False, ticks=False, domain=False, labelLimit=240))
    bars = (
        alt.Chart(data)
        .mark_bar(height=13, stroke=COLOURS["paper"], strokeWidth=0.5)
        .encode(
            y=y,
            x=alt.X("share:Q", stack="zero", title="share of what entered the stage", axis=alt.Axis(format="%")),
            color=alt.Color(
                "fate:N", sort=["kept", "dropped"], scale=alt.Scale(domain=["kept", "dropped"], range=SERIES[:2])
            ),
            order="order:Q",
        )
    )
    first = alt.InlineData(values=[dict(row) for row in rows if row["fate"] == "kept"])
    text = alt.Chart(first).mark_text(align="left", color=COLOURS["muted"]).encode(y=y, x=alt.value(306), text="note:N")
    return _svg(alt.layer(bars, text).properties(width=WIDTH, height=alt.Step(22)))
