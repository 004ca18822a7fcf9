import re
from pathlib import Path

import pytest

from receiver.cli.doctor import engine as doctor
from receiver.settings import Settings
from receiver.targets.compose.build import build_image
from tests.support.docker_engine import required_docker


def settings(tmp_path: Path, target: str) -> Settings:
    return Settings(pinrail_state_dir=tmp_path / "state", pinrail_target=target)  # type: ignore[arg-type]


def test_no_engine_is_no_fault_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert doctor.engine(settings(tmp_path, "process")).ok
    assert doctor.engine(settings(tmp_path, "auto")).ok
    assert not doctor.engine(settings(tmp_path, "compose")).ok


def test_the_subnets_of_an_engine_are_those_of_its_pools() -> None:
    assert doctor.subnets(None) == doctor.subnets([]) == 31
    assert doctor.subnets([{"Base": "10.200.0.0/16", "Size": 26}, {"Base": "10.9.0.0/24", "Size": 24}]) == 1025
    assert doctor.subnets([{"Base": "fd00::/48", "Size": 64}, {"Base": "10.200.0.0/16", "Size": 26}]) == 1024


@pytest.mark.docker
def test_an_engine_without_subnets_is_named_before_a_network_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_image(required_docker())
    plenty = doctor.engine(settings(tmp_path, "compose"))
    assert (plenty.ok, plenty.todo) == (True, "")
    assert re.search(r"; \d+ of some \d+ subnets used", plenty.found)
    monkeypatch.setattr(doctor, "subnets", lambda _: 1)
    full = doctor.engine(settings(tmp_path, "compose"))
    assert (full.ok, "docker network prune" in full.todo) == (False, True)
