"""A real engine for tests: what needs one is skipped where none answers, or fails where one is required."""

import contextlib
import functools
import io
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.adapters.docker import Docker
from receiver.targets.compose.build import build_image
from receiver.targets.compose.labels import OWNER
from receiver.targets.compose.project import COMPOSE, Place
from receiver.targets.compose.target import ComposeTarget

SUPPORT = Path(__file__).parent
TINY = """
FROM {base}
COPY tiny_server.py tiny_container.py /tiny/tests/support/
ENV PYTHONPATH=/app:/tiny
ENTRYPOINT ["python", "-m", "tests.support.tiny_container"]
"""


@functools.cache
def engine() -> Docker | None:
    """The engine, asked for once."""
    docker = Docker()
    return docker if docker.answers() else None


def required_docker() -> Docker:
    """The engine. Skips the test where none answers, unless PINRAIL_REQUIRE_DOCKER is set: then it fails."""
    docker = engine()
    if docker is None:
        if os.environ.get("PINRAIL_REQUIRE_DOCKER"):
            pytest.fail("a docker engine with compose v2 is required, and none answers")
        pytest.skip("no docker engine with compose v2 answers")
    return docker


@functools.cache
def tiny_image(docker: Docker) -> str:
    """An image of small servers, upon the real serving image."""
    base = build_image(docker)
    name = base.replace("pinrail-serving", "pinrail-test-serving")
    docker.run("build", "--quiet", "--tag", name, "-", stdin=_context(TINY.format(base=base)), timeout=600)
    return name


@contextlib.contextmanager
def owned_place(docker: Docker, state: Path, image: str, compose: Path = COMPOSE) -> Iterator[Place]:
    """A place of one test's own; every container and network of it is gone in the end."""
    owner = f"pinrail-test-{secrets.token_hex(3)}"
    try:
        yield Place(owner, state, "127.0.0.1", image, compose)
    finally:
        sweep(docker, owner)


def compose_target(docker: Docker, place: Place, start_seconds: float = 60.0) -> ComposeTarget:
    """The real target."""
    return ComposeTarget(docker, place, start_seconds)


def sweep(docker: Docker, owner: str) -> None:
    """Remove what one owner's tests left."""
    listed = docker.run("ps", "--all", "--quiet", "--filter", f"label={OWNER}={owner}").split()
    if listed:
        docker.run("rm", "--force", "--volumes", *listed)
    images = docker.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", f"{owner}-packages*").split()
    if images:
        docker.run("image", "rm", *images)
    networks = docker.run("network", "ls", "--quiet", "--filter", f"name=^{owner}-").split()
    if networks:
        docker.run("network", "rm", *networks)


def _context(dockerfile: str) -> bytes:
    files = {"Dockerfile": dockerfile.encode()}
    files |= {name: (SUPPORT / name).read_bytes() for name in ("tiny_server.py", "tiny_container.py")}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()
