"""What commands that only show something observe: in a few seconds, also where git or the registry hangs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from receiver.adapters.time_limit import time_limit
from receiver.core.errors import Rejected, Retryable
from receiver.core.state import Server
from receiver.planning.observe import Observation, observe_at
from receiver.ports import Registry, Snapshot, Target
from receiver.services import Services
from serving.model.deadline import begin

ASK_SECONDS = 5.0  # for git, and for each question to the registry


@dataclass(frozen=True, slots=True)
class Observed:
    """What was observed, and why it is not for the pins at the branch head; empty: it is."""

    services: Services  # those that were asked: they answer soon, or not at all
    seen: Observation
    stale: str


def observe_soon(services: Services, *, invalid: bool = False) -> Observed:
    """Observe every slot for the pins at the branch head or, where those cannot be had, for the last valid ones.

    ``invalid``: also where those are not valid, else they are Rejected. Git has all its time where no receiver has
    read any pins yet. PinrailError: nothing can be observed.
    """
    registry, target = _Impatient(services.registry), _AskedEarly(services.target)
    impatient = replace(services, registry=cast("Registry", registry), target=cast("Target", target))
    last_valid = services.journal.remembered_pins()
    try:
        snapshot = services.source.snapshot() if last_valid is None else _soon(services.source.snapshot)
        return Observed(impatient, observe_at(impatient, snapshot), snapshot.stale or "")
    except (Rejected, Retryable) as error:
        if last_valid is None or (isinstance(error, Rejected) and not invalid):
            raise
        return Observed(impatient, observe_at(impatient, last_valid), str(error))


def _soon(call: Callable[[], Snapshot]) -> Snapshot:
    with time_limit(ASK_SECONDS):
        return call()


class _Impatient:
    """The registry; an answer has a few seconds to come, and after one that did not, nothing is asked any more."""

    def __init__(self, real: Registry) -> None:
        self._real = real
        self._silent: Retryable | None = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def ask(*arguments: object) -> Any:
            if self._silent is not None:
                raise Retryable(str(self._silent))
            try:
                with time_limit(ASK_SECONDS):
                    return method(*arguments)
            except Retryable as error:
                self._silent = error
                raise

        return ask


class _AskedEarly:
    """The target, whose servers are observed while git is asked."""

    def __init__(self, real: Target) -> None:
        self._real = real
        self._observed = begin(real.observe, "observe-servers")

    def observe(self) -> Sequence[Server]:
        return self._observed.result()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)
