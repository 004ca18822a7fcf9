"""Which slots have to change their ports in one step, because each takes a port that another one has. Pure.

A port has one owner and a slot wants one port, so the moves form chains (the first one's new port is free) and
cycles. A chain that ends at a slot which keeps its port waits for that.
"""

from collections.abc import Mapping

from receiver.core.state import Slot


def exchanges(owners: Mapping[Slot, Slot | None]) -> list[frozenset[Slot]]:
    """The groups of two or more that move together. ``owners``: who has the port that each moving slot wants."""
    group: dict[Slot, set[Slot]] = {slot: {slot} for slot in owners if _can_move(slot, owners)}
    for slot, owner in owners.items():
        if slot in group and owner is not None and group[slot] is not group[owner]:
            group[owner] |= group[slot]
            for member in group[slot]:
                group[member] = group[owner]
    found = {frozenset(members) for members in group.values() if len(members) > 1}
    return sorted(found, key=min)


def given_twice(ports: Mapping[Slot, int]) -> str:
    """Which two slots would be given one port, so that nobody may move; empty: none would."""
    owners: dict[int, Slot] = {}
    for slot, port in ports.items():
        if (other := owners.setdefault(port, slot)) != slot:
            return f"port {port} would be given to {other} and to {slot} in one step: nobody moves"
    return ""


def _can_move(slot: Slot, owners: Mapping[Slot, Slot | None]) -> bool:
    passed: set[Slot] = set()
    at: Slot | None = slot
    while at is not None and at not in passed:
        if at not in owners:
            return False  # it stays where it is
        passed.add(at)
        at = owners[at]
    return True
