"""What the registry says, asked on a thread of its own: no turn of the controller waits for it."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from receiver.core.errors import PinrailError
from receiver.core.state import RegistryView
from receiver.ports import Registry

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0  # where it could not be asked
PATIENCE_SECONDS = 5.0  # a question that takes longer counts as unanswered until it is
STOP_SECONDS = 1.0

Wanted = Mapping[str, Collection[int]]


@dataclass(frozen=True, slots=True)
class RegistryAnswer:
    """What the registry said last, or why it did not."""

    views: Mapping[str, RegistryView | None] = field(default_factory=dict)
    down: str | None = None
    asked_at: float = 0.0  # monotonic, when the question was put; 0: it has not been asked yet

    def about(self, changed_at: Mapping[str, float]) -> dict[str, RegistryView | None]:
        """Without the models that we wrote to since the question was put."""
        return {model: view for model, view in self.views.items() if changed_at.get(model, 0.0) < self.asked_at}


class RegistryWatch:
    """Asks at each poll, after a failure, and when it is woken; one question at a time."""

    def __init__(self, registry: Registry, poll_seconds: float, changed: Callable[[], None]) -> None:
        self._registry = registry
        self._poll_seconds = poll_seconds
        self._changed = changed
        self._wanted: Wanted = {}
        self._answer = RegistryAnswer()
        self._asking_since: float | None = None
        self._woken = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="registry", daemon=True)

    def start(self) -> None:
        """Ask once it is known what for."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; a question that hangs is left behind."""
        self._stopped = True
        self._woken.set()
        self._thread.join(STOP_SECONDS)

    def want(self, wanted: Wanted) -> None:
        """What to ask for; something new is asked for at once."""
        if wanted != self._wanted:
            self._wanted = wanted
            self._woken.set()

    def wake(self) -> None:
        """Ask again."""
        self._woken.set()

    @property
    def answer(self) -> RegistryAnswer:
        """The last answer; one whose question hangs counts as none."""
        since, answer = self._asking_since, self._answer
        if since is not None and answer.down is None and time.monotonic() - since > PATIENCE_SECONDS:
            return RegistryAnswer({}, f"the registry has not answered for {PATIENCE_SECONDS:g} s", answer.asked_at)
        return answer

    def _run(self) -> None:
        while not self._stopped:
            again = self._poll_seconds if self._answer.down is None else min(RETRY_SECONDS, self._poll_seconds)
            self._woken.wait(again if self._wanted else None)
            self._woken.clear()
            if not self._stopped and self._wanted:
                self._ask(self._wanted)
                self._changed()

    def _ask(self, wanted: Wanted) -> None:
        asked_at = self._asking_since = time.monotonic()
        try:
            self._answer = RegistryAnswer(self._registry.observe(wanted), None, asked_at)
        except PinrailError as error:
            self._answer = RegistryAnswer({}, str(error), asked_at)
        except Exception as error:
            log.exception("a bug: the registry could not be asked")
            self._answer = RegistryAnswer({}, f"{type(error).__name__}: {error}", asked_at)
        finally:
            self._asking_since = None
