"""``pinrail diff``: what differs between two environments, or between an environment's pins and what serves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from receiver.adapters.sqlite.state_lock import holder
from receiver.cli.observing import observe_soon
from receiver.cli.output import answer
from receiver.cli.tables import first_line, table, version
from receiver.core.errors import Rejected
from receiver.core.redact import Redactor
from receiver.planning.status import SlotStatus, activities_now, status_report
from receiver.settings import load_settings
from receiver.wiring import build, open_database


@dataclass(frozen=True, slots=True)
class VersionDifference:
    """One model of which two sides have another version."""

    model: str
    what: str
    """pin and server, of two environments; alias, stage and server, each against the pin of one."""
    left: int | None
    """The version in the first environment, or its pin; null: none."""
    right: int | None
    reason: str
    """Why, where it is known; else empty."""


@dataclass(frozen=True, slots=True)
class DiffView:
    """What differs: ``pinrail diff --json``."""

    left: str
    """The first environment."""
    right: str | None
    """The second one; null: what registry and servers of the first one have."""
    stale: str | None
    """Why these are not the pins at the branch head."""
    differences: Sequence[VersionDifference]


def show_diff(environment: str, other: str | None, *, as_json: bool) -> bool:
    """Print what differs; returns whether anything does. Rejected: no such environment."""
    settings = load_settings("pinrail_repo_url")
    services = build(settings, open_database(settings))
    activities = activities_now(services) if holder(settings.pinrail_state_dir) is not None else None
    observed = observe_soon(services)
    for name in filter(None, (environment, other)):
        observed.seen.desired.environment(name)
    if environment == other:
        raise Rejected(f"found {environment} twice, allowed two environments, or one to compare with what serves")
    report = status_report(observed.services, observed.seen, activities)
    redact = Redactor(settings.secrets)
    rows = [row for row in report.slots if row.environment in (environment, other)]
    found = within_one(rows) if other is None else between(rows, environment, other)
    stale = redact.line(observed.stale) or None
    view = DiffView(environment, other, stale, [redact.within(difference) for difference in found])
    answer(view, _text, json_wanted=as_json)
    return bool(view.differences)


def between(rows: Sequence[SlotStatus], left: str, right: str) -> Iterator[VersionDifference]:
    """What two environments pin and serve differently. Pure."""
    by_model: dict[str, dict[str, SlotStatus]] = {}
    for row in rows:
        by_model.setdefault(row.model, {})[row.environment] = row
    for model, found in sorted(by_model.items()):
        why = "; ".join(f"{name}: {row.reason}" for name, row in found.items() if row.reason)
        pinned = {name: row.pinned for name, row in found.items()}
        serving = {name: row.serving_version for name, row in found.items()}
        yield from _differing(model, "pin", pinned.get(left), pinned.get(right), why)
        yield from _differing(model, "server", serving.get(left), serving.get(right), why)


def within_one(rows: Sequence[SlotStatus]) -> Iterator[VersionDifference]:
    """Where registry and servers are not as an environment pins. Pure."""
    for row in sorted(rows, key=lambda row: row.model):
        sides: Mapping[str, int | None] = {"alias": row.alias_version, "server": row.serving_version}
        if row.stage_version is not None:  # a version has one stage, that of the last environment that pins it
            sides = {**sides, "stage": row.stage_version}
        why = row.reason if row.state == "in sync" else f"{row.state}{row.reason and ': ' + row.reason}"
        for what, side in sides.items():
            yield from _differing(row.model, what, row.pinned, side, why)


def _differing(model: str, what: str, left: int | None, right: int | None, why: str) -> Iterator[VersionDifference]:
    if left != right:
        yield VersionDifference(model, what, left, right, why)


def _text(view: DiffView) -> str:
    stale = f"these are not the pins at the branch head: {view.stale}\n" if view.stale else ""
    names = (view.left, view.right) if view.right is not None else ("pin", "found")
    rows = [(d.model, d.what, version(d.left), version(d.right), first_line(d.reason)) for d in view.differences]
    sides = f"{view.left} and {view.right}" if view.right is not None else f"{view.left}: pins, registry and servers"
    return stale + table(("model", "what", *names, "reason"), rows, empty=f"{sides} do not differ")
