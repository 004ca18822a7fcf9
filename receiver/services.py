"""Everything that the flow depends on, in one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from receiver.ports import Journal, Outbox, Prober, Registry, Source, Target


@dataclass(frozen=True, slots=True)
class Services:
    """The outside world, as built by ``wiring.py``, and how to treat it."""

    source: Source
    registry: Registry
    target: Target
    prober: Prober
    journal: Journal
    outbox: Outbox
    stabilise_seconds: float
    heal: bool
    host: str = "127.0.0.1"  # where model servers answer
    own_ports: Mapping[int, str] = field(default_factory=dict)  # of the receiver, each with its setting's name
