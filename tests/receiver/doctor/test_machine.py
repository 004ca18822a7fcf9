import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.adapters.lock import exclusive, holder
from receiver.doctor import machine
from receiver.doctor.clock import clock
from receiver.settings import Settings
from tests.support.ports import free_port


def settings(tmp_path: Path, **more: object) -> Settings:
    return Settings(pinrail_state_dir=tmp_path / "state", **more)  # type: ignore[arg-type]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program has; it says nothing."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_git_says_its_version() -> None:
    assert machine.git().ok
    assert machine.git().found.startswith("git version")


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    check = machine.state_directory(settings(tmp_path))
    assert (check.ok, "PINRAIL_STATE_DIR" in check.todo) == (False, True)


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.state_directory(settings(tmp_path)).ok
    monkeypatch.setattr(machine, "FREE_BYTES", 1 << 62)
    assert not machine.state_directory(settings(tmp_path)).ok


def test_who_holds_the_state_directory_is_told(tmp_path: Path) -> None:
    assert holder(tmp_path / "state") is None
    with exclusive(tmp_path / "state"):
        assert "process" in machine.receiver(settings(tmp_path)).found
    assert holder(tmp_path / "state") is None
    assert "pinrail up" in machine.receiver(settings(tmp_path)).todo


def test_a_port_that_another_program_has_is_not_ours(
    tmp_path: Path, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "HTTP_SECONDS", 0.2)
    of_public = machine.listener_port(settings(tmp_path, pinrail_public_port=taken), "public")
    assert (of_public.ok, "PINRAIL_PUBLIC_PORT" in of_public.todo) == (False, True)
    of_model = machine.model_port("127.0.0.1", "staging", "churn-model", taken)
    assert (of_model.ok, "environments/staging.yaml" in of_model.todo) == (False, True)
    assert machine.model_port("127.0.0.1", "staging", "churn-model", free_port()).ok


def test_no_engine_is_no_fault_unless_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    assert machine.engine(settings(tmp_path, pinrail_target="process")).ok
    assert machine.engine(settings(tmp_path, pinrail_target="auto")).ok
    assert not machine.engine(settings(tmp_path, pinrail_target="compose")).ok


def test_a_clock_that_is_off_is_told(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    assert "127.0.0.1" in clock([nowhere, mlflow_server]).found
    assert clock([nowhere, mlflow_server]).ok
    monkeypatch.setattr("receiver.doctor.clock.SKEW_SECONDS", -1.0)
    assert not clock([mlflow_server]).ok
    assert clock([]).ok
