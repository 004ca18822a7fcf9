"""Which target ``PINRAIL_TARGET`` means, with a stand-in for docker's client that answers as the engine would."""

from pathlib import Path
from typing import get_args

import pytest

from receiver.settings import Settings, TargetName, load_settings
from receiver.targets.compose.target import ComposeTarget
from receiver.targets.process.target import ProcessTarget
from receiver.wiring import TARGETS, build_target, remember_target, target_name

WITH_IMAGE = "exit 0"
WITHOUT_IMAGE = 'if [ "$1" = image ]; then echo "No such image" >&2; exit 1; fi'
NO_ENGINE = 'echo "Cannot connect to the Docker daemon. Is the docker daemon running?" >&2; exit 1'


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory on PATH."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


def docker(programs: Path, script: str) -> None:
    program = programs / "docker"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def settings(tmp_path: Path, target: str = "auto") -> Settings:
    (tmp_path / "state").mkdir(exist_ok=True)
    return load_settings(pinrail_state_dir=tmp_path / "state", pinrail_target=target)


@pytest.mark.parametrize(
    ("script", "name"),
    [(WITH_IMAGE, "compose"), (WITHOUT_IMAGE, "process"), (NO_ENGINE, "process"), (None, "process")],
)
def test_auto_is_compose_where_an_engine_has_the_image(
    tmp_path: Path, programs: Path, script: str | None, name: str
) -> None:
    if script is not None:
        docker(programs, script)
    assert target_name(settings(tmp_path)) == name


def test_auto_stays_with_what_was_chosen_when_an_engine_appears_or_goes(tmp_path: Path, programs: Path) -> None:
    remember_target(settings(tmp_path))
    docker(programs, WITH_IMAGE)
    assert target_name(settings(tmp_path)) == "process"
    remember_target(settings(tmp_path, "compose"))
    docker(programs, NO_ENGINE)
    assert target_name(settings(tmp_path)) == "compose"


def test_a_name_counts_more_than_what_was_chosen_before(tmp_path: Path, programs: Path) -> None:
    remember_target(settings(tmp_path, "compose"))
    assert target_name(settings(tmp_path, "process")) == "process"


def test_a_remembered_name_that_is_no_target_is_process(tmp_path: Path, programs: Path) -> None:
    (settings(tmp_path).pinrail_state_dir / "target").write_text("swarm")
    assert target_name(settings(tmp_path)) == "process"


@pytest.mark.usefixtures("programs")
def test_each_name_builds_its_target(tmp_path: Path) -> None:
    built = {name: type(build_target(settings(tmp_path, name))) for name in TARGETS}
    assert built == {"process": ProcessTarget, "compose": ComposeTarget}


def test_the_settings_name_every_target_and_auto() -> None:
    assert set(TARGETS) == set(get_args(TargetName))
    assert set(get_args(Settings.model_fields["pinrail_target"].annotation)) == {"auto", *TARGETS}
