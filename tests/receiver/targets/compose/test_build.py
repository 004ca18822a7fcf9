"""The serving image: named after its content, pushed and pinned by digest."""

import json
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from receiver.adapters.docker import Docker
from receiver.cli.app import app
from receiver.core.errors import Rejected, Retryable
from receiver.targets.compose.build import build_image, image_name, push_image, remove_leftovers
from receiver.targets.compose.image import require_image
from tests.support.ports import free_port
from tests.support.waiting import eventually


def test_the_name_follows_from_the_content() -> None:
    assert image_name() == image_name()
    assert image_name().startswith("pinrail-serving:")
    assert len({image_name(base) for base in (None, "python@sha256:aa", "python@sha256:bb")}) == 3


def test_without_an_engine_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    docker = Docker()
    assert not docker.answers()
    with pytest.raises(Retryable, match="no docker engine answers"):
        docker.run("ps")


def test_what_a_killed_build_left_on_the_disk_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = [
        tmp_path / name for name in ("pinrail-build-old", "pinrail-build-index-old", "pinrail-build-now", "other")
    ]
    for path in left[::2]:
        path.mkdir()
        (path / "uv").touch()
    for path in left[1::2]:
        path.touch()
    for path in (*left[:2], left[3]):
        os.utime(path, (time.time() - 86_400.0,) * 2)
    remove_leftovers()
    assert sorted(tmp_path.iterdir()) == sorted(left[2:])


@pytest.fixture
def registry(docker: Docker) -> Iterator[str]:
    """The address of an image registry with nothing in it."""
    name, port = f"pinrail-test-{secrets.token_hex(3)}", free_port()
    docker.run("run", "--detach", "--rm", "--name", name, "--publish", f"127.0.0.1:{port}:5000", "registry:2")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        docker.run("rm", "--force", name)


@pytest.mark.docker
def test_what_is_there_is_not_built_again(docker: Docker) -> None:
    name = build_image(docker)
    made = docker.run("image", "inspect", "--format", "{{.Created}}", name)
    done = CliRunner().invoke(app, ["build"])
    assert done.output.strip() == name
    assert docker.run("image", "inspect", "--format", "{{.Created}}", name) == made


@pytest.mark.docker
def test_the_base_is_the_one_of_the_settings(docker: Docker, registry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    base = eventually_pushed(docker, "python:3.11-slim-bookworm", f"{registry}/base")
    monkeypatch.setenv("PINRAIL_BASE_IMAGE", base)
    done = CliRunner().invoke(app, ["build"])
    assert done.exit_code == 0, done.exception
    name = done.output.strip()
    try:
        assert name == image_name(base) != image_name()
        below, whole = (
            json.loads(docker.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", image))
            for image in ("python:3.11-slim-bookworm", name)
        )
        assert whole[: len(below)] == below
    finally:
        docker.run("rmi", name)
        docker.run("rmi", f"{registry}/base:3.11-slim-bookworm")


@pytest.mark.docker
def test_a_base_that_is_nowhere_is_an_error(docker: Docker) -> None:
    base = f"127.0.0.1:{free_port()}/base@sha256:{'0' * 64}"
    with pytest.raises((Rejected, Retryable), match="base"):
        build_image(docker, base)


@pytest.mark.docker
def test_a_pushed_image_is_pinned_by_digest_and_fetched_where_it_is_missing(docker: Docker, registry: str) -> None:
    pinned = eventually_pushed(docker, "haproxy:lts", f"{registry}/front")
    assert pinned.startswith(f"{registry}/front@sha256:")
    docker.run("rmi", f"{registry}/front:lts")
    require_image(docker, pinned)
    assert docker.has_image(pinned)
    docker.run("rmi", pinned)
    with pytest.raises(Rejected, match=r"not found|unknown"):
        require_image(docker, pinned[:-4] + "0000")


@pytest.mark.docker
def test_the_image_has_no_training_stack_and_no_receiver(docker: Docker) -> None:
    name = build_image(docker)
    listing = "import importlib.util as u; print([m for m in ('sklearn','pandas','receiver','ml') if u.find_spec(m)])"
    assert docker.run("run", "--rm", "--entrypoint", "python", name, "-c", listing).strip() == "[]"
    assert docker.run("image", "inspect", "--format", "{{.Config.User}}", name).strip() == "10001:10001"


def eventually_pushed(docker: Docker, image: str, destination: str) -> str:
    """Pushed by digest, as soon as the registry is up."""
    pushed: list[str] = []

    def push() -> bool:
        with suppress(Rejected):
            pushed.append(push_image(docker, image, destination))
        return bool(pushed)

    eventually(push, 20)
    return pushed[0]
