"""The same new version under the same load: as people deploy it with compose alone, and as Pinrail does."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from receiver.adapters.docker import Docker
from receiver.targets.compose.project import Place
from tests.contracts.target import asked_version, spec
from tests.support.docker_engine import compose_target, owned_place, required_docker, tiny_image
from tests.support.keepalive import Load, load
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(180)]

CONNECTIONS = 2
BEFORE = AFTER = 200  # requests around the change


@pytest.fixture
def docker() -> Docker:
    return required_docker()


@pytest.fixture
def place(docker: Docker, tmp_path: Path) -> Iterator[Place]:
    with owned_place(docker, tmp_path, tiny_image(docker)) as place:
        yield place


def test_compose_alone_refuses_requests_where_pinrail_fails_none(docker: Docker, place: Place) -> None:
    alone = _recreate(docker, place)
    ours = _promote(docker, place)
    print("\n" + "\n".join(_row(*row) for row in (("docker compose up -d", alone), ("Pinrail", ours))))  # noqa: T201 - the table of docs/compose.md, with -s
    assert len(alone.failures) > 0
    assert ours.failures == []


def _recreate(docker: Docker, place: Place) -> Load:
    """A service with one port and a version in its environment: ``up -d`` with another version recreates it."""
    port, file = free_port(), place.state / "plain.yaml"
    options = {"model": "m", "digest": "d", "environment": "e", "revision": "r", "host": "0.0.0.0", "port": "8080"}  # noqa: S104 - in a container
    command = [*(f"--{name}={value}" for name, value in options.items()), "--version=${VERSION:?}"]
    labels = {"io.pinrail.project": place.owner}
    service = {"image": place.image, "command": command, "ports": [f"127.0.0.1:{port}:8080"], "labels": labels}
    file.write_text(json.dumps({"services": {"api": service}}))

    def up(version: int) -> None:
        env_file = place.state / "plain.env"
        env_file.write_text(f"VERSION={version}\n")
        named = ("--project-name", f"{place.owner}-plain", "--env-file", str(env_file), "--file", str(file))
        docker.run("compose", *named, "up", "--detach", timeout=60)

    up(1)
    eventually(lambda: asked_version(port) == 1, 20)
    with load(port, CONNECTIONS) as seen:
        eventually(lambda: len(seen.answers) > BEFORE)
        up(2)
        eventually(lambda: seen.answers[-1].version == 2, 30)
        asked = len(seen.answers)
        eventually(lambda: len(seen.answers) > asked + AFTER)
    return seen


def _promote(docker: Docker, place: Place) -> Load:
    port, target = free_port(), compose_target(docker, place)
    old = target.start(spec(1, port))
    target.switch(old)
    with load(port, CONNECTIONS) as seen:
        eventually(lambda: len(seen.answers) > BEFORE)
        target.switch(target.start(spec(2, port)))
        target.retire(old)
        eventually(lambda: seen.answers[-1].version == 2, 30)
        asked = len(seen.answers)
        eventually(lambda: len(seen.answers) > asked + AFTER)
    return seen


def _row(name: str, seen: Load) -> str:
    gap = max(later.received - earlier.received for earlier, later in pairwise(seen.answers))
    total = len(seen.answers) + len(seen.failures)
    return f"{name}: {total} requests, {len(seen.failures)} failed, longest silence {gap:.2f} s"
