"""What waits for what, with a whole receiver: git and registry hang, one slot is under a long watch, servers die."""

import contextlib
import http.client
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.state import Slot
from receiver.targets.process.records import ServerRecords
from tests.support.fault_proxy import FaultProxy, Hang, fault_proxy
from tests.support.hanging_ssh import hanging_ssh
from tests.support.models import Versions
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


class TwoEnvironments(World):
    """Staging and production, of which neither follows the other."""

    other_port: int = 0
    production: int = 1

    def commit(self, version: int) -> str:
        """Pin a version in staging; production keeps its own."""
        self.other_port = self.other_port or free_port()
        texts = {
            f"environments/{name}.yaml": (
                f"environment: {name}\nregistry: {{stage: {name.title()}, alias: {name}}}\ngate: {{}}\n"
                f"models:\n  {self.model}: {{version: {pinned}, port: {port}}}\n"
            )
            for name, pinned, port in (
                ("staging", version, self.port),
                ("production", self.production, self.other_port),
            )
        }
        return self.origin.commit(dict(texts))

    def serving(self, port: int) -> int | None:
        """The version that answers there; None: nobody."""
        asking = closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2))
        with contextlib.suppress(OSError, http.client.HTTPException), asking as connection:
            connection.request("GET", "/health", headers={"Connection": "close"})
            answer = connection.getresponse()
            if answer.status == http.HTTPStatus.OK:
                return int(json.load(answer)["version"])
        return None

    def kill(self, environment: str) -> None:
        """Kill the environment's servers."""
        for record in ServerRecords(self.state).all():
            if record.spec.slot.environment == environment and record.pid is not None:
                os.kill(record.pid, signal.SIGKILL)


@pytest.fixture
def proxy(versions: Versions) -> Iterator[FaultProxy]:
    with fault_proxy(versions.tracking_uri) as proxy:
        yield proxy


@pytest.fixture
def world(tmp_path: Path, versions: Versions, proxy: FaultProxy) -> Iterator[TwoEnvironments]:
    with TwoEnvironments(tmp_path, replace(versions, tracking_uri=proxy.url), stabilise_seconds=0.2) as world:
        world.production = versions.good
        yield world


def took(condition: Callable[[], object], seconds: float) -> float:
    began = time.monotonic()
    eventually(condition, seconds)
    return time.monotonic() - began


def test_with_everything_outside_hanging_servers_are_healed_and_a_rollback_is_quick(
    world: TwoEnvironments, versions: Versions, proxy: FaultProxy, tmp_path: Path
) -> None:
    world.environ["GIT_SSH_COMMAND"], hangs = hanging_ssh(tmp_path)
    world.environ["PINRAIL_REPO_URL"] = f"ssh://git@example.invalid{tmp_path}/owner/models.git"
    world.commit(versions.good)
    slots = {Slot("staging", world.model), Slot("production", world.model)}
    with world.program():
        eventually(lambda: world.journal.verified().keys() == slots, 90)
        world.kill("production")
        cold = took(lambda: world.serving(world.other_port) is None, 10) + took(
            lambda: world.serving(world.other_port) == versions.good, 60
        )
    world.environ["PINRAIL_STABILISE_SECONDS"] = "60"
    with world.program() as program:
        world.commit(versions.better)
        world.push()
        eventually(lambda: world.serving(world.port) == versions.better, 60)
        hangs.touch()
        proxy.plan(Hang(), times=math.inf)
        world.push()  # a fetch hangs from here on
        world.kill("production")
        eventually(lambda: world.serving(world.other_port) is None, 10)
        healed = took(lambda: world.serving(world.other_port) == versions.good, 60)
        assert healed < 2 * cold + 3, (healed, cold)

        for command in ("status", "plan"):
            began = time.monotonic()
            done = world.command(command)
            assert "has held" in done.stdout, "it says why these are not the pins at the branch head"
            assert f"{versions.better}" in done.stdout
            assert time.monotonic() - began < 30

        began = time.monotonic()
        done = world.command("rollback", "staging", world.model, "--now", "--reason", "it is bad")
        assert done.returncode == 0, done.stderr
        assert world.serving(world.port) == versions.good
        said = done.stdout.splitlines()
        assert said[0] == f"staging/{world.model}: v{versions.better} is held, v{versions.good} serves again"
        history = world.journal.history(Slot("staging", world.model))
        back = next(d for d in reversed(history) if d.draft.to_version == versions.good)
        steps = {step.action.kind: step for step in world.journal.steps(back.id)}
        switched = steps["switch"].ended_at  # type: ignore[index]
        entry = next(q for q in world.journal.quarantined() if q.manual)
        assert switched is not None
        assert switched - entry.since < 4.0, "the traffic is back at once: the old server was warm"
        assert time.monotonic() - began < 60

        began = time.monotonic()
        program.terminate()
        program.join(30)
        assert time.monotonic() - began < 6
        assert program.exitcode == 0
    proxy.behave()
    hangs.unlink()


def test_a_restart_with_the_outside_hanging_brings_what_was_killed_back(
    world: TwoEnvironments, versions: Versions, proxy: FaultProxy, tmp_path: Path
) -> None:
    world.environ["GIT_SSH_COMMAND"], hangs = hanging_ssh(tmp_path)
    world.environ["PINRAIL_REPO_URL"] = f"ssh://git@example.invalid{tmp_path}/owner/models.git"
    world.commit(versions.good)
    with world.program():
        eventually(lambda: len(world.journal.verified()) == 2, 90)
    world.kill("production")
    world.kill("staging")
    hangs.touch()
    proxy.plan(Hang(), times=math.inf)
    with world.program():
        eventually(lambda: world.serving(world.port) == world.serving(world.other_port) == versions.good, 40)
    proxy.behave()
