"""Ports that pass from one slot's front door to another's, in one step for several slots.

Front doors may share a port. So the new ones are opened first, which takes seconds, and send their port's traffic
where it goes now. What changes it is an order to each, which takes milliseconds.
"""

import contextlib
from collections.abc import Sequence

from receiver.core.errors import PinrailError, Rejected
from receiver.core.port_moves import given_twice
from receiver.targets.compose import containers as discovery
from receiver.targets.compose.backends import BackendPair
from receiver.targets.compose.containers import ContainerDiscovery, ContainerGroup, FrontContainer
from receiver.targets.compose.proxy import FrontDoors


def exchange_ports(doors: FrontDoors, found: ContainerDiscovery, moving: Sequence[ContainerGroup]) -> None:
    """Give each of these servers, one per slot, its public port. PinrailError: nobody has moved.

    Front doors of slots that take no part are left alone, whatever happens: their own tasks change them meanwhile.
    """
    ports = {server.spec.slot: server.spec.port for server in moving}
    if why := given_twice(ports):
        raise Rejected(why)
    answering = {f.id: pair for f in found.fronts if f.running and (pair := discovery.backends_of(doors.place, f))}
    fronts = [front for front in found.fronts if front.id in answering]
    stays = next((front for front in fronts if front.port in ports.values() and front.slot not in ports), None)
    if stays is not None:
        raise Rejected(
            f"port {stays.port} on {doors.place.host} is taken by {stays.slot}: wait until that has moved."
        )
    opened: list[ContainerGroup] = []
    try:
        for server in moving:
            here = [front for front in fronts if front.port == server.spec.port]
            if all(front.slot != server.spec.slot for front in here):
                opened.append(server)
                _open(doors, server, answering[here[0].id] if here else None)
        _change_over(doors, moving)
    except PinrailError:
        _turn_back(doors, [(front, answering[front.id]) for front in fronts if front.slot in ports], opened)
        raise
    for front in found.fronts:
        if ports.get(front.slot, front.port) != front.port:
            doors.close(front)


def _open(doors: FrontDoors, server: ContainerGroup, now: BackendPair | None) -> None:
    if now is None:
        doors.open(server.spec, BackendPair((server.addresses, server.addresses), "one"))
    else:
        doors.open_beside(server.spec, BackendPair((now.live, now.live), "one"))


def _turn_back(
    doors: FrontDoors, before: Sequence[tuple[FrontContainer, BackendPair]], opened: Sequence[ContainerGroup]
) -> None:
    """Have traffic go where it went. A front door that takes no orders may send it elsewhere, so it is removed."""
    for front, pair in before:
        try:
            doors.switch_backends(front, pair)
        except PinrailError:
            with contextlib.suppress(PinrailError):
                doors.remove(front)
    with contextlib.suppress(PinrailError):
        for front in _fronts(doors, opened):
            doors.remove(front)


def _change_over(doors: FrontDoors, moving: Sequence[ContainerGroup]) -> None:
    """Who had a slot's traffic steps in for its new server, and nobody else's server does."""
    found = discovery.discover(doors.docker, doors.place.owner)
    answering = [(f, pair) for f in found.fronts if f.running and (pair := discovery.backends_of(doors.place, f))]
    for server in moving:
        slot = server.spec.slot
        running = {container.address for container in found.of(slot).servers if container.running}
        had = [pair.live for front, pair in answering if front.slot == slot and running & set(pair.live)]
        standby = next((live for live in had if not set(live) & set(server.addresses)), server.addresses)
        for front, now in answering:
            if front.port == server.spec.port:
                doors.switch_backends(front, now.switched_to(server.addresses).with_standby(standby))


def _fronts(doors: FrontDoors, opened: Sequence[ContainerGroup]) -> list[FrontContainer]:
    wanted = {(server.spec.slot, server.spec.port) for server in opened}
    found = discovery.discover(doors.docker, doors.place.owner)
    return [front for front in found.fronts if (front.slot, front.port) in wanted]
