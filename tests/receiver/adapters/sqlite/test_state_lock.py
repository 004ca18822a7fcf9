"""One receiver per state directory."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.adapters.sqlite.state_lock import exclusive
from receiver.core.errors import Rejected

PROGRAM = """
import pathlib, sys
from receiver.adapters.sqlite.state_lock import exclusive
with exclusive(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
ROOT = Path(__file__).parents[4]


def test_a_second_receiver_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path / "state"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with (
            pytest.raises(Rejected, match=f"process {first.pid}: .*PINRAIL_STATE_DIR"),
            exclusive(tmp_path / "state"),
        ):
            pass
        first.kill()
        first.wait()
        with exclusive(tmp_path / "state"):  # the kernel has given it back
            assert (tmp_path / "state" / "lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_is_free_again_after_an_orderly_end(tmp_path: Path) -> None:
    for _ in range(2):
        with exclusive(tmp_path):
            pass


def test_a_program_started_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with exclusive(tmp_path):
        pass
    child.communicate()


@pytest.mark.parametrize("existing", [False, True])
def test_another_local_user_can_neither_read_the_state_directory_nor_lock_it(tmp_path: Path, existing: bool) -> None:
    state = tmp_path / "state"
    if existing:
        state.mkdir(mode=0o755)
        (state / "lock").touch(mode=0o644)
    with exclusive(state):
        assert stat.S_IMODE(state.stat().st_mode) == 0o700
        assert stat.S_IMODE((state / "lock").stat().st_mode) == 0o600


def test_a_state_directory_of_somebody_else_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    state = tmp_path / "state"
    state.mkdir(mode=0o755)
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(Rejected, match="another PINRAIL_STATE_DIR"), exclusive(state):
        pass
