"""The body of a pull request that changes a pin: metrics, signature, gate evidence and lineage. Pure."""

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
    folded,
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
    """What is known about the two versions of one pin change."""

    slot: Slot
    old: VersionFacts  # pinned now
    new: VersionFacts
    evidence: Evidence | None = None
    notes: Sequence[str] = ()  # what to know before merging: a wait, an override, an earlier failure


def promotion_body(comparison: VersionComparison) -> str:
    """The body of the pull request that promotes."""
    return _page(
        f"Merging this promotes {_version(comparison)} to **{text(comparison.slot.environment)}**"
        f" (now: v{comparison.old.version}). The receiver starts it beside the live version, checks it, switches the"
        " traffic and watches it; if it fails, the receiver rolls back.",
        _notes(comparison.notes),
        *_comparison(comparison),
    )


def labels_body(comparison: VersionComparison, reason: str) -> str:
    """The body of a rollback pull request for a version that its labels have found out."""
    return _page(
        f"Merging this pins {_version(comparison)} in **{text(comparison.slot.environment)}** again, in place of"
        f" v{comparison.old.version}, which serves until then.",
        f"**Why**: {text(reason)}",
        "Decided by a test that may be read after every label, and is wrong about at most 5 of 100 versions. It takes"
        " the labels as they came: where only some answers get one, ask which.",
        _notes(comparison.notes),
        *_comparison(comparison),
    )


def rollback_body(comparison: VersionComparison, reason: str) -> str:
    """The body of a rollback pull request; ``reason`` may end with the last log lines of a model server."""
    summary, _, log_tail = reason.partition("\n")
    return _page(
        f"Merging this pins {_version(comparison)} in **{text(comparison.slot.environment)}** again, in place of"
        f" v{comparison.old.version}.",
        f"**Why**: {text(summary)}" if summary else "",
        f"The model server's last log lines:\n\n{block(log_tail)}" if log_tail.strip() else "",
        f"v{comparison.old.version} is not tried again until this or another commit is merged, or until `pinrail"
        " retry ENVIRONMENT MODEL` is run."
        if summary
        else "",
        _notes(comparison.notes),
        *_comparison(comparison),
    )


def lineage_table(old: VersionFacts, new: VersionFacts) -> str:
    """The lineage of both versions, side by side."""
    names = list(dict.fromkeys([*new.lineage, *old.lineage]))
    if not names:
        return "The registry has no lineage for these versions."

    def cell(side: VersionFacts, name: str) -> str:
        return code(side.lineage[name]) if name in side.lineage else "-"

    def rows(some: Sequence[str]) -> str:
        header = ["", f"v{old.version}" if old.version is not None else "nothing", f"v{new.version}"]
        return table(header, [[text(name), cell(old, name), cell(new, name)] for name in some])

    long = [name for name in names if any(_is_digest(side.lineage.get(name, "")) for side in (old, new))]
    short = [name for name in names if name not in long]
    return "\n\n".join([*([rows(short)] if short else []), *([folded("Digests", rows(long))] if long else [])])


def _is_digest(value: str) -> bool:
    return value.startswith("sha256:")


def _comparison(comparison: VersionComparison) -> list[str]:
    old, new = comparison.old, comparison.new
    unknown = [f"v{side.version}: {side.unknown}" for side in (old, new) if side.unknown]
    return [
        "### Metrics",
        metrics_table(Measured(old.version, old.metrics), Measured(new.version, new.metrics)),
        "### Signature",
        signature_changes(old.signature, new.signature)
        if old.signature and new.signature
        else "Not known for both versions.",
        "### Gate",
        _gate(comparison),
        "### Where they come from",
        lineage_table(old, new),
        _notes(unknown),
    ]


def _gate(comparison: VersionComparison) -> str:
    evidence = comparison.evidence
    if evidence is None:
        return f"No evidence is recorded for {text(comparison.slot.environment)}."
    when = datetime.fromtimestamp(evidence.measured_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    signed = f"signed by {code(evidence.key)}" if evidence.signature else "not signed"
    bound = f"Artifacts {code(evidence.model_digest)}, rows {code(evidence.data_digest)}, {signed}."
    said = f"Measured {when}{'' if evidence.signature else ', not signed'}."
    return f"{gate_table(evidence.verdicts)}\n\n{said}\n\n{folded('What it is bound to', bound)}"


def _notes(notes: Sequence[str]) -> str:
    return "\n>\n".join(f"> {text(note)}" for note in notes)


def _version(comparison: VersionComparison) -> str:
    return f"**{text(comparison.slot.model)} v{comparison.new.version}**"


def _page(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part) + "\n"
