"""Small charts as SVG text: sharp at any size, no scripts, colours from the page's style sheet. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 360, 280
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 40
ROW = 22  # height of a bar
LABEL = 240  # room for a bar's name
LONGEST_NAME = 39  # characters that fit there
NUMBER = 60  # room for a bar's number

Points = Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True)
class Axes:
    """The labels and the range of both axes."""

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


def bars(rows: Sequence[Bar], top: float, limit: float | None = None) -> str:
    """Draw horizontal bars from 0 to ``top``; several values of a row share it, and ``limit`` is a line across."""
    width, height = WIDTH + LABEL, len(rows) * ROW + 8
    room = width - LABEL - NUMBER
    parts = []
    for index, row in enumerate(rows):
        y = index * ROW + 4
        thick = (ROW - 6) / max(1, len(row.values))
        parts.append(f'<text class="name" x="{LABEL - 8}" y="{y + ROW / 2}">{escape(_short(row.name))}</text>')
        for place, (name, value) in enumerate(row.values.items()):
            long = room * min(1.0, max(0.0, value / top if top else 0.0))
            parts.append(
                f'<rect class="bar {name}" x="{LABEL}" y="{y + place * thick:.1f}"'
                f' width="{long:.1f}" height="{thick - 1:.1f}" rx="1.5"/>'
            )
        parts.append(f'<text class="number" x="{width}" y="{y + ROW / 2}">{escape(row.note)}</text>')
    if limit is not None and limit <= top:
        x = LABEL + room * limit / top
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height}"/>')
    return f'<svg viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


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
        text = f"{value:.4g}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{text}</text>')
        parts.append(f'<text class="tick end" x="{LEFT - 6}" y="{y + 4:.1f}">{text}</text>')
    if axes.diagonal:
        (x1, y1), (x2, y2) = _place((axes.low, axes.low), axes), _place((axes.high, axes.high), axes)
        parts.append(f'<line class="diagonal" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')
    middle_x, middle_y = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="axis" x="{middle_x}" y="{HEIGHT - 6}">{escape(axes.x)}</text>')
    turned = f'transform="rotate(-90 10 {middle_y})"'
    parts.append(f'<text class="axis" x="10" y="{middle_y}" {turned}>{escape(axes.y)}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}{inside}</svg>'


def _place(point: Sequence[float], axes: Axes) -> tuple[float, float]:
    span = (axes.high - axes.low) or 1.0
    x = LEFT + (point[0] - axes.low) / span * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - (point[1] - axes.low) / span * (HEIGHT - TOP - BOTTOM)
    return x, y
