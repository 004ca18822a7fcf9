"""What the read-only commands print: a table for people, or the same as JSON."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from receiver.adapters.sqlite.journal import Journal
from receiver.admin.views import deployment_views, iso
from receiver.cli.output import ago, clock, first_line, print_json, print_table, version
from receiver.core.deployment import verified_at
from receiver.core.errors import PinrailError, Rejected
from receiver.core.redact import Redactor, plain, plain_lines
from receiver.planning.assess import Assessment, assess
from receiver.planning.observe import Observation, look
from receiver.planning.status import reason_of, state_of, statuses
from receiver.pull_requests.proposal import Proposed
from receiver.pull_requests.rollback import RollbackPlan
from receiver.services import Services


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What would be done about one slot."""

    environment: str
    model: str
    old: int | None  # last verified version
    new: int | None  # pinned version
    verdict: str  # see status.state_of
    reason: str
    actions: Sequence[str]
    metrics_old: Mapping[str, float]
    metrics_new: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LiveRow:
    """What was verified live in one slot."""

    environment: str
    model: str
    version: int
    since: str  # ISO 8601, UTC
    commit: str
    digest: str | None


def show_plan(services: Services, *, as_json: bool) -> None:
    """Print old -> new per slot, the metrics of both, the actions, and the reason for any refusal."""
    seen = look(services)
    rows = [_plan_row(services, seen, assess(services, seen, slot)) for slot in seen.slots()]
    if as_json:
        print_json({"commit": seen.snapshot.commit, "stale": seen.snapshot.stale, "plan": [asdict(r) for r in rows]})
        return
    stale = f" (stale: {seen.snapshot.stale})" if seen.snapshot.stale else ""
    print(f"pins at {seen.snapshot.commit[:12]}{stale}")
    print_table(
        ("environment", "model", "old -> new", "verdict", "metrics old -> new"),
        [
            (
                r.environment,
                r.model,
                f"{version(r.old)} -> {version(r.new)}",
                r.verdict,
                _metrics(r.metrics_old, r.metrics_new),
            )
            for r in rows
        ],
    )
    for row in rows:
        if row.reason or row.actions:
            print(f"\n{row.environment}/{row.model}: {row.verdict}")
        if row.reason:
            print("\n".join(f"  {line}" for line in row.reason.splitlines()))
        if row.actions:
            print("\n".join(f"  {place}. {action}" for place, action in enumerate(row.actions, 1)))


def show_status(services: Services, *, as_json: bool) -> None:
    """Print what git, registry and server say about every slot."""
    seen = look(services)
    rows = statuses(services, seen)
    if as_json:
        print_json({"commit": seen.snapshot.commit, "status": [asdict(row) for row in rows]})
        return
    print_table(
        ("environment", "model", "pin", "alias", "stage", "server", "state", "verified", "reason"),
        [
            (
                r.environment,
                r.model,
                version(r.pinned),
                version(r.alias_version),
                version(r.stage_version),
                version(r.serving_version),
                r.state,
                None if r.since is None else ago(r.since),
                first_line(r.reason),
            )
            for r in rows
        ],
    )


def show_history(journal: Journal, environment: str | None, model: str | None, *, limit: int, as_json: bool) -> None:
    """Print the last deployments, newest first."""
    rows = deployment_views(journal, Redactor(), limit, environment, model)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    slots = sorted({str(d.draft.slot) for d in journal.recent(sys.maxsize)}) if not rows else []
    known = f"on record are {', '.join(slots)}" if slots else f"no deployment is on record in {journal.place}"
    print_table(
        ("#", "started", "environment", "model", "from -> to", "outcome", "seconds", "cause", "commit", "reason"),
        [
            (
                r.id,
                clock(datetime.fromisoformat(r.started).timestamp()),
                r.environment,
                r.model,
                _change(r.from_version, r.to_version),
                r.outcome,
                r.seconds,
                r.cause,
                r.commit[:7],
                first_line(r.reason or (f"override: {r.override}" if r.override else "")),
            )
            for r in rows
        ],
        empty=f"nothing to show: {known}",
    )


def show_live(journal: Journal, at: datetime | None, *, as_json: bool) -> None:
    """Print what was verified live at a time. Rejected: that is still to come, or out of all time."""
    now = datetime.now(UTC)
    try:
        when = (at or now).astimezone()
    except (ValueError, OverflowError) as error:  # the years 1 and 9999, where the clock here is not UTC's
        raise Rejected(f"--at: {at} is too long ago or too far away: give a time that has passed") from error
    if when > now:
        raise Rejected(f"--at: {when.isoformat(timespec='seconds')} is still to come: give a time that has passed")
    slots = sorted({d.draft.slot for d in journal.recent(sys.maxsize)})
    found = [(slot, verified_at(journal.history(slot), when.timestamp())) for slot in slots]
    rows = [
        LiveRow(slot.environment, slot.model, was.version, iso(was.at), was.revision, was.digest)
        for slot, was in found
        if was is not None and was.version is not None
    ]
    if as_json:
        print_json({"at": when.isoformat(), "live": [asdict(row) for row in rows]})
        return
    print(f"verified live at {when.isoformat(timespec='seconds')}")
    print_table(
        ("environment", "model", "version", "since", "commit"),
        [
            (
                r.environment,
                r.model,
                version(r.version),
                clock(datetime.fromisoformat(r.since).timestamp()),
                r.commit[:7],
            )
            for r in rows
        ],
        empty=f"nothing, as far as is on record in {journal.place}",
    )


def show_proposed(proposed: Proposed, *, as_json: bool) -> None:
    """Print what waits to be merged, where, and what to know before."""
    promotion, pull = proposed.promotion, proposed.pull
    if as_json:
        print_json({**asdict(promotion), "pull_request": pull.url if pull else None, "notes": proposed.notes})
        return
    print(promotion.title)
    there = "is there already" if promotion.existing else "pushed"
    print(f"{there}: {promotion.branch} at {promotion.commit[:12]}")
    for note in proposed.notes:
        print(f"note: {plain(note)}")
    if pull is not None:
        print(f"pull request: {pull.url}")
    else:
        by_hand = f"no GitHub there: merge {promotion.branch} by hand"
        print(f"open the pull request: {promotion.compare}" if promotion.compare else by_hand)


def show_restored(way: RollbackPlan, *, restored: bool, as_json: bool) -> None:
    """Print whether the receiver has put a version back already; for people, beside what a program reads."""
    said = "serves again" if restored else "is not verified yet; a running receiver goes on, see pinrail status"
    print(f"{way.slot}: v{way.pinned} is held, v{way.target} {said}", file=sys.stderr if as_json else sys.stdout)


def _plan_row(services: Services, seen: Observation, assessment: Assessment) -> PlanRow:
    old = assessment.verified.version if assessment.verified else None
    metrics = {version: _measured(services, assessment.slot.model, version) for version in {old, assessment.pinned}}
    return PlanRow(
        environment=assessment.slot.environment,
        model=assessment.slot.model,
        old=old,
        new=assessment.pinned,
        verdict=state_of(seen, assessment),
        reason=plain_lines(reason_of(seen, assessment)),
        actions=[str(action) for action in assessment.actions],
        metrics_old=metrics[old],
        metrics_new=metrics[assessment.pinned],
    )


def _measured(services: Services, model: str, version: int | None) -> Mapping[str, float]:
    """A version's metrics; a registry that cannot say is no reason to show nothing else."""
    if version is None:
        return {}
    try:
        return services.registry.metrics(model, version)
    except PinrailError:
        return {}


def _change(old: int | None, new: int | None) -> str:
    return f"{version(old)} -> {version(new)}"


def _metrics(old: Mapping[str, float], new: Mapping[str, float]) -> str:
    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.4g}"

    names = sorted(set(old) | set(new))
    return "\n".join(f"{name} {number(old.get(name))} -> {number(new.get(name))}" for name in names)
