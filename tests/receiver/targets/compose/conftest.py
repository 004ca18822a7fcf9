"""What the tests of containers share: the engine, and a place that is cleaned up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.adapters.docker import Docker
from receiver.targets.compose.project import Place
from tests.support.docker_engine import owned_place, required_docker, tiny_image


@pytest.fixture
def docker() -> Docker:
    return required_docker()


@pytest.fixture
def place(docker: Docker, tmp_path: Path) -> Iterator[Place]:
    with owned_place(docker, tmp_path / "state", tiny_image(docker)) as place:
        yield place
