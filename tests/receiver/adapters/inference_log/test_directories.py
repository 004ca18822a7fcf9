"""Where model servers record, and the key of their hashes."""

import stat
from pathlib import Path

import pytest

from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.state import Slot

STAGING, PRODUCTION = Slot("staging", "m"), Slot("production", "m")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_each_slot_has_a_directory_and_a_key_of_its_own_that_stay_the_same(tmp_path: Path) -> None:
    directories = LogDirectories(tmp_path)
    one, other = directories.prepare(STAGING), directories.prepare(PRODUCTION)
    assert one is not None
    assert other is not None
    keys = [(directory / "key").read_bytes() for directory in (one, other)]
    assert len({*keys, (tmp_path / "inference" / "key").read_bytes()}) == 3
    assert LogDirectories(tmp_path).prepare(STAGING) == one
    assert (one / "key").read_bytes() == keys[0]


def test_nobody_else_reads_the_keys(tmp_path: Path) -> None:
    directory = LogDirectories(tmp_path).prepare(STAGING)
    assert directory is not None
    assert [mode(path) for path in (tmp_path / "inference", directory)] == [0o700, 0o700]
    assert [mode(path) for path in (tmp_path / "inference" / "key", directory / "key")] == [0o600, 0o600]


def test_a_container_may_write_there_but_not_replace_its_key(tmp_path: Path) -> None:
    directory = LogDirectories(tmp_path).prepare(STAGING, shared=True)
    assert directory is not None
    assert (mode(directory), mode(directory / "key")) == (0o1777, 0o644)
    assert mode(tmp_path / "inference") == 0o700


def test_a_directory_that_cannot_be_made_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "inference").write_text("in the way")
    assert LogDirectories(tmp_path).prepare(STAGING) is None
    assert "nothing will be recorded" in caplog.text
