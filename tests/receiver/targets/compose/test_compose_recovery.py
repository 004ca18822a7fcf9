"""What survives, what heals, and what surroundings cannot change: on a real engine."""

import contextlib
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters.docker import Docker
from receiver.adapters.prober import HttpProber
from receiver.core.deployment import Outcome
from receiver.core.errors import VersionFailed
from receiver.core.state import Role, Server, Slot
from receiver.ports import Stop, never
from receiver.targets.compose.project import Place
from tests.contracts.target import PRODUCTION, asked_version, spec
from tests.support import tiny_container as flawed
from tests.support.compose_stack import Stack
from tests.support.docker_engine import compose_target
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture
def stack(docker: Docker, place: Place) -> Stack:
    """Version 1 is live."""
    stack = Stack(docker, place)
    stack.offer(1)
    assert stack.promote(1).state is Outcome.LIVE
    return stack


def test_whatever_is_killed_by_hand_comes_back_as_it_was(stack: Stack) -> None:
    for container in stack.all_containers():
        stack.docker.run("kill", container)
        stack.run("timer")
        assert stack.answering() == 1
        assert [(s.spec.version, s.role) for s in stack.servers()] == [(1, Role.LIVE)]
    for container in stack.all_containers():
        stack.docker.run("rm", "--force", container)
    stack.run("timer")
    assert stack.answering() == 1
    assert len(stack.all_containers()) == 2


def test_the_proxy_remembers_over_its_own_restart_who_has_the_traffic(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    target.switch(new)
    before = target.observe()
    docker.run("restart", "--time", "2", _front(docker, place, port))
    eventually(lambda: _answers(port) == 2, 30)
    assert {s.id: s.role for s in target.observe()} == {s.id: s.role for s in before}


def test_the_next_receiver_finds_everything_and_starts_nothing(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    old, new = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(old)
    target.switch(new)
    successor = compose_target(docker, place)
    assert list(successor.observe()) == list(target.observe())
    assert successor.start(spec(2, port)).id == new.id
    successor.switch(old)
    assert asked_version(port) == 1


def test_a_server_that_restarts_has_the_address_that_it_had(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    server = target.start(spec(1, port))
    target.switch(server)
    docker.run("stop", "--time", "1", server.id)
    other = target.start(spec(2, free_port(), PRODUCTION))  # somebody else comes to the network meanwhile
    docker.run("start", server.id)
    eventually(lambda: _answers(port) == 1, 60)
    assert {s.id: (s.role, s.urls) for s in target.observe()} == {
        server.id: (Role.LIVE, server.urls),
        other.id: (Role.CANDIDATE, other.urls),
    }


def test_a_model_that_is_no_longer_pinned_leaves_nothing_behind(stack: Stack) -> None:
    stack.model = "renamed-model"
    stack.port = free_port()
    stack.offer(1)
    stack.pin(1)
    stack.run()
    assert {s.spec.slot for s in stack.servers()} == {Slot("staging", "renamed-model")}
    assert not any("churn" in container for container in stack.all_containers())
    projects = [path.name for path in (stack.place.state / "compose").iterdir() if path.is_dir()]
    assert projects == [f"{stack.place.owner}-staging-renamed-model"]
    assert stack.answering() == 1


@pytest.mark.parametrize("moment", ["compose runs", "the container is there", "the container runs"])
def test_a_receiver_and_its_compose_killed_halfway_leave_nothing_that_the_next_cannot_use(
    docker: Docker, place: Place, moment: str
) -> None:
    wanted = spec(1, free_port())
    starting = multiprocessing.get_context("fork").Process(target=compose_target(docker, place).start, args=(wanted,))
    starting.start()
    mine = ("ps", "--quiet", "--filter", f"label=io.pinrail.project={place.owner}")
    come = {
        "compose runs": lambda: (place.state / "compose").exists() and _children(starting.pid),
        "the container is there": lambda: docker.run(*mine, "--all"),
        "the container runs": lambda: docker.run(*mine),
    }
    eventually(come[moment], 30)
    for pid in [*_children(starting.pid), starting.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid or 0, signal.SIGKILL)
    starting.join()
    target = compose_target(docker, place)
    server = target.start(wanted)
    target.switch(server)

    def nothing_else_is_left() -> bool:
        """The engine may finish what the killed client had asked for. What is not wanted is retired, as ever."""
        others = [s for s in target.observe() if s.id != server.id]
        for other in others:
            target.retire(other)
        return not others

    eventually(nothing_else_is_left, 30)
    assert [(s.spec, s.role) for s in target.observe()] == [(wanted, Role.LIVE)]
    assert asked_version(wanted.port) == 1


def test_compose_variables_and_env_files_around_it_change_nothing(
    docker: Docker, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traps = {
        "COMPOSE_PROJECT_NAME": "trap",
        "COMPOSE_FILE": "/nowhere.yaml",
        "COMPOSE_PROFILES": "trap",
        "IMAGE": "x",
    }
    port = free_port()
    directories = [tmp_path, place.state, place.state / "compose" / f"{place.owner}-staging-churn-model"]
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in traps.items()))
    for name, value in traps.items():
        monkeypatch.setenv(name, value)
    target = compose_target(Docker(), place)
    target.switch(target.start(spec(1, port)))
    assert asked_version(port) == 1
    (project,) = [p for p in _projects(docker) if p["Name"].startswith(place.owner)]
    assert project["Name"] == f"{place.owner}-staging-churn-model"


def test_people_find_their_way_with_docker_compose(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    target.switch(target.start(spec(6, port)))
    name = f"{place.owner}-staging-churn-model"
    (project,) = [p for p in _projects(docker) if p["Name"] == name]
    assert project["Status"] == "running(2)"
    listed = docker.run("compose", "--project-name", name, "ps", "--format", "{{.Name}} {{.Service}}")
    services = dict(line.split() for line in listed.splitlines())
    assert {service.split("-")[0] for service in services.values()} == {"front", "v6"}
    assert all(container == f"{name}-{service}" for container, service in services.items())


def test_containers_may_do_next_to_nothing(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    server = target.start(spec(1, port))
    target.switch(server)
    front = _front(docker, place, port)
    for container in (server.id, front):
        (described,) = json.loads(docker.run("inspect", container))
        host = described["HostConfig"]
        assert described["Config"]["User"] == "10001:10001"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert not host["Privileged"]
        assert 0 < host["Memory"] <= 1 << 30
        assert 0 < host["PidsLimit"] <= 256
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert 0 < host["CpuQuota"] <= 200_000
        runtime = "/run/pinrail" if container == front else None
        assert all(m["Type"] == "bind" and (not m["RW"] or m["Destination"] == runtime) for m in described["Mounts"])
        assert not any("docker.sock" in m["Source"] for m in described["Mounts"])
        assert described["Config"]["Healthcheck"]["Test"]
        assert not host["PortBindings"]
        assert [*described["NetworkSettings"]["Networks"]] == [
            "host" if container == front else f"{place.owner}-models"
        ]
        assert "MLFLOW_TRACKING_TOKEN" not in json.dumps(described["Config"]["Env"])


def test_a_server_that_keeps_crashing_says_so_and_its_place_can_be_taken(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    looping = target.start(spec(flawed.DIES_SOON, port))
    target.switch(looping)
    eventually(lambda: "was restarted (exit status 9)" in target.log_tail(looping), 60)
    assert "the model lost its mind" in target.log_tail(looping)
    good = target.start(spec(1, port))
    target.switch(good)
    assert asked_version(port) == 1
    eventually(lambda: [s.id for s in target.observe()] == [good.id], 30)


def test_when_neither_new_nor_old_can_be_had_the_rollback_goes_on_once_the_cause_is_gone(stack: Stack) -> None:
    docker, image, private = stack.docker, stack.place.image, f"{stack.place.owner}:only-here"
    docker.run("tag", image, private)
    stack.containers.place = replace(stack.place, image=private)

    class Sabotage(HttpProber):
        def watch(self, server: Server, seconds: float, stop: Stop = never) -> None:
            docker.run("rmi", private)
            for other in stack.servers():
                docker.run("kill", other.id)
            raise VersionFailed("it went wrong")

    stack.services = replace(stack.services, prober=Sabotage())
    stack.offer(2)
    deployment = stack.promote(2)
    assert deployment.state is Outcome.INTERRUPTED
    assert "it went wrong" in deployment.reason
    assert "the rollback failed too" in deployment.reason
    assert f"the image {private} is not on this machine" in deployment.reason
    docker.run("tag", image, private)
    stack.services = replace(stack.services, prober=HttpProber())
    stack.run("timer")
    assert stack.answering() == 1


def _front(docker: Docker, place: Place, port: int) -> str:
    """The front door's container of staging/churn-model."""
    return docker.run(
        "ps", "--filter", f"name={place.owner}-staging-churn-model-front-{port}", "--format", "{{.Names}}"
    ).strip()


def _children(pid: int | None) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _answers(port: int) -> int | None:
    with contextlib.suppress(KeyError):  # the proxy itself, while it looks for the server
        return asked_version(port)
    return None


def _projects(docker: Docker) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(docker.run("compose", "ls", "--all", "--format", "json"))
    return found
