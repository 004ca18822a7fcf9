"""What a pull request that changes a pin says: what changes for whom, why it may be merged, whence it comes. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ml.evidence import Evidence
from receiver.core.state import Slot
from receiver.pull_requests.markdown import (
    Measured,
    Signature,
    block,
    code,
    gate_table,
    metrics_table,
    signature_changes,
    table,
    text,
)


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """One version, as the registry knows it. ``unknown``: why the rest is empty."""

    version: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    signature: Signature | None = None
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """Everything that speaks for or against one change of a pin."""

    slot: Slot
    old: VersionFacts  # pinned now
    new: VersionFacts
    evidence: Evidence | None = None
    notes: Sequence[str] = ()  # what to know before merging: a wait, an override, an earlier failure


def promotion_body(case: VersionComparison) -> str:
    """The body of the pull request that promotes."""
    return _page(
        f"Merging this promotes {_version(case)} to **{text(case.slot.environment)}**"
        f" (now: v{case.old.version}). The receiver starts it beside the one that serves, proves it, gives it the"
        " traffic and watches it; where it does not hold, everything is put back.",
        _notes(case.notes),
        *_comparison(case),
    )


def rollback_body(case: VersionComparison, reason: str) -> str:
    """The body of the pull request that goes back; ``reason`` may hold the last words of a model server."""
    said, _, words = reason.partition("\n")
    return _page(
        f"Merging this pins {_version(case)} in **{text(case.slot.environment)}** again, in place of"
        f" v{case.old.version}.",
        f"**Why**: {text(said)}" if said else "",
        f"The model server's last words:\n\n{block(words)}" if words.strip() else "",
        f"v{case.old.version} is not tried again before this, or any other commit, is merged; `pinrail retry"
        " ENVIRONMENT MODEL` tries it sooner."
        if said
        else "",
        _notes(case.notes),
        *_comparison(case),
    )


def lineage_table(old: VersionFacts, new: VersionFacts) -> str:
    """Where both versions come from, line by line."""
    names = list(dict.fromkeys([*new.lineage, *old.lineage]))
    if not names:
        return "The registry says nothing of what made these versions."

    def cell(side: VersionFacts, name: str) -> str:
        return code(side.lineage[name]) if name in side.lineage else "-"

    rows = [[text(name), cell(old, name), cell(new, name)] for name in names]
    return table(["", f"v{old.version}" if old.version is not None else "nothing", f"v{new.version}"], rows)


def _comparison(case: VersionComparison) -> list[str]:
    old, new = case.old, case.new
    unknown = [f"v{side.version}: {side.unknown}" for side in (old, new) if side.unknown]
    return [
        "### Metrics",
        metrics_table(Measured(old.version, old.metrics), Measured(new.version, new.metrics)),
        "### Signature",
        signature_changes(old.signature, new.signature) if old.signature and new.signature else "Not known of both.",
        "### Gate",
        _gate(case),
        "### Where they come from",
        lineage_table(old, new),
        _notes(unknown),
    ]


def _gate(case: VersionComparison) -> str:
    evidence = case.evidence
    if evidence is None:
        return f"No evidence is recorded for {text(case.slot.environment)}."
    when = datetime.fromtimestamp(evidence.measured_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    bound = f"Measured {when}, artifacts {code(evidence.model_digest)}, rows {code(evidence.data_digest)}."
    return f"{gate_table(evidence.verdicts)}\n\n{bound}"


def _notes(notes: Sequence[str]) -> str:
    return "\n>\n".join(f"> {text(note)}" for note in notes)


def _version(case: VersionComparison) -> str:
    return f"**{text(case.slot.model)} v{case.new.version}**"


def _page(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
