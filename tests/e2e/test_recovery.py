"""What a whole receiver does when something dies, hangs or is asked to stop. All parts are real."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.state import Role
from receiver.targets.process.records import ServerRecords
from tests.support.fault_proxy import fault_proxy
from tests.support.models import Versions
from tests.support.waiting import eventually
from tests.support.world import Watcher, World

pytestmark = pytest.mark.long


@pytest.fixture
def world(tmp_path: Path, versions: Versions) -> Iterator[World]:
    with World(tmp_path, versions, stabilise_seconds=0.2) as world:
        yield world


def serve(world: World, version: int) -> None:
    """Merge, push, and wait until it is verified."""
    world.commit(version)
    assert world.push() == 202
    eventually(lambda: world.verified() == version, 60)


def server_pids(world: World) -> list[int]:
    return [record.pid for record in ServerRecords(world.state).all() if record.pid is not None]


def test_a_model_server_that_is_killed_is_started_again_within_seconds(world: World, versions: Versions) -> None:
    with world.program():
        serve(world, versions.good)
        (pid,) = server_pids(world)
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: [s.role for s in world.servers()] == [Role.LIVE] and server_pids(world) != [pid], 30)
        assert time.monotonic() - began < 20, "the timer is at 60 s: it was noticed, not waited for"
        assert world.health()["version"] == versions.good


def test_servers_that_outlive_the_state_directory_are_adopted_and_the_next_promotion_is_made(
    world: World, versions: Versions
) -> None:
    with world.program():
        serve(world, versions.good)
        before = server_pids(world)
    world.lose_state()
    with Watcher(world) as watcher, world.program():
        eventually(lambda: world.verified() == versions.good and server_pids(world) == before, 60)
        serve(world, versions.better)
        eventually(lambda: [(s.spec.version, s.role) for s in world.servers()] == [(versions.better, Role.LIVE)], 30)
    assert set(watcher.versions) == {versions.good, versions.better}
    assert watcher.failures == []


def test_asked_to_stop_in_a_deployment_it_stops_and_goes_on_at_the_next_start(
    world: World, versions: Versions
) -> None:
    with world.program():
        serve(world, versions.good)
    with Watcher(world) as watcher:
        world.environ["PINRAIL_STABILISE_SECONDS"] = "60"
        with world.program() as program:
            world.commit(versions.better)
            world.push()
            eventually(lambda: world.answers() == versions.better, 60)
            began = time.monotonic()
            program.terminate()
            program.join(60)
            assert time.monotonic() - began < 5
        assert world.deployments()[0].state is Outcome.INTERRUPTED
        world.environ["PINRAIL_STABILISE_SECONDS"] = "0.2"
        with world.program():
            eventually(lambda: world.agrees(versions.better), 60)
    assert watcher.failures == []


def test_a_rollback_is_true_when_it_says_so_with_and_without_a_receiver(world: World, versions: Versions) -> None:
    back = ("rollback", "staging", world.model, "--now", "--reason", "wrong answers")
    with world.program():
        serve(world, versions.good)
        serve(world, versions.better)
        world.origin.vanish()
        done = world.command(*back)
        assert (done.returncode, world.answers()) == (0, versions.good), done.stderr
        assert f"v{versions.good} serves again" in done.stdout
        assert "the receiver opens it later" in done.stdout
        again = world.command(*back)
        assert (again.returncode, "--to" in again.stderr) == (1, True)
    world.lift()
    for pid in server_pids(world):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not world.servers())
    alone = world.command(*back)
    assert (alone.returncode, world.answers()) == (0, versions.good), alone.stderr
    assert "no receiver runs" in alone.stdout


def test_a_second_receiver_on_the_same_state_is_refused_and_says_who_is_there(
    world: World, versions: Versions
) -> None:
    with world.program() as first:
        serve(world, versions.good)
        second = world.command("up")
        assert second.returncode == 1
        assert f"process {first.pid}" in second.stderr
        assert first.is_alive()


def test_with_mlflow_down_what_serves_goes_on_and_restarts_from_the_cache(tmp_path: Path, versions: Versions) -> None:
    with (
        fault_proxy(versions.tracking_uri) as proxy,
        World(tmp_path, replace(versions, tracking_uri=proxy.url), stabilise_seconds=0.2) as world,
    ):
        with world.program():
            serve(world, versions.good)
        proxy.stop()
        for pid in server_pids(world):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not world.servers())
        with world.program():
            eventually(lambda: [s.role for s in world.servers()] == [Role.LIVE], 60)
            assert world.health()["version"] == versions.good


def test_a_push_in_a_deployment_is_neither_refused_nor_lost_and_runs_next(world: World, versions: Versions) -> None:
    with world.program():
        serve(world, versions.good)
        with Watcher(world) as watcher:
            world.commit(versions.better)
            assert world.push() == 202
            eventually(lambda: any(not d.state.terminal for d in world.deployments()), 30)
            world.commit(versions.good)
            assert world.push() == 202
            eventually(lambda: world.deployments()[0].draft.to_version == versions.good and world.idle(), 60)
        assert [d.draft.to_version for d in world.deployments()][:2] == [versions.good, versions.better]
        assert watcher.failures == []
        assert world.health()["version"] == versions.good


def test_pins_that_are_not_valid_are_named_in_the_log_and_nothing_moves(world: World, versions: Versions) -> None:
    with world.program():
        serve(world, versions.good)
        servers = world.servers()
        world.origin.commit({"environments/staging.yaml": "environment: staging\nmodels: {churn: {version: 010}}\n"})
        assert world.push() == 202
        log = world.state / "receiver.log"
        eventually(lambda: "environments/staging.yaml:2" in log.read_text(), 30)
        assert [s.id for s in world.servers()] == [s.id for s in servers]
        assert world.health()["version"] == versions.good
        shown = world.command("status", "--exit-code")
        assert shown.returncode == 1
        assert "these are not the pins at the branch head: environments/staging.yaml:1" in shown.stdout
        assert f"v{versions.good}" in shown.stdout
