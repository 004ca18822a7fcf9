"""Several containers behind one front door: swaps, the end of one, restarts of the proxy, and an upgrade."""

import contextlib
import http.client
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters.docker import Docker
from receiver.core.state import Role
from receiver.targets.compose import containers as discovery
from receiver.targets.compose import project, proxy
from receiver.targets.compose import target as module
from receiver.targets.compose.backends import BackendPair
from receiver.targets.compose.project import Place
from tests.contracts.replicas import two
from tests.contracts.target import asked_version, spec
from tests.support.docker_engine import compose_target
from tests.support.keepalive import load
from tests.support.ports import free_port
from tests.support.tiny_container import DIES_SOON
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


def test_swaps_and_the_end_of_one_replica_fail_no_request(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    old, new = target.start(spec(1, port)), target.start(replace(spec(2, port), replicas=3), at_once=3)
    target.switch(old)
    with load(port, connections=12) as seen:
        for server in (new, old, new):
            target.switch(server)
            switched, so_far = time.monotonic(), len(seen.answers)
            eventually(lambda so_far=so_far: len(seen.answers) > so_far + 50)
            assert {a.version for a in seen.answers if a.sent > switched} == {server.spec.version}
        target.retire(old)
        assert replicas(port) == {1, 2, 3}
        docker.run("kill", f"{new.id}-2")
        eventually(lambda: [s.missing for s in target.observe()] == ["2 of 3 replicas"])
        so_far = len(seen.answers)
        eventually(lambda: len(seen.answers) > so_far + 50)
        again = target.start(new.spec)
        assert (again.id, again.missing) == (new.id, "")
        target.switch(again)
    # What the killed one was asked and had not answered is asked again of another.
    assert seen.failures == []
    eventually(lambda: replicas(port) == {1, 2, 3})
    assert [(s.role, s.missing, s.differs) for s in target.observe()] == [(Role.LIVE, "", "")]


def test_one_that_dies_comes_back_by_itself_at_its_place(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    server = target.start(two(1, port), at_once=2)
    target.switch(server)
    before = target.observe()
    with load(port, connections=4) as seen:
        docker.run("exec", f"{server.id}-1", "python", "-c", "import os; os.kill(1, 15)")  # its end, not ours
        eventually(lambda: list(target.observe()) == list(before), 40)
    assert seen.failures == []


def test_one_that_hangs_is_replaced_long_before_a_start_would_time_out(
    docker: Docker, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, target = free_port(), compose_target(docker, place)
    server = target.start(two(1, port), at_once=2)
    target.switch(server)
    containers = target._slot(server.spec).servers
    assert all(0 < discovery.running_seconds(docker, container) < 120 for container in containers)
    docker.run(
        "exec",
        containers[0].id,
        "python",
        "-c",
        "import os; [os.kill(p, 19) for p in others]".replace(
            "others", "[int(p) for p in os.listdir('/proc') if p.isdigit() and int(p) not in (1, os.getpid())]"
        ),
    )
    monkeypatch.setattr(discovery, "running_seconds", lambda *_: 3600.0)
    monkeypatch.setattr(module, "HANG_SECONDS", 3.0)
    eventually(lambda: [s.missing for s in target.observe()] == ["1 of 2 replicas"])
    again = target.start(server.spec)
    assert (again.id, again.missing) == (server.id, "")
    target.switch(again)
    eventually(lambda: replicas(port) == {1, 2}, 30)


def test_how_a_container_ended_that_the_engine_starts_again_is_known(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    server = target.start(spec(DIES_SOON, port))
    target.switch(server)
    eventually(lambda: "restarted (exit status 9)" in target.how_ended(server.spec.slot), 60)


def test_the_proxy_and_the_next_receiver_know_all_replicas(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    old, new = target.start(two(1, port), at_once=2), target.start(two(2, port), at_once=2)
    target.switch(old)
    target.switch(new)
    (front,) = fronts(docker, place)
    docker.run("restart", "--time", "2", front)
    eventually(lambda: replicas(port) == {1, 2}, 30)
    successor = compose_target(docker, place)
    assert {s.id: (s.role, len(s.urls)) for s in successor.observe()} == {
        old.id: (Role.STANDBY, 2),
        new.id: (Role.LIVE, 2),
    }
    docker.run("kill", f"{new.id}-1", f"{new.id}-2")
    eventually(lambda: asked_version(port) == 1, 30)
    target.retire(new)
    target.retire(old)
    assert fronts(docker, place) == []


def test_no_request_is_dropped_while_an_earlier_pinrails_front_door_is_renewed(
    docker: Docker, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier, port = tmp_path / "earlier", free_port()
    shutil.copytree(place.compose, earlier)
    (earlier / "front/haproxy.cfg").write_text(EARLIER)
    (earlier / "front/start.sh").write_text("exec haproxy -db -f /front/berths.cfg -f /front/haproxy.cfg\n")
    with monkeypatch.context() as patch:
        patch.setattr(project, "write_backends", write_as_before)
        patch.setattr(proxy, "ask_backends", lambda _: BackendPair(((ADDRESS[-1],), (ADDRESS[-1],)), "one"))
        target = compose_target(docker, replace(place, compose=earlier))
        server = target.start(spec(1, port))
        target.switch(server)
    target = compose_target(docker, place)
    eventually(lambda: [(s.role, s.differs != "") for s in target.observe()] == [(Role.LIVE, True)])
    with load(port, connections=8) as seen:
        eventually(lambda: len(seen.answers) > 50)
        new = target.start(two(2, port), at_once=2)
        target.switch(new)
        so_far = len(seen.answers)
        eventually(lambda: len(seen.answers) > so_far + 50)
    assert seen.failures == []
    assert {s.id: (s.role, s.differs) for s in target.observe()} == {
        server.id: (Role.STANDBY, ""),
        new.id: (Role.LIVE, ""),
    }


# As far as it matters here: one server per backend, both in one, and another name in the map.
EARLIER = """
global
    stats socket "unix@/run/pinrail/${SOCKET}.sock" mode 666 level admin expose-fd listeners
defaults
    mode http
    timeout client 75s
    timeout connect 500ms
    timeout server 75s
    option idle-close-on-response
frontend public
    bind "${HOST}:${PORT}"
    default_backend model
backend model
    use-server one if { str(live),map_str(/front/live.map) -m str one }
    use-server two if { str(live),map_str(/front/live.map) -m str two }
    server one "${ONE}:8080"
    server two "${TWO}:8080"
"""
ADDRESS: list[str] = []  # of the one server


def write_as_before(directory: Path, backends: BackendPair) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    ((address,), _) = backends.addresses
    ADDRESS.append(address)
    (directory / "berths.cfg").write_text(f"global\n    setenv ONE {address}\n    setenv TWO {address}\n")
    (directory / "live.map").write_text("live one\n")


def replicas(port: int) -> set[int]:
    """Which replicas answer."""
    found = set()
    for _ in range(20):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection.request("GET", "/health")
            found.add(json.loads(connection.getresponse().read())["replica"])
    return found


def fronts(docker: Docker, place: Place) -> list[str]:
    options = ("--filter", f"label=io.pinrail.project={place.owner}", "--filter", "label=io.pinrail.part=front")
    return docker.run("ps", "--all", *options, "--format", "{{.Names}}").split()
