"""Two slots and whatever may happen to them, in any order: in the end pins, servers, registry and record agree."""

import random
import time
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.errors import PinrailError
from receiver.core.quarantine import Freeze
from receiver.core.state import Role, Slot
from receiver.pull_requests.rollback import hold_newer, plan_rollback
from tests.support.flow import MODEL, Flow
from tests.support.running_controller import Running, running
from tests.support.waiting import eventually

SLOTS = (Slot("staging", MODEL), Slot("production", MODEL))
VERSIONS = (1, 2, 3, 4)


class Chaos:
    """Does one thing after another to a flow at work, chosen by a seed."""

    def __init__(self, flow: Flow, work: Running, seed: int) -> None:
        self.flow, self.work = flow, work
        self.choose = random.Random(seed)  # noqa: S311 - it keeps no secret
        self.pinned = {"staging": 1, "production": 1}
        self.done: list[str] = []

    def step(self) -> None:
        """One event, and a moment in which it may meet what is under way."""
        event = self.choose.choice(
            [self.merge, self.merge, self.die, self.break_version, self.mend, self.roll_back, self.hold, self.resume,
             self.lose_registry, self.find_registry, self.move_alias]
        )  # fmt: skip
        self.done.append(event.__name__)
        event()
        time.sleep(self.choose.choice([0.0, 0.01, 0.05]))

    def merge(self) -> None:
        """Merge a commit that pins something."""
        self.pinned[self.choose.choice(["staging", "production"])] = self.choose.choice(VERSIONS)
        self.pin()

    def pin(self) -> None:
        """Merge what is pinned now."""
        self.flow.pin(**self.pinned)
        self.work.queue.enqueue("push")

    def die(self) -> None:
        """A live server ends."""
        live = [s for s in list(self.flow.target.servers.values()) if s.role is Role.LIVE]
        if live:
            self.flow.target.servers.pop(self.choose.choice(live).id, None)
            self.work.controller.wake()

    def break_version(self) -> None:
        """A version fails its smoke test, or under watch."""
        self.choose.choice([self.flow.prober.failing_smoke, self.flow.prober.slow_watch]).add(
            self.choose.choice(VERSIONS[1:])
        )

    def mend(self) -> None:
        """Every version is well again."""
        self.flow.prober.failing_smoke.clear()
        self.flow.prober.slow_watch.clear()

    def roll_back(self) -> None:
        """A person rolls back."""
        try:
            plan = plan_rollback(self.flow.services, self.choose.choice(SLOTS), None, now=True)
            hold_newer(self.flow.services, plan, "wrong answers")
        except PinrailError:
            return

    def hold(self) -> None:
        """A person freezes a slot."""
        slot = self.choose.choice(SLOTS)
        self.flow.journal.freeze(Freeze(slot.environment, slot.model, "an audit", time.time()))

    def resume(self) -> None:
        """A person ends the holds."""
        for slot in SLOTS:
            self.flow.journal.unfreeze(slot.environment, slot.model)

    def lose_registry(self) -> None:
        """The registry goes away."""
        self.flow.registry.reachable = False

    def find_registry(self) -> None:
        """The registry is back."""
        self.flow.registry.reachable = True

    def move_alias(self) -> None:
        """Somebody moves an alias by hand."""
        if self.flow.registry.reachable:
            self.flow.registry.set_alias(MODEL, self.choose.choice(["staging", "production"]), 2)

    def settle(self) -> None:
        """End every fault and hold, and let what failed be tried again."""
        self.mend()
        self.resume()
        self.find_registry()
        for slot in SLOTS:
            self.flow.journal.lift(slot)
        self.work.queue.enqueue("retry")

    def agrees(self) -> bool:
        """All say what is pinned, and nothing is under way or left over."""
        flow, wanted = self.flow, self.pinned
        verified = {slot.environment: was.version for slot, was in flow.journal.verified().items()}
        servers = sorted((s.spec.slot.environment, s.spec.version, s.role) for s in flow.target.observe())
        live = sorted((name, version, Role.LIVE) for name, version in wanted.items())
        return (
            flow.serving() == wanted
            and verified == wanted
            and flow.aliases() == wanted
            and servers == live
            and all(d.state is not Outcome.RUNNING for d in flow.journal.recent())
        )


class CrossingChaos(Chaos):
    """The same where neither environment follows the other, and a merge may exchange their ports."""

    ports: tuple[int, int] = (8000, 8001)

    def merge(self) -> None:
        """Merge a commit that pins something, perhaps on the other one's port."""
        self.pinned[self.choose.choice(["staging", "production"])] = self.choose.choice(VERSIONS)
        if self.choose.random() < 0.5:
            self.ports = self.ports[1], self.ports[0]
        self.pin()

    def pin(self) -> None:
        """Merge what is pinned now."""
        found = self.flow.files(self.pinned["staging"], self.pinned["production"])
        self.flow.source.commit({path: self._moved(raw) for path, raw in found.items()})
        self.work.queue.enqueue("push")

    def _moved(self, raw: bytes) -> bytes:
        alone = raw.replace(b"policy: {after: staging, soak: 0s}\n", b"")
        return (
            alone.replace(b"port: 8000", b"port: first")
            .replace(b"port: 8001", b"port: %d" % self.ports[1])
            .replace(b"port: first", b"port: %d" % self.ports[0])
        )

    def agrees(self) -> bool:
        """All say what is pinned, on the pinned ports, and nothing is under way or left over."""
        names = ("staging", "production")
        servers = {(s.spec.slot.environment, s.spec.version, s.spec.port, s.role) for s in self.flow.target.observe()}
        wanted = {(name, self.pinned[name], port, Role.LIVE) for name, port in zip(names, self.ports, strict=True)}
        verified = {slot.environment: was.version for slot, was in self.flow.journal.verified().items()}
        running = any(d.state is Outcome.RUNNING for d in self.flow.journal.recent())
        return servers == wanted and verified == self.pinned == self.flow.aliases() and not running


def converges(kind: type[Chaos], seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty events, and then peace: all agree in the end."""
    monkeypatch.setattr("receiver.reconciler.registry_view.RETRY_SECONDS", 0.05)
    flow = Flow(tmp_path)
    flow.register(*VERSIONS)
    flow.pin(staging=1, production=1)
    flow.run()
    with running(flow, poll_seconds=0.5) as work:
        chaos = kind(flow, work, seed)
        for _ in range(40):
            chaos.step()
        chaos.pinned = {"staging": 3, "production": 3}
        chaos.settle()
        chaos.pin()
        try:
            eventually(chaos.agrees, 30)
        except AssertionError as error:
            servers = [(str(s.spec.slot), s.spec.version, s.spec.port, s.role) for s in flow.target.observe()]
            reasons = [(row.environment, row.state, row.reason) for row in work.status_board.report().slots]
            raise AssertionError(f"after {chaos.done}: {servers}, {flow.aliases()}, {reasons}") from error


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_while_ports_are_exchanged_it_converges(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converges(CrossingChaos, seed, tmp_path, monkeypatch)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_in_whatever_order_it_converges(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converges(Chaos, seed, tmp_path, monkeypatch)
