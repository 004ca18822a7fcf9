"""``schema``: how many changes of the signature break callers of the live version."""

import math
from collections.abc import Sequence

from ml.environment.gate_schema import Threshold
from ml.evidence import CheckOutcome, Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject
from serving.model.model_dir import Column

# Every valid value of the key type is valid for these types.
WIDER = {
    "integer": {"long", "float", "double"},
    "long": {"double"},
    "float": {"double"},
}


def check(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """List, per field, what callers of the champion send or read that this version no longer supports."""
    champion = subject.champion
    if champion is None:
        says = f"{len(subject.columns)} fields, and no version is live here whose callers could break"
        return [judge("schema", 0, limit, says)]
    if not champion.columns:
        return [
            Verdict(
                "schema",
                CheckOutcome.INCONCLUSIVE,
                math.nan,
                "not known to be <=",
                limit.max or 0.0,
                champion.unanswered,
            )
        ]
    broken = breaks(champion.columns, subject.columns)
    if champion.outputs != subject.outputs:
        broken.append(f"answers were {champion.outputs or 'undescribed'}, now {subject.outputs or 'undescribed'}")
    says = "; ".join(broken) or f"callers of {champion.name} can call this version"
    return [judge("schema", len(broken), limit, says)]


def breaks(before: Sequence[Column], after: Sequence[Column]) -> list[str]:
    """List the input changes that make a previously valid request invalid. Pure."""
    old, new = {c.name: c for c in before}, {c.name: c for c in after}
    found = [f"field {name} was removed, and unknown fields are refused" for name in old if name not in new]
    for name, column in new.items():
        if name not in old:
            if column.required:
                found.append(f"field {name} is new and required")
            continue
        was = old[name]
        if column.type != was.type and column.type not in WIDER.get(was.type, ()):
            found.append(f"field {name} was {was.type}, now {column.type}")
        if column.required and not was.required:
            found.append(f"field {name} was optional, and is now required")
    if not found and [c.name for c in after if c.name in old] != list(old):
        found.append("the fields are in another order, which matters to requests without field names")
    return found
