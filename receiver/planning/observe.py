"""Observing without changing anything: what git pins, what the registry says, which servers run.

``assess.py`` decides what is to be done about it; ``reconcile.py`` does it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ml.environment.file import Environment, Pin
from receiver.core.deployment import Verified
from receiver.core.errors import InvalidPins, Rejected, Retryable
from receiver.core.pins import Desired, read_pins
from receiver.core.plan import EnvironmentSlot, World
from receiver.core.quarantine import Freeze, Quarantine, terms_of
from receiver.core.state import RegistryView, Role, Server, Slot
from receiver.ports import Snapshot
from receiver.services import Services


@dataclass(frozen=True, slots=True)
class Observation:
    """Git, registry and servers at one moment, and our own record of what was verified."""

    snapshot: Snapshot
    desired: Desired
    servers: Sequence[Server]
    registry: Mapping[str, RegistryView | None]  # None: not registered; left out: not asked for yet
    registry_down: str | None  # why the registry could not be read
    verified: dict[Slot, Verified]
    quarantined: Sequence[Quarantine]
    frozen: Sequence[Freeze] = ()
    claimed: Mapping[Slot, int | None] = field(default_factory=dict)  # what is being deployed in other slots

    def slots(self) -> list[Slot]:
        """Every slot that is pinned, running or verified; lower environments first."""
        order = {environment.name: place for place, environment in enumerate(self.desired.environments)}
        pinned = {Slot(e.name, model) for e in self.desired.environments for model in e.models}
        running = {server.spec.slot for server in self.servers}
        kept = {slot for slot, verified in self.verified.items() if verified.version is not None}
        return sorted(pinned | running | kept, key=lambda slot: (order.get(slot.environment, len(order)), slot))

    def pin(self, slot: Slot) -> tuple[Environment | None, Pin | None]:
        """The environment and the pin of a slot, each None where git has none."""
        environment = next((e for e in self.desired.environments if e.name == slot.environment), None)
        return environment, environment.models.get(slot.model) if environment else None

    def held(self, slot: Slot) -> list[Quarantine]:
        """What holds in a slot, as it is pinned now; newest first."""
        entries = [entry for entry in self.quarantined if entry.slot == slot]
        environment, pin = self.pin(slot)
        if not entries or environment is None or pin is None:
            return []
        terms = terms_of(environment, pin)
        return [entry for entry in entries if entry.holds(pin.version, terms)]

    def freeze(self, slot: Slot) -> Freeze | None:
        """The hold of a person that lets nothing new be deployed in a slot."""
        return next((freeze for freeze in self.frozen if freeze.covers(slot)), None)

    def lifted(self, slot: Slot) -> list[Quarantine]:
        """What is in quarantine in a slot, and holds nothing as it is pinned here."""
        held = self.held(slot)
        return [q for q in self.quarantined if q.slot == slot and q not in held]

    def words_of_port(self, slot: Slot, port: int) -> str:
        """What a plan says where another slot has the port that this one is to have; else nothing."""
        owner = next((s.spec.slot for s in self.servers if s.role is Role.LIVE and s.spec.port == port), slot)
        if owner == slot:
            return ""
        own = {s.spec.port for s in self.servers if s.role is Role.LIVE and s.spec.slot == slot}
        _, pin = self.pin(owner)
        if pin is not None and pin.port in own:
            return f", exchanges ports with {owner}"
        return f", takes port {port} from {owner}, which " + (f"goes to {pin.port}" if pin else "leaves it")

    def world(self, slot: Slot) -> World:
        """What the planner needs to know about one slot."""
        view = self.registry.get(slot.model)
        environments = [
            EnvironmentSlot(e.name, e.alias, e.stage, self._deployed_version(Slot(e.name, slot.model), e.alias, view))
            for e in self.desired.environments
        ]
        claimed = [version for other, version in self.claimed.items() if other.model == slot.model and other != slot]
        own = [server for server in self.servers if server.spec.slot == slot]
        return World(own, view, environments, [version for version in claimed if version is not None])

    def _deployed_version(self, slot: Slot, alias: str, view: RegistryView | None) -> int | None:
        """The verified version; without one, the alias's. Anybody may move an alias, so it comes second."""
        verified = self.verified.get(slot)
        if verified is not None:
            return verified.version
        return view.aliases.get(alias) if view else None


def observe_head(services: Services) -> Observation:
    """Fetch the branch head and observe every slot. InvalidPins: the head's environment files are invalid."""
    return observe_at(services, services.source.snapshot())


def observe_at(services: Services, snapshot: Snapshot) -> Observation:
    """Observe every slot for the pins of one snapshot, also a proposed one. Raises as :func:`observe_head` does."""
    desired = read_desired(services, snapshot)
    return refresh(services, Observation(snapshot, desired, (), {}, None, services.journal.verified(), ()))


def read_desired(services: Services, snapshot: Snapshot) -> Desired:
    """The pins of a snapshot. InvalidPins: a file is invalid, or that of an environment that serves is missing."""
    known = {slot.environment for slot, was in services.journal.verified().items() if was.version is not None}
    try:
        return read_pins(snapshot.files, known, services.own_ports)
    except Rejected as error:
        raise InvalidPins(str(error), snapshot.commit) from error


def wanted(seen: Observation) -> dict[str, set[int]]:
    """What to ask the registry: every model, and of the pinned versions those that are not verified yet."""
    models: dict[str, set[int]] = {slot.model: set() for slot in seen.slots()}
    for environment in seen.desired.environments:
        for model, pin in environment.models.items():
            verified = seen.verified.get(Slot(environment.name, model))
            if verified is None or verified.version != pin.version:
                models[model].add(pin.version)
    return dict(sorted(models.items()))


def observe_servers(services: Services, before: Observation) -> Observation:
    """Observe the servers again, and our own record; neither git nor the registry is asked."""
    return replace(
        before,
        servers=services.target.observe(),
        verified=services.journal.verified(),
        quarantined=services.journal.quarantined(),
        frozen=services.journal.frozen(),
    )


def refresh(services: Services, before: Observation) -> Observation:
    """Observe registry and servers again, for the commit of ``before``."""
    seen = observe_servers(services, before)
    try:
        views = services.registry.observe(wanted(seen))
    except (Retryable, Rejected) as error:  # servers are healed without the registry
        return replace(seen, registry={}, registry_down=str(error))
    return replace(seen, registry=views, registry_down=None)
