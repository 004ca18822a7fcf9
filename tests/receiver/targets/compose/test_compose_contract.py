"""The contract of targets, kept by containers of a real engine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.errors import Rejected
from receiver.core.state import Server
from tests.contracts.target import Rig, TargetContract, asked_version, occupied, spec
from tests.support import small_models, tiny_server
from tests.support.docker_engine import compose_target, owned_place, required_docker, tiny_image
from tests.support.ports import free_port


@pytest.mark.docker
@pytest.mark.timeout(180)
class TestComposeTarget(TargetContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        docker = required_docker()

        def kill(server: Server) -> None:
            docker.run("kill", server.id)

        with owned_place(docker, tmp_path, tiny_image(docker)) as place:
            target = compose_target(docker, place)
            yield Rig(target, tiny_server.EXITS_AT_ONCE, asked_version, kill, occupied)


@pytest.mark.docker
@pytest.mark.timeout(180)
def test_what_the_image_lacks_is_known_before_anything_starts(tmp_path: Path) -> None:
    docker = required_docker()
    with owned_place(docker, tmp_path, tiny_image(docker)) as place:
        target, version = compose_target(docker, place), spec(1, free_port())
        artifacts = place.cache / version.digest.removeprefix("sha256:")
        small_models.save_classifier(artifacts, twin=False)
        (artifacts / "requirements.txt").write_text("lightgbm==4.7.0\n")
        with pytest.raises(Rejected, match=r"it needs lightgbm==4\.7\.0\. Register it"):
            target.missing_packages(version)
        assert list(target.observe()) == []
        gone = compose_target(docker, replace(place, image="pinrail-test:not-here"))
        assert gone.missing_packages(version) == "", "its start says that the image is not here"
