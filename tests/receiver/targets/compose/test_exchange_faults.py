"""The way back of an exchange of ports that fails: it turns back the doors of its own slots, and no others."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from receiver.core.errors import PinrailError, Rejected, Retryable
from receiver.core.state import ServerSpec, Slot
from receiver.targets.compose import containers
from receiver.targets.compose.backends import BackendPair
from receiver.targets.compose.containers import ContainerDiscovery, FrontContainer, ServerContainer, grouped
from receiver.targets.compose.exchange import exchange_ports
from receiver.targets.compose.proxy import FrontDoors

A, B, C = Slot("staging", "a"), Slot("staging", "b"), Slot("production", "c")


def server(slot: Slot, version: int, port: int, address: str) -> ServerContainer:
    spec = ServerSpec(slot, version, "sha256:0", None, port, "c" * 40)
    name = f"{slot.model}-v{version}"
    return ServerContainer(name, f"v{version}", f"p-{slot.model}", spec, "running", address, name)


class Doors:
    """Front doors in memory, as ``FrontDoors`` orders them; a deaf one takes no orders."""

    def __init__(self) -> None:
        self.place, self.docker = SimpleNamespace(owner="x", host="127.0.0.1"), None
        self.servers = [
            *(server(A, 1, 1, "a1"), server(B, 1, 2, "b1"), server(C, 1, 3, "c1")),
            *(server(A, 2, 2, "a2"), server(B, 2, 1, "b2"), server(C, 2, 3, "c2")),
        ]
        self.fronts: dict[str, FrontContainer] = {}
        self.pairs: dict[str, BackendPair] = {}
        self.deaf: dict[str, PinrailError] = {}
        self.on_open: Callable[[], None] = lambda: None
        for container in self.servers[:3]:
            self._add(container.spec, BackendPair(((container.address,), (container.address,)), "one"))

    def _add(self, spec: ServerSpec, pair: BackendPair) -> None:
        name = f"{spec.slot.model}-{spec.port}"
        self.fronts[name] = FrontContainer(name, name, f"p-{spec.slot.model}", spec.slot, spec.port, True, "made")
        self.pairs[name] = pair

    def switch_backends(self, front: FrontContainer, pair: BackendPair) -> None:
        if front.id in self.deaf:
            raise self.deaf[front.id]
        self.pairs[front.id] = pair

    def open(self, spec: ServerSpec, pair: BackendPair) -> None:
        self.on_open()
        self._add(spec, pair)

    def open_beside(self, spec: ServerSpec, pair: BackendPair) -> None:
        self.open(spec, pair)

    def remove(self, front: FrontContainer) -> None:
        self.fronts.pop(front.id, None)
        self.pairs.pop(front.id, None)

    def close(self, front: FrontContainer) -> None:
        self.remove(front)

    def found(self) -> ContainerDiscovery:
        return ContainerDiscovery(list(self.servers), list(self.fronts.values()))

    def exchange(self) -> None:
        """Give A and B each other's ports."""
        exchange_ports(cast("FrontDoors", self), self.found(), grouped(self.servers[3:5]))

    def live(self) -> dict[str, str]:
        return {name: pair.live[0] for name, pair in self.pairs.items()}


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    doors = Doors()

    def backends_of(_: Any, front: FrontContainer) -> BackendPair | None:
        return doors.pairs.get(front.id)

    monkeypatch.setattr(containers, "discover", lambda *_: doors.found())
    monkeypatch.setattr(containers, "backends_of", backends_of)
    return doors


def test_the_ports_change_hands(doors: Doors) -> None:
    doors.exchange()
    assert doors.live() == {"c-3": "c1", "a-2": "a2", "b-1": "b2"}


def test_a_slot_that_switched_meanwhile_is_not_turned_back(doors: Doors) -> None:
    def switch_another() -> None:
        doors.pairs["c-3"] = doors.pairs["c-3"].switched_to(("c2",))
        if "a-2" in doors.fronts:
            raise Rejected("it did not open within 15 s")

    doors.on_open = switch_another
    with pytest.raises(Rejected, match="did not open"):
        doors.exchange()
    assert doors.live() == {"a-1": "a1", "b-2": "b1", "c-3": "c2"}


@pytest.mark.parametrize("error", [Rejected("it takes no orders"), Retryable("the engine does not answer")])
def test_a_door_that_takes_no_orders_is_closed_and_the_others_are_turned_back(
    doors: Doors, error: PinrailError
) -> None:
    doors.deaf["a-1"] = error
    with pytest.raises(PinrailError, match=str(error)):
        doors.exchange()
    assert doors.live() == {"b-2": "b1", "c-3": "c1"}
