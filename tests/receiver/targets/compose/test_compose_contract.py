"""The contract of targets, kept by containers of a real engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.core.state import Server
from tests.contracts.replicas import ReplicaContract
from tests.contracts.target import Rig, TargetContract, asked_version, occupied
from tests.support import tiny_server
from tests.support.docker_engine import compose_target, owned_place, required_docker, tiny_image


@pytest.mark.docker
@pytest.mark.timeout(180)
class TestComposeTarget(TargetContract, ReplicaContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        docker = required_docker()

        def kill(server: Server) -> None:
            docker.run("kill", server.id)

        def kill_replica(server: Server) -> None:
            docker.run("kill", f"{server.id}-1")

        with owned_place(docker, tmp_path, tiny_image(docker)) as place:
            target = compose_target(docker, place)
            yield Rig(target, tiny_server.EXITS_AT_ONCE, asked_version, kill, occupied, kill_replica)
