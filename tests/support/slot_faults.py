"""Errors in one slot's calls to the outside: whatever a Protocol in ``receiver/ports.py`` names is wrapped.

A call is a slot's own if its thread works for that slot, or if what it is asked about is that slot and no other.
"""

import inspect
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any

from receiver import ports
from receiver.core.state import Slot
from receiver.services import Services

PORTS: Mapping[str, type] = {
    "source": ports.Source,
    "registry": ports.Registry,
    "target": ports.Target,
    "prober": ports.Prober,
    "journal": ports.Journal,
    "outbox": ports.Outbox,
}

Call = tuple[str, str]  # port, method
MESSAGE = "tried in a test"


def methods(port: str) -> list[str]:
    """What the port's Protocol names."""
    return [name for name, _ in inspect.getmembers(PORTS[port], inspect.isfunction) if not name.startswith("_")]


@dataclass
class SlotFaults:
    """Notes which calls are a slot's own, and raises ``error`` at those of ``failing``."""

    victim: Slot
    others: Collection[Slot]
    failing: Call | None
    error: type[Exception]
    seen: set[Call] = field(default_factory=set)
    raised: int = 0

    def around(self, services: Services) -> Services:
        """The same services, each port wrapped."""
        return replace(services, **{port: _Wrapped(self, port, getattr(services, port)) for port in PORTS})

    def call(self, call: Call, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if self._is_own([*arguments, *named.values()]):
            self.seen.add(call)
            if call == self.failing:
                self.raised += 1
                raise self.error(MESSAGE)
        return method(*arguments, **named)

    def _is_own(self, arguments: list[Any]) -> bool:
        if threading.current_thread().name == str(self.victim):
            return True
        about: set[object] = set()
        for argument in arguments:
            _collect(argument, about)
        own: set[object] = {self.victim, self.victim.model}
        foreign = {each for other in self.others for each in (other, other.model)} - own
        return bool(about & own) and not about & foreign


class _Wrapped:
    """One port."""

    def __init__(self, faults: SlotFaults, port: str, real: Any) -> None:
        self._faults, self._port, self._real = faults, port, real

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        return partial(self._faults.call, (self._port, name), found) if name in methods(self._port) else found


def _collect(value: Any, found: set[object]) -> None:
    if isinstance(value, str | Slot):
        found.add(value)
    elif isinstance(value, Mapping):
        for each in [*value.keys(), *value.values()]:
            _collect(each, found)
    elif is_dataclass(value) and not isinstance(value, type):
        with suppress(AttributeError):
            found.add(Slot(value.environment, value.model))  # type: ignore[attr-defined]
        for each in fields(value):
            _collect(getattr(value, each.name), found)
    elif isinstance(value, Collection) and not isinstance(value, bytes):
        for each in value:
            _collect(each, found)
