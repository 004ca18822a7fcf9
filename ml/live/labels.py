"""Labels, the answers that they are about, and what follows from both. Plain data."""

from dataclasses import dataclass
from typing import Any

from ml.errors import MlError

LONGEST = 500  # characters of an id or a label


@dataclass(frozen=True, slots=True)
class Label:
    """What a row of a request really was."""

    request_id: str
    row: int
    label: str

    @classmethod
    def read(cls, request_id: Any, row: Any, label: Any) -> "Label":
        """A label from plain values. ValueError: what was found, and what is allowed."""
        if not isinstance(request_id, str) or not 0 < len(request_id) <= LONGEST:
            found = repr(request_id)[:80]
            raise ValueError(f"found the request id {found}, allowed a text of up to {LONGEST} characters")
        if isinstance(label, bool):
            label = "true" if label else "false"
        if not isinstance(label, str | int | float) or len(str(label)) > LONGEST:
            raise ValueError(f"found the label {repr(label)[:80]}, allowed a text, a number, true or false")
        return cls(request_id, _row_number(row), str(label))


@dataclass(frozen=True, slots=True)
class RecordedAnswer:
    """What a version answered to a row."""

    request_id: str
    row: int
    environment: str
    version: int
    answered_at: float
    answer: str  # JSON
    classes: int  # that have a probability


@dataclass(frozen=True, slots=True)
class Received:
    """What became of the labels that were handed in together."""

    new: int = 0
    same: int = 0
    replaced: int = 0

    def __add__(self, other: "Received") -> "Received":
        return Received(self.new + other.new, self.same + other.same, self.replaced + other.replaced)


@dataclass(frozen=True, slots=True)
class Realised:
    """A metric of one version by the labels of what it answered in one environment. Published as it is."""

    environment: str
    model: str
    version: int
    metric: str
    """accuracy, or of a regression mae and rmse."""
    value: float | None
    """null: no label fits the answers."""
    low: float | None
    """The lower end of its 95 % interval."""
    high: float | None
    labels: int
    """How many labels it is of."""
    unfit: int
    """Labels that are left out: they cannot be compared with the answers, or their row was asked several times."""
    problem: str
    """Why some are; else empty."""
    gate: float | None = None
    """What the gate measured, if it is known."""
    least: float | None = None
    """What `policy.live` asks for; null: nothing."""
    outcome: str | None = None
    """PASS, FAIL or INCONCLUSIVE: whether labels say that it is so, at any time; of `policy.live`."""
    more: int | None = None
    """Where it is INCONCLUSIVE, about how many more labels decide it; null: more than can be said."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What labels say of a version against the limit of ``policy.live``."""

    environment: str
    model: str
    version: int
    metric: str
    least: float
    outcome: str
    more: int | None
    says: str  # the figures at that time, for people
    turn: int = 1  # how often the outcome changed


@dataclass(frozen=True, slots=True)
class Counts:
    """The labels of one model."""

    model: str
    joined: int
    """Labels whose answer is known."""
    unknown: int
    """Labels whose answer was not found in any inference log so far."""
    replaced: int
    """How often a label was replaced by another one."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What there is to do."""

    changed: bool
    """Labels are new, or judged in another state than they have now."""
    unknown: bool
    """The answer of some was not found so far."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows that one version answered in the same way, and that have the same label."""

    environment: str
    version: int
    classes: int
    """How many have a probability; 0: it came without."""
    again: bool
    """They were asked several times under one id."""
    answer: Any
    label: str
    count: int


class LabelsUnusable(MlError):  # noqa: N818 - it names what is wrong
    """The file with the labels is damaged, locked, or on a full disk."""


def _row_number(row: Any) -> int:
    try:
        number = float(row)
        if not number.is_integer() or not 0 <= number < 2**31:
            raise ValueError  # noqa: TRY301 - the same message
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"found the row number {repr(row)[:80]}, allowed a whole number from 0") from error
    return int(number)
