"""Small charts as SVG text: sharp at any size, no scripts, colours from the page's style sheet. Pure.

Each has a name for those who do not see it. Bars are a table, so that names of any length wrap and stay readable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 10, 40
LONG, ROW = 100, 16  # a row of bars, before it is stretched

Points = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Axes:
    """The chart's name, and the labels and the range of both axes."""

    name: str  # of the chart
    x: str
    y: str
    low: float = 0.0
    high: float = 1.0
    diagonal: bool = True


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a bar chart: a value per version."""

    name: str
    values: Mapping[str, float]  # style class -> value
    note: str = ""


def lines(series: Mapping[str, Points], axes: Axes) -> str:
    """Draw one line with dots per series; the name of a series is its style class."""
    return _frame(axes, "".join(_line(name, points, axes) for name, points in series.items()))


def dots(series: Mapping[str, Points], axes: Axes) -> str:
    """Draw points without lines."""
    marks = []
    for name, points in series.items():
        for point in points:
            x, y = _place(point, axes)
            marks.append(f'<circle class="dot {name}" cx="{x:.1f}" cy="{y:.1f}" r="2"/>')
    return _frame(axes, "".join(marks))


def bars(name: str, rows: Sequence[Bar], top: float, limit: float | None = None) -> str:
    """Draw horizontal bars from 0 to ``top``; several values of a row share it, and ``limit`` is a line across."""
    line = ""
    if limit is not None and limit <= top:
        x = LONG * limit / top
        line = f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{ROW}"/>'
    shown = "".join(
        f'<tr><th scope="row">{escape(row.name)}</th><td><svg viewBox="0 0 {LONG} {ROW}" preserveAspectRatio="none"'
        f' aria-hidden="true">{_row(row, top)}{line}</svg></td>'
        f'<td class="number" title="{escape(_exact(row))}">{escape(row.note)}</td></tr>'
        for row in rows
    )
    return f'<table class="bars" aria-label="{escape(name)}">{shown}</table>'


def _row(row: Bar, top: float) -> str:
    thick = ROW / max(1, len(row.values))
    parts = []
    for place, (name, value) in enumerate(row.values.items()):
        long = LONG * min(1.0, max(0.0, value / top if top else 0.0))
        parts.append(
            f'<rect class="bar {name}" x="0" y="{place * thick:.1f}" width="{long:.1f}" height="{thick - 1:.1f}"/>'
        )
    return "".join(parts)


def _exact(row: Bar) -> str:
    return ", ".join(str(value) for value in row.values.values())


def _line(name: str, points: Points, axes: Axes) -> str:
    places = [_place(point, axes) for point in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    few = len(places) <= 12  # noqa: PLR2004 - dots on a curve of many points would hide it
    marks = "".join(f'<circle class="mark {name}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places if few)
    return f'<polyline class="line {name}" points="{path}"/>{marks}'


def _frame(axes: Axes, inside: str) -> str:
    """Draw the axes with five ticks each, and what is inside them."""
    parts = []
    for step in range(5):
        value = axes.low + (axes.high - axes.low) * step / 4
        x, y = _place((value, value), axes)
        text = _tick(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{text}</text>')
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{text}</text>')
    if axes.diagonal:
        (x1, y1), (x2, y2) = _place((axes.low, axes.low), axes), _place((axes.high, axes.high), axes)
        parts.append(f'<line class="diagonal" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="axis" x="{middle_x}" y="{HEIGHT - 6}">{escape(axes.x)}</text>')
    turned = f'transform="rotate(-90 14 {middle_y})"'
    parts.append(f'<text class="axis" x="14" y="{middle_y}" {turned}>{escape(axes.y)}</text>')
    title = f"<title>{escape(axes.name)}</title><desc>{escape(axes.y)} over {escape(axes.x)}</desc>"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{title}{"".join(parts)}{inside}</svg>'


def _tick(value: float) -> str:
    """A number of few characters: there is little room beside an axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:,.4g}{letter}"
    return f"{value:.4g}"


def _place(point: Sequence[float], axes: Axes) -> tuple[float, float]:
    span = (axes.high - axes.low) or 1.0
    x = LEFT + (point[0] - axes.low) / span * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - (point[1] - axes.low) / span * (HEIGHT - TOP - BOTTOM)
    return x, y
