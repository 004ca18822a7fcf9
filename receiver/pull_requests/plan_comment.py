"""The plan of a pull request, rendered as a comment and a commit status. Pure.

Times are absolute, so that the text changes only when the plan does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from ml.evidence import Evidence
from receiver.core.deployment import WayBack
from receiver.core.policy import Hold, HoldState, duration
from receiver.core.quarantine import Quarantine
from receiver.core.state import Slot
from receiver.pull_requests.markdown import (
    Measured,
    block,
    code,
    gate_table,
    metrics_table,
    signature_changes,
    text,
)
from receiver.pull_requests.promotion_body import VersionComparison, VersionFacts

State = Literal["failure", "pending", "success"]

Z = 1.96  # 95 % intervals
UNCERTAINTY = (
    "± is 1.96 binomial standard errors of the change over {rows:,} evaluation rows, as if each version had been "
    "measured on separate rows; both were measured on the same rows, so the true uncertainty is smaller. "
    "Metrics without ± have no recorded uncertainty."
)


@dataclass(frozen=True, slots=True)
class DetailedComparison:
    """Everything that is compared about two versions."""

    versions: VersionComparison
    evidence: tuple[Evidence | None, Evidence | None]  # of the old and the new one, for this environment
    packages: tuple[Mapping[str, str], Mapping[str, str]]  # likewise: name -> requirement line


@dataclass(frozen=True, slots=True)
class Soak:
    """How far a version has come in the environment before. Times are seconds since the epoch."""

    environment: str
    seconds: float  # needed
    since: float | None  # live there without a break; None: it is not live there now
    done: bool


@dataclass(frozen=True, slots=True)
class PlannedChange:
    """What a pull request changes in one slot, and the deployment that would follow."""

    slot: Slot
    port: int | None
    old: int | None  # the version that is pinned now
    new: int | None
    actions: Sequence[str]  # of the plan, in order
    comparison: DetailedComparison | None = None
    hold: Hold | None = None
    retry: str | None = None  # what could not be read, so that this plan is provisional
    override: str | None = None
    soak: Soak | None = None
    lifts: Sequence[Quarantine] = ()  # holds that the merge would end
    way_back: WayBack | None = None  # to the version that serves now
    outdated: str | None = None  # what the gate has compared it with is not live any more
    remarks: Sequence[str] = ()  # what may be a mistake

    @property
    def title(self) -> str:
        """One line: where, what, from which version to which."""
        if self.old == self.new:
            return f"{self.slot} {_version(self.new)}, with other settings"
        return f"{self.slot} {_version(self.old)} -> {_version(self.new)}"

    @property
    def state(self) -> State:
        """Whether it may be merged now, later or not as it is."""
        if self.retry is not None:
            return "pending"
        if self.hold is None:
            return "success"
        return "pending" if self.hold.state in (HoldState.WAITING, HoldState.HELD) else "failure"

    @property
    def why(self) -> str:
        """Why it cannot be deployed now; empty if it can."""
        if self.retry is not None:
            return self.retry
        if self.hold is None:
            return ""
        return self.hold.reason + (f"; that is at {_time(self.hold.until)}" if self.hold.until else "")


@dataclass(frozen=True, slots=True)
class PullRequestPlan:
    """A pull request's plan. ``problem``: why its environment files are not valid, with lines."""

    commit: str
    changes: Sequence[PlannedChange] = ()
    problem: str | None = None
    by_policy: bool = False  # it is merged without a person, once nothing is in the way

    @property
    def state(self) -> State:
        """The worst state of any change."""
        if self.problem is not None:
            return "failure"
        said = {change.state for change in self.changes}
        states: tuple[State, ...] = ("failure", "pending")
        return next((state for state in states if state in said), "success")

    @property
    def next_check_at(self) -> float:
        """When a wait may end by itself, seconds since the epoch."""
        return min((c.hold.until for c in self.changes if c.hold and c.hold.until), default=math.inf)

    @property
    def summary(self) -> str:
        """The status, in a line."""
        if self.problem is not None:
            return self.problem.split("\n")[0]
        if not self.changes:
            return "changes no pins"
        deciding = [change for change in self.changes if change.state == self.state]
        return "; ".join(f"{change.title}{change.why and ': ' + change.why}" for change in deciding)

    @property
    def counts(self) -> str:
        """How many changes there are, what becomes of them, and who merges."""
        refused = sum(change.state == "failure" for change in self.changes)
        waiting = sum(change.state == "pending" for change in self.changes)
        until = f" until {_time(self.next_check_at)}" if self.next_check_at < math.inf else ""
        count = len(self.changes)
        waits = f"{waiting} {'waits' if waiting == 1 else 'wait'}{until}"
        who = "merged by policy" if self.by_policy else "needs a review"
        return f"{count} {'change' if count == 1 else 'changes'}, {refused} refused, {waits}; {who}"

    def comment(self) -> str:
        """The whole plan in Markdown."""
        head = {
            "success": "✅ can be merged",
            "pending": "⏳ not yet",
            "failure": "❌ would be refused" if self.problem is None else "❌ the files are not valid",
        }[self.state]
        parts = [f"### Pinrail plan: {head}"]
        if self.changes and self.problem is None:
            parts.append(f"{self.counts}.")
        if self.problem is not None:
            parts.append(f"Nothing would be deployed:\n\n{block(self.problem)}")
        elif not self.changes:
            parts.append("No pin and no policy changes: nothing would be started or stopped.")
        parts += [_section(change) for change in self.changes]
        parts.append(f"<sub>Planned for {code(self.commit[:12])}; kept up to date while this is open.</sub>")
        return "\n\n".join(parts)


def margins(old: Evidence | None, new: Evidence | None) -> dict[str, float]:
    """Half-widths of the confidence intervals of changes, for shares that were measured on the same rows."""
    if old is None or new is None or not new.rows or old.data_digest != new.data_digest:
        return {}
    shares = [v.value for e in (old, new) for v in e.verdicts if v.name == "accuracy" and 0 <= v.value <= 1]
    if len(shares) != 2:  # noqa: PLR2004 - before and after
        return {}
    return {"accuracy": Z * math.sqrt(sum(p * (1 - p) for p in shares) / new.rows)}


def dependency_changes(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The changes in the packages that the model requires."""
    lines = [f"- {code(line)} is no longer needed" for name, line in old.items() if name not in new]
    lines += [f"- {code(line)} is new" for name, line in new.items() if name not in old]
    lines += [
        f"- {code(old[name])} changes to {code(line)}" for name, line in new.items() if old.get(name, line) != line
    ]
    return "\n".join(lines) or "The same packages in the same versions."


def _section(change: PlannedChange) -> str:
    parts = [f"#### {text(change.title)}", *_verdict(change), _restart(change)]
    if change.way_back is not None:
        parts.append(f"Way back: {text(change.way_back)}.")
    if change.comparison is not None:
        parts += _compared(change.comparison)
    return "\n\n".join(parts)


def _compared(found: DetailedComparison) -> list[str]:
    old, new = found.versions.old, found.versions.new
    was, now = found.evidence
    spread = margins(was, now)
    parts = [metrics_table(_measured(old, was), _measured(new, now), spread)]
    if spread and now:
        parts.append(UNCERTAINTY.format(rows=now.rows))
    if now is not None:
        parts.append(f"**Gate**\n\n{gate_table(now.verdicts)}")
    if old.signature and new.signature:
        parts.append(f"**Signature**\n\n{signature_changes(old.signature, new.signature)}")
        parts.append(f"**Dependencies**\n\n{dependency_changes(*found.packages)}")
    return parts


def _verdict(change: PlannedChange) -> list[str]:
    mark = {"success": "✅ Would be deployed.", "pending": "⏳", "failure": "❌ Would be refused:"}[change.state]
    said = [f"{mark} {text(change.why)}".strip()]
    if change.override:
        said.append(f"⚠️ An override waives gate and soak: {text(change.override)}")
    said += [f"⚠️ {text(entry.lifting)}" for entry in change.lifts]
    said += [f"⚠️ {text(remark)}" for remark in (change.outdated, *change.remarks) if remark]
    if change.soak is not None:
        said.append(_soak(change.soak))
    return said


def _soak(soak: Soak) -> str:
    where = text(soak.environment)
    if soak.done:
        return f"Soak: done, live in {where} for the required {duration(soak.seconds)}."
    if soak.since is None:
        return f"Soak: not started, not live in {where}."
    until = _time(soak.since + soak.seconds)
    return f"Soak: live in {where} since {_time(soak.since)}, required {duration(soak.seconds)}; done at {until}."


def _restart(change: PlannedChange) -> str:
    old, new = _version(change.old), _version(change.new)
    if change.state == "failure":
        return (
            f"{old} goes on serving; nothing would be started."
            if change.old is not None
            else "Nothing would be started."
        )
    if change.new is None:
        said = f"The server of {old} would stop, without a replacement."
    elif change.old is None:
        said = f"{new} would start on port {change.port}; nothing else restarts."
    elif change.old != change.new:
        said = (
            f"{new} would start beside {old} and take over port {change.port} once it is proven, "
            "without a refused request; nothing else restarts."
        )
    elif any(action.startswith("start ") for action in change.actions):
        said = f"The server of {new} would be replaced by one with the new settings, on port {change.port}."
    else:
        said = "Nothing would restart."
    if change.state != "success" or not change.actions:
        return said
    return f"{said}\n\n" + "\n".join(f"{place}. {code(action)}" for place, action in enumerate(change.actions, 1))


def _measured(side: VersionFacts, evidence: Evidence | None) -> Measured:
    """The metrics of its run; the gate's replace them, because it measured both versions on the same rows."""
    gated = {v.name: v.value for v in evidence.verdicts} if evidence else {}
    return Measured(side.version, {**side.metrics, **gated})


def _version(number: int | None) -> str:
    return "nothing" if number is None else f"v{number}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
