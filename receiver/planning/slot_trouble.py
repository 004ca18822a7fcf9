"""One slot's trouble stays in its slot: a bug is logged once, and the slot says it for as long as it lasts."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from receiver.core.errors import PinrailError, Retryable
from receiver.core.state import Slot
from receiver.planning.assess import Assessment, assess
from receiver.planning.observe import Observation
from receiver.services import Services

log = logging.getLogger(__name__)


def bug(error: Exception) -> str:
    """What a slot says of an error that no code raises on purpose."""
    return f"a bug in Pinrail: {type(error).__name__}: {error}"


class SlotTroubles:
    """What went wrong in each slot in this turn."""

    def __init__(self) -> None:
        self._before: dict[Slot, str] = {}
        self._now: dict[Slot, str] = {}

    def begin_turn(self) -> None:
        """Forget what has gone since."""
        self._before, self._now = self._now, {}

    @contextmanager
    def alone(self, slot: Slot) -> Iterator[None]:
        """See :data:`receiver.ports.Alone`. Retryable: the state file cannot be written, for any slot."""
        try:
            yield
        except Retryable:
            raise
        except Exception as error:  # noqa: BLE001 - it is logged there
            self._note(slot, error)

    def assess(self, services: Services, seen: Observation, slot: Slot) -> Assessment:
        """Assess a slot; where that fails, nothing is to be done about it, for the reason in ``retry``."""
        try:
            return assess(services, seen, slot)
        except Exception as error:  # noqa: BLE001 - it is logged there
            said = str(error) if isinstance(error, PinrailError) else self._note(slot, error)
        _, pin = seen.pin(slot)
        return Assessment(slot, pin.version if pin else None, seen.verified.get(slot), None, (), retry=said)

    def of(self, slot: Slot) -> str:
        """What went wrong there; empty: nothing."""
        return self._now.get(slot, "")

    def _note(self, slot: Slot, error: Exception) -> str:
        self._now[slot] = said = bug(error)
        if self._before.get(slot) != said:
            log.error("%s: %s", slot, said, exc_info=error)
        return said
