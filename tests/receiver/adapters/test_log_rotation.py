"""Logs of programs that go on writing are cut where they are, and nothing that is new is lost."""

import threading
import time
from pathlib import Path

import pytest

from receiver.adapters import log_rotation
from receiver.adapters.log_rotation import LogRotation


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_rotation, "LIMIT", 100)
    monkeypatch.setattr(log_rotation, "KEPT", 10)


def test_a_log_that_grew_too_long_is_cut_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    with path.open("ab", buffering=0) as written:
        written.write(b"x" * 200 + b"0123456789")
        LogRotation(tmp_path).run(threading.Event())
        assert path.read_bytes() == b""
        assert (tmp_path / "server.log.1").read_bytes() == b"0123456789"
        written.write(b"and on")
    assert path.read_bytes() == b"and on"


def test_other_logs_stay_and_what_was_cut_off_goes_with_its_log(tmp_path: Path) -> None:
    for name in ("short.log", "short.log.1", "gone.log.1", "other.txt"):
        (tmp_path / name).write_bytes(b"x" * 50)
    LogRotation(tmp_path).run(threading.Event())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.txt", "short.log", "short.log.1"]


def test_no_directory_is_no_error(tmp_path: Path) -> None:
    assert LogRotation(tmp_path / "nowhere").run(threading.Event()) > time.time()
