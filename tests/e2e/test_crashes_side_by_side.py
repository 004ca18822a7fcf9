"""kill -9 with two slots in flight: at every boundary of the one's journal, wherever the other's deployment stands.

A part of them, unless EVERY_CRASH is set.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, product
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.plan import ActionKind
from receiver.core.state import Role, Slot
from tests.support.crashing import Crash, Moment
from tests.support.models import Versions, register_artifact_only
from tests.support.ports import free_port
from tests.support.process_target import COMMAND
from tests.support.waiting import eventually
from tests.support.world import Watcher, World, wait_for_death

# These versions need no packages: for INSTALL, see test_model_packages.py.
ACTIONS = [kind for kind in ActionKind if kind is not ActionKind.INSTALL]
BOUNDARIES: list[tuple[ActionKind | None, Moment]] = [
    *product(ACTIONS, Moment),
    (None, Moment.BEFORE_ACTING),
    (None, Moment.AFTER_RESULT),
]
EVERY = bool(os.environ.get("EVERY_CRASH"))
# Where the one dies, and what the other was about to do.
IN_FLIGHT = [*product(BOUNDARIES, ACTIONS)] if EVERY else [*zip(BOUNDARIES[::3], cycle(ACTIONS), strict=False)]
EXCHANGED = BOUNDARIES if EVERY else BOUNDARIES[1::3]

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600 if EVERY else 300)]


class TwoModels(World):
    """Two models in one environment. ``crossed``: each has the port that the other one had at first."""

    def __init__(self, directory: Path, versions: Versions, other: Versions) -> None:
        super().__init__(directory, versions, 0.1, COMMAND)
        self.other = other
        self.other_port = free_port()
        self.crossed = False
        self.pinned = {versions.model: versions.good, other.model: other.good}

    @property
    def ports(self) -> dict[str, int]:
        """The pinned port of each model."""
        ports = [self.port, self.other_port]
        return dict(zip((self.model, self.other.model), reversed(ports) if self.crossed else ports, strict=True))

    def commit(self, version: int) -> str:
        """Pin a version of the first model, and what is set of the rest."""
        self._merges += 1
        self.pinned[self.model] = version
        pins = "".join(f"  {m}: {{version: {v}, port: {self.ports[m]}}}\n" for m, v in self.pinned.items())
        text = (
            f"# merge {self._merges}\nenvironment: staging\nregistry: {{stage: Staging, alias: staging}}\n"
            f"gate: {{}}\nmodels:\n{pins}"
        )
        return self.origin.commit({"environments/staging.yaml": text})

    def agrees(self, version: int) -> bool:
        """Nothing is under way, and servers, record and registry say what is pinned."""
        if not self.idle():
            return False
        servers = sorted((s.spec.slot.model, s.spec.version, s.spec.port, s.role) for s in self.servers())
        wanted = sorted((m, v, self.ports[m], Role.LIVE) for m, v in self.pinned.items())
        verified = {slot.model: found.version for slot, found in self.journal.verified().items()}
        aliases = {m: int(self.client.get_registered_model(m).aliases.get("staging", 0)) for m in self.pinned}
        return servers == wanted and verified == aliases == self.pinned

    def answering(self) -> set[tuple[str, int]]:
        """Model and version behind both ports."""
        found = [self.health(port) for port in (self.port, self.other_port)]
        return {(said["model"], said["version"]) for said in found}


@pytest.fixture
def world(tmp_path: Path, mlflow_server: str) -> Iterator[TwoModels]:
    one, other = (register_artifact_only(mlflow_server, f"crashes-{tmp_path.name[-8:]}-{name}") for name in "ab")
    with TwoModels(tmp_path, replace(one, tracking_uri=mlflow_server), other) as world:
        world.merge(one.good)
        with world.receiver():
            eventually(lambda: world.agrees(one.good), 60)
        yield world


def no_alarm(world: TwoModels) -> bool:
    return {d.state for d in world.deployments()} <= {Outcome.LIVE, Outcome.INTERRUPTED}


def test_killed_while_two_models_are_promoted_both_are_live_after_a_restart(world: TwoModels) -> None:
    first, good, better = Slot("staging", world.model), world.other.good, world.other.better
    with Watcher(world) as here, Watcher(world, world.other_port) as there:
        for turn, ((kind, moment), beside) in enumerate(IN_FLIGHT):
            before, now = (good, better) if turn % 2 == 0 else (better, good)
            with world.receiver(Crash(kind, moment, now, slot=first, beside=beside)) as process:
                world.settle(before)
                world.pinned[world.other.model] = now
                world.merge(now)
                wait_for_death(process)
            models = {model for model, version in world.answering() if version in (before, now)}
            assert models == set(world.pinned), f"{kind}, {moment}, beside {beside}"
        with world.receiver():
            world.settle(now)
    assert here.failures == there.failures == []
    assert no_alarm(world)


def test_killed_while_ports_are_exchanged_both_ports_answer_and_the_exchange_is_made(world: TwoModels) -> None:
    first, good, better = Slot("staging", world.model), world.other.good, world.other.better
    with Watcher(world) as here, Watcher(world, world.other_port) as there:
        for turn, (kind, moment) in enumerate(EXCHANGED):
            before, now = (good, better) if turn % 2 == 0 else (better, good)
            with world.receiver(Crash(kind, moment, now, slot=first)) as process:
                world.settle(before)
                world.crossed = not world.crossed
                world.merge(now)
                wait_for_death(process)
            assert {model for model, _ in world.answering()} == set(world.pinned), f"{kind}, {moment}"
        with world.receiver():
            world.settle(now)
    assert here.failures == there.failures == []
    assert no_alarm(world)
