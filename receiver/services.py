"""Everything that the flow depends on, in one frozen value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ml.environment.file import Environment
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
    # Why a model that serves has the receiver's rights; empty: it has fewer.
    unconfined: Callable[[], str] = lambda: "nothing confines it"
    evidence_key: str | None = ""  # the receiver's public key; None: not known on this machine; "": it has none

    def trusted(self, environment: Environment) -> tuple[str, ...] | None:
        """Whose evidence counts there: the keys that its policy names, else the receiver's own.

        None: the receiver's, which this machine does not know.
        """
        if environment.evidence_keys or self.evidence_key:
            return environment.evidence_keys or (self.evidence_key or "",)
        return None if self.evidence_key is None else ()
