"""``schema``: how many changes of the signature break those who call the version that is live now."""

import math
from collections.abc import Sequence

from ml.environment.gate_schema import Threshold
from ml.evidence import CheckOutcome, Verdict
from ml.gates.judge import judge
from ml.gates.subject import Subject
from serving.model.model_dir import Column

# What was a valid value of the one type is a valid value of each of these.
WIDER = {
    "integer": {"long", "float", "double"},
    "long": {"double"},
    "float": {"double"},
}


def check(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Name, field by field, what callers of the champion send or read that this version takes or gives no more."""
    champion = subject.champion
    if champion is None:
        says = f"{len(subject.columns)} fields, and no version is live here whose callers could break"
        return [judge("schema", 0, limit, says)]
    if not champion.columns:
        return [
            Verdict(
                "schema", CheckOutcome.INCONCLUSIVE, math.nan, "not known to be <=", limit.max or 0.0, champion.silent
            )
        ]
    broken = breaks(champion.columns, subject.columns)
    if champion.outputs != subject.outputs:
        broken.append(f"answers were {champion.outputs or 'undescribed'}, now {subject.outputs or 'undescribed'}")
    says = "; ".join(broken) or f"whoever calls {champion.name} can call this version"
    return [judge("schema", len(broken), limit, says)]


def breaks(before: Sequence[Column], after: Sequence[Column]) -> list[str]:
    """Say each change of the inputs that refuses a request which was fine before. Pure."""
    old, new = {c.name: c for c in before}, {c.name: c for c in after}
    found = [f"field {name} is gone, and fields that are not known are refused" for name in old if name not in new]
    for name, column in new.items():
        if name not in old:
            if column.required:
                found.append(f"field {name} is new and required")
            continue
        was = old[name]
        if column.type != was.type and column.type not in WIDER.get(was.type, ()):
            found.append(f"field {name} was {was.type}, now {column.type}")
        if column.required and not was.required:
            found.append(f"field {name} could be missing, and now is required")
    if not found and [c.name for c in after if c.name in old] != list(old):
        found.append("fields stand in another order, which rows without names rely on")
    return found
