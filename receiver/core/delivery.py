"""A webhook delivery as it came in, and what was made of it. Plain data."""

from dataclasses import dataclass
from enum import StrEnum


class DeliveryKind(StrEnum):
    """What a verified delivery means for us."""

    ACCEPTED = "accepted"  # a reason to fetch the branch
    IGNORED = "ignored"  # recorded, and nothing follows from it
    MALFORMED = "malformed"  # signed, but not what its sender's documentation describes


@dataclass(frozen=True, slots=True)
class Classification:
    """What a delivery means, and why, for a person."""

    kind: DeliveryKind
    note: str
    warning: str = ""  # what the operator should look into


@dataclass(frozen=True, slots=True)
class Delivery:
    """A verified delivery with the raw bytes that were signed."""

    id: str  # the sender's own, the same when it is delivered again
    sender: str  # github | mlflow
    event: str
    body: bytes
    verdict: Classification
    cause: str  # of the job that it asks for
