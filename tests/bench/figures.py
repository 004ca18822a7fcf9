"""Tables, charts, ratios and goals as Markdown, from numbers alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CHART_WIDTH = 46


@dataclass(frozen=True, slots=True)
class Goal:
    """What was wanted and what was measured; ``met`` None: it could not be measured."""

    what: str
    wanted: str
    measured: str
    met: bool | None


def at_least(what: str, wanted: float, measured: float | None, unit: str = "x") -> Goal:
    """A goal that is met from ``wanted`` on."""
    return _goal(what, "≥", wanted, measured, unit)


def at_most(what: str, wanted: float, measured: float | None, unit: str) -> Goal:
    """A goal that is met up to ``wanted``."""
    return _goal(what, "≤", wanted, measured, unit)


def _goal(what: str, sign: str, wanted: float, measured: float | None, unit: str) -> Goal:
    asked = f"{sign} {number(wanted)} {unit}".rstrip() if wanted else "0"
    if measured is None:
        return Goal(what, asked, "not measured", None)
    met = measured >= wanted if sign == "≥" else measured <= wanted
    return Goal(what, asked, f"{number(measured)} {unit}".rstrip(), met)


def ratio(above: float | None, below: float | None) -> float | None:
    """``above`` over ``below``, None where one of them is missing or nothing."""
    return above / below if above is not None and below else None


def number(value: float) -> str:
    """Three digits that count, thousands with commas."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is also one to the eye: the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(head), line(rule), *(line(row) for row in rows)])


def goals(found: Sequence[Goal]) -> str:
    """The goals and whether they are met, as a table."""
    met = {True: "yes", False: "**no**", None: "?"}
    rows = [(goal.what, goal.wanted, goal.measured, met[goal.met]) for goal in found]
    return table(("goal", "wanted", "measured", "met"), rows)


def chart(bars: Mapping[str, float], unit: str) -> str:
    """Bars, longest first; each as long as its share of the longest, so that lengths compare as numbers do."""
    most = max(bars.values())
    name = max(map(len, bars))
    lines = [
        f"{label:{name}} {'█' * max(1, round(CHART_WIDTH * value / most)):{CHART_WIDTH}} {number(value)} {unit}"
        for label, value in sorted(bars.items(), key=lambda bar: -bar[1])
    ]
    return "\n".join(["```", *(line.rstrip() for line in lines), "```"])
