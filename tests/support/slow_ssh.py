"""A transport for real git that carries so many bytes a second: what GIT_SSH_COMMAND starts in ssh's place."""

import os
import shlex
import stat
import subprocess
import sys
import time
from pathlib import Path

STEP = 0.02


def slow_ssh(directory: Path, bytes_per_second: int) -> tuple[str, Path]:
    """A command for GIT_SSH_COMMAND, and the file that tells how many bytes each connection has carried."""
    command, carried = directory / "slow-ssh", directory / "carried"
    argv = [sys.executable, str(Path(__file__).resolve()), str(bytes_per_second), str(carried)]
    command.write_text(f'#!/bin/sh\n[ "$1" = -G ] && exit 1\nexec {shlex.join(argv)} "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return str(command), carried


def main(bytes_per_second: int, carried: Path, remote_command: str) -> int:
    process = subprocess.Popen(shlex.split(remote_command), stdout=subprocess.PIPE)
    assert process.stdout is not None
    total = 0
    while chunk := os.read(process.stdout.fileno(), max(1, int(bytes_per_second * STEP))):
        total += len(chunk)
        time.sleep(len(chunk) / bytes_per_second)
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    with carried.open("a") as file:
        file.write(f"{total}\n")
    return process.wait()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[-1]))
