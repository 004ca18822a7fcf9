"""One receiver per state directory."""

import os
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


def test_a_second_receiver_is_refused_and_told_who_is_first(tmp_path: Path) -> None:
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
