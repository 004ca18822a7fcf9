"""Run a program of somebody else's within limits, and end it whole: with all that it has started.

``python -m ml.evaluation.guard MEGABYTES SECONDS READABLE WRITABLE PROGRAM ...``, where READABLE and WRITABLE are
directories, several joined as those of PATH are, and the program may reach no other files, but the network. Without
WRITABLE it is not confined: a model server confines itself.

It ends when its standard input does, which it also does when the process that started it is killed. On Linux, what
the program leaves behind becomes a child of this process, however it was started, and ends with it; elsewhere only
the program's own process group does.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from serving.confinement.confine import Reach, confine

PR_SET_CHILD_SUBREAPER = 36
TICK_SECONDS = 0.1
END_SECONDS = 10.0  # for what was killed to be gone
MOST_PROCESSES = max(200, 4 * (os.cpu_count() or 1))
LARGEST_FILE = 1 << 30  # that it may write, in bytes

# Exit statuses beside the program's own.
TOO_LARGE, TOO_LONG, TOO_MANY = 101, 102, 103


def adopt_orphans() -> None:
    """Become the parent of what this process's descendants leave behind, so that :func:`end_all` finds it. Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(pid: int) -> list[int]:
    """Return the processes below one, nearest first."""
    children = _children_of_all() if not Path(f"/proc/{pid}/task/{pid}/children").exists() else None
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop(0)
        below = _children(parent) if children is None else children.get(parent, [])
        found += below
        waiting += below
    return found


def resident_mb(pids: Collection[int]) -> float:
    """Return the resident memory of some processes together, in megabytes; of those that have ended, none."""
    if not Path("/proc/self/statm").exists():
        return sum(kilobytes for pid, (_, kilobytes) in _ps().items() if pid in pids) / 1024
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024**2


def end_all() -> None:
    """Kill every process below this one, what they start meanwhile too, and wait until they are gone."""
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:  # none is left
            return
        time.sleep(TICK_SECONDS / 10)


def _paths(joined: str) -> list[Path]:
    return [Path(path) for path in joined.split(os.pathsep) if path]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def _children_of_all() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in _ps().items():
        children.setdefault(parent, []).append(pid)
    return children


def _ps() -> dict[int, tuple[int, int]]:
    """Every process with its parent and its resident kilobytes: for systems without Linux's /proc."""
    listed = subprocess.run(
        ["ps", "-axo", "pid=,ppid=,rss="],  # noqa: S607 - macOS and BSD keep it in different places
        capture_output=True,
        check=True,
        text=True,
        timeout=END_SECONDS,
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return {int(pid): (int(parent), int(kilobytes)) for pid, parent, kilobytes in rows}


def _watch(process: "subprocess.Popen[bytes]", megabytes: float, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while (status := process.poll()) is None:
        if select.select([sys.stdin], [], [], TICK_SECONDS)[0]:
            return 0
        there = descendants(os.getpid())
        if len(there) > MOST_PROCESSES:
            return TOO_MANY
        if resident_mb(there) > megabytes:
            return TOO_LARGE
        if time.monotonic() > deadline:
            return TOO_LONG
    return status if status >= 0 else 128 - status


def main(arguments: Sequence[str]) -> int:
    """Run the program; returns its exit status, or why it was ended."""
    megabytes, seconds, readable, writable, *command = arguments
    # It installs packages, which have programs.
    reach = Reach(_paths(readable), _paths(writable), network=True, modes=True)
    adopt_orphans()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        close_fds=False,  # this process has inherited what the program is to, and nothing else
        # There is one thread here, so that this is safe.
        preexec_fn=partial(confine, reach) if writable else None,  # noqa: PLW1509
    )
    try:
        return _watch(process, float(megabytes), float(seconds))
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        end_all()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
