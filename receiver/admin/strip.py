"""The last 30 days of a slot as a thin picture: a bar a day, coloured by the worst that happened. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from receiver.adapters.sqlite.queries import Event
from receiver.core.deployment import Outcome, Trigger

DAYS = 30
DAY_SECONDS = 86_400.0
_STEP, _BAR = 3.0, 2.2  # of the picture, in its own units
_TALL, _LOW = 10, 5
_LOW_BARS, _TALL_BARS = (
    [f"M{day * _STEP:g} {_TALL - height}h{_BAR:g}v{height}h-{_BAR:g}z" for day in range(DAYS)]
    for height in (_LOW, _TALL)
)
_SEVERITY = ("good", "warn", "bad", "alarm")


@dataclass(frozen=True, slots=True)
class Strip:
    """SVG paths by tone, and the same in words."""

    paths: Sequence[tuple[str, str]]
    text: str


@dataclass(slots=True)
class _Day:
    tone: str = ""  # empty: nothing served
    changed: bool = False  # another version went live


def strip(before: int | None, events: Iterable[Event], now: float) -> Strip:
    """Draw a slot's days up to ``now``.

    ``before``: what was live before the first of them; ``events``: what was done since, oldest first.
    """
    days = [_Day() for _ in range(DAYS)]
    counts = {"new version": 0, "rollback": 0, "restoration": 0}
    live, from_day = before, 0
    for event in events:
        day = min(DAYS - 1, max(0, DAYS - 1 - int((now - event.at) // DAY_SECONDS)))
        _serve(days[from_day : day + 1], live)
        from_day = day
        if event.state is Outcome.LIVE:
            days[day].changed |= event.version != live and event.version is not None
            counts["new version"] += event.version != live
            live = event.version
            restored = event.cause == Trigger.DRIFT
            counts["restoration"] += restored
            _raise(days[day], "warn" if restored else "good")
        elif event.state is Outcome.ROLLED_BACK:
            counts["rollback"] += 1
            _raise(days[day], "bad")
        elif event.state is Outcome.NEEDS_HUMAN:
            _raise(days[day], "alarm")
    _serve(days[from_day:], live)
    return Strip(_paths(days), f"{DAYS} days: {', '.join(_counted(name, count) for name, count in counts.items())}")


def _serve(days: Iterable[_Day], live: int | None) -> None:
    for day in days:
        if live is not None and not day.tone:
            day.tone = "good"


def _raise(day: _Day, tone: str) -> None:
    if not day.tone or _SEVERITY.index(tone) > _SEVERITY.index(day.tone):
        day.tone = tone


def _paths(days: Sequence[_Day]) -> Sequence[tuple[str, str]]:
    found: dict[str, list[str]] = {}
    for day, low, tall in zip(days, _LOW_BARS, _TALL_BARS, strict=True):
        if day.tone:
            is_tall = day.changed or day.tone in ("bad", "alarm")
            found.setdefault(day.tone, []).append(tall if is_tall else low)
    return tuple((tone, "".join(bars)) for tone, bars in found.items())


def _counted(name: str, count: int) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


NOTHING = Strip((), f"{DAYS} days: nothing is recorded")
