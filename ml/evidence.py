"""What the gate measured for one version, bound to what it measured it on. Pure: no registry, no files.

Evidence counts only while all three of its digests still hold: the model's artifacts, the evaluation data and the
gate's configuration. ``receiver/core/policy.py`` recomputes the first and the last and never trusts a tag for them.
Who measured is in ``ml/evidence_key.py``.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any

# What JSON may hold where a record has a field of that type.
PLAIN: Mapping[Any, Any] = {str: str, int: int, float: (int, float)}


LONGEST = 2000  # characters of a reason
LARGEST = 1e300  # of a number; beyond a float's range nothing can be compared or shown
LONGEST_TEXT = 4 << 20  # characters of a record; as a file, see serving/model/small_files.py
LAST_SECOND = 253_402_300_799  # of the year 9999, the last that a date can be in


class CheckOutcome(StrEnum):
    """What a check says."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check's answer: ``outcome: name=value op threshold``."""

    name: str  # the check, or "check.detail" where one check gives several answers
    outcome: CheckOutcome
    value: float
    op: str  # the relation that holds between value and threshold, e.g. ">=" on a pass, "<" on a fail
    threshold: float
    reason: str = ""  # plain language, for a person

    def __post_init__(self) -> None:
        """Replace what is not printable and cut what is long: reasons quote rows and models, and are shown."""
        for name in ("name", "op", "reason"):
            text = getattr(self, name)
            if len(text) > LONGEST:
                text = f"{text[:LONGEST]} ..."
                object.__setattr__(self, name, text)
            if not text.isprintable():
                object.__setattr__(self, name, "".join(c if c.isprintable() else " " for c in text))

    def __str__(self) -> str:
        return f"{self.outcome}: {self.name}={round_beside(self.value, self.threshold)} {self.op} {self.threshold:g}"


def round_beside(value: float, threshold: float) -> str:
    """Round to four digits, or to as many as it takes to be on the same side of the threshold as the value."""
    texts = (f"{value:.{digits}g}" for digits in (4, 6, 9))
    same_side = (
        t for t in texts if (float(t) > threshold, float(t) < threshold) == (value > threshold, value < threshold)
    )
    return next(same_side, repr(value))


@dataclass(frozen=True, slots=True)
class Evidence:
    """The verdicts of one gate run for one (model, version, environment)."""

    model: str
    version: int
    environment: str
    model_digest: str  # sha256:<hex>, see serving/model/digest.py
    data_digest: str  # sha256:<hex> of the evaluation rows
    gate_digest: str  # of the environment's gate section, see gate_digest()
    verdicts: Sequence[Verdict]
    measured_at: float  # seconds since the epoch
    rows: int = 0  # evaluation rows; 0: recorded before they were counted
    registered: int = 0  # when the registry says that the version was registered, in milliseconds
    report: str = ""  # sha256:<hex> of the report as a page; empty: there is none, or it was recorded before
    champion: int = 0  # the version that was live in the environment; 0: none, or none was recorded
    key: str = ""  # the public key of who measured; see ml/evidence_key.py
    signature: str = ""

    @property
    def passed(self) -> bool:
        """Every check of the gate says PASS, and there is at least one."""
        return bool(self.verdicts) and all(v.outcome is CheckOutcome.PASS for v in self.verdicts)

    @property
    def outcome(self) -> CheckOutcome:
        """FAIL if any check fails, else INCONCLUSIVE if any can't tell, else PASS."""
        said = {v.outcome for v in self.verdicts}
        return next((o for o in (CheckOutcome.FAIL, CheckOutcome.INCONCLUSIVE) if o in said), CheckOutcome.PASS)

    def to_json(self) -> str:
        """The form that the registry keeps."""
        raw = asdict(self)
        for verdict in raw["verdicts"]:
            if not math.isfinite(verdict["value"]):
                verdict["value"] = None  # JSON has no name for what is not a number
        return json.dumps(raw, indent=2, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Evidence":
        """Read what :meth:`to_json` wrote. ValueError: not evidence, with what is wrong."""
        if len(text) > LONGEST_TEXT:
            raise ValueError(f"this is no evidence record: it has {len(text):,} characters")
        try:
            raw: dict[str, Any] = json.loads(text)
            _require_known(raw)
            verdicts = tuple(_verdict(verdict) for verdict in raw.pop("verdicts"))
            return _of_plain_types(cls(verdicts=verdicts, **raw))
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ValueError(f"this is no evidence record: {error}") from error


def _require_known(raw: Mapping[str, Any]) -> None:
    unknown = sorted(set(raw) - {field.name for field in fields(Evidence)})
    if unknown:
        raise TypeError(f"this Pinrail does not know {', '.join(unknown)[:200]}: upgrade it, if it is older")


def _of_plain_types(evidence: Evidence) -> Evidence:
    records: list[Evidence | Verdict] = [evidence, *evidence.verdicts]
    for record in records:
        for field in fields(record):
            wanted, value = PLAIN.get(field.type), getattr(record, field.name)
            if wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
                raise TypeError(f"{field.name} is {value!r:.80}")
            if wanted in {int, (int, float)} and not _in_range(value, field.name):
                raise TypeError(f"{field.name} is out of range")
    return evidence


def _in_range(value: float, name: str) -> bool:
    """Whether a number can be compared and shown. A value may be no number, for a check may find none."""
    if name in {"version", "rows", "registered", "measured_at", "champion"}:
        return 0 <= value <= (LAST_SECOND if name == "measured_at" else 2**63 - 1)
    return -LARGEST <= value <= LARGEST or (name == "value" and value != value)  # noqa: PLR0124 - not a number


def _verdict(raw: Mapping[str, Any]) -> Verdict:
    value = math.nan if raw["value"] is None else raw["value"]
    return Verdict(**{**raw, "outcome": CheckOutcome(raw["outcome"]), "value": value})


def gate_digest(gate: Mapping[str, Any]) -> str:
    """Digest a gate's configuration; order of keys and ``1`` against ``1.0`` do not matter.

    Checks are dataclasses (as the environment file is read) or the plain mappings that they stand for.
    """

    def canonical(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            value = {k: v for k, v in asdict(value).items() if v is not None}
        if isinstance(value, Mapping):
            return {str(k): canonical(v) for k, v in value.items()}
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        return value

    return "sha256:" + hashlib.sha256(json.dumps(canonical(gate), sort_keys=True).encode()).hexdigest()
