"""Limits on processors and memory for processes, by the kernel's control groups, below the receiver's own group.

Version 1 has a tree per controller, version 2 one for all. With version 2, a group that has processes of its own
hands no controller on to groups below it, so the receiver needs a parent that it may write and in which nothing runs.
systemd makes one with ``Delegate=yes`` and ``DelegateSubgroup=``.
"""

import contextlib
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from receiver.core.errors import Rejected

PERIOD = 100_000  # microseconds
CONTROLLERS = ("cpu", "memory")
GONE_SECONDS = 2.0  # a group can be removed a moment after its last process has ended


@dataclass(frozen=True, slots=True)
class Kernel:
    """Where the kernel says which groups there are; other places in tests."""

    mounts: Path = Path("/proc/self/mountinfo")
    own: Path = Path("/proc/self/cgroup")


class Cgroups:
    """The groups of one state directory's servers, one per process. Nothing about them is remembered here."""

    def __init__(self, state: Path, kernel: Kernel | None = None) -> None:
        self._kernel = kernel or Kernel()
        self._name = f"pinrail-{hashlib.sha256(str(state).encode()).hexdigest()[:8]}"

    def refusal(self) -> str:
        """Why no limits can be set here; empty: they can."""
        try:
            self._trees()
        except (OSError, LookupError) as error:
            said = error.strerror if isinstance(error, OSError) else error.args[0]
            return (
                f"the receiver may not set limits on this machine ({said}): let systemd delegate control groups to "
                "it (Delegate=yes and DelegateSubgroup=receiver in its unit), or use the compose target"
            )
        return ""

    def confine(self, name: str, pid: int, cpus: float, memory_mb: int) -> None:
        """Put a process into a group of this name, with these limits; 0: none. Rejected: that cannot be done."""
        try:
            trees = self._trees()
            for tree in dict.fromkeys(trees.values()):
                (tree / name).mkdir(parents=True, exist_ok=True)
            for path, value in _limits(trees, name, cpus, memory_mb):
                path.write_text(value, encoding="ascii")
            for tree in dict.fromkeys(trees.values()):
                (tree / name / "cgroup.procs").write_text(str(pid), encoding="ascii")
        except (OSError, LookupError) as error:
            raise Rejected(f"the limits beside the pin cannot be set for {name}: {error}") from error

    def ran_out_of_memory(self, name: str) -> bool:
        """The kernel has ended a process of this group because it needed more memory than it may have."""
        for found in self._found(name):
            for file in ("memory.events", "memory.oom_control"):
                with contextlib.suppress(OSError):
                    lines = (found / file).read_text(encoding="ascii").splitlines()
                    if any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines):
                        return True
        return False

    def remove(self, names: Sequence[str] = (), keep: Sequence[str] | None = None) -> None:
        """Remove these groups, or with ``keep`` all others, if nothing runs in them any more."""
        deadline = time.monotonic() + GONE_SECONDS
        found = [group for name in names for group in self._found(name)]
        if keep is not None:
            every = [group for tree in self._below() for group in tree.iterdir() if group.is_dir()]
            found, deadline = [group for group in every if group.name not in keep], time.monotonic()
        for group in found:
            while True:
                try:
                    group.rmdir()
                except FileNotFoundError:
                    break
                except OSError:  # the kernel is not done with it
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.02)
                else:
                    break

    def _found(self, name: str) -> list[Path]:
        return [tree / name for tree in self._below() if (tree / name).is_dir()]

    def _below(self) -> list[Path]:
        with contextlib.suppress(OSError, LookupError):
            places = [place for _, candidates in self._candidates() for place in candidates]
            return [place / self._name for place in dict.fromkeys(places) if (place / self._name).is_dir()]
        return []

    def _trees(self) -> Mapping[str, Path]:
        """Where groups are made, by controller; made if need be. LookupError, OSError: nowhere."""
        found: dict[str, Path] = {}
        error: OSError | None = None
        for controller, candidates in self._candidates():
            for place in candidates:
                try:
                    self._prepare(place)
                except OSError as refused:
                    error = refused
                else:
                    found[controller] = place / self._name
                    break
        if missing := [controller for controller in CONTROLLERS if controller not in found]:
            raise error or LookupError(f"there is no control group with {' and '.join(missing)}")
        return found

    def _prepare(self, place: Path) -> None:
        """Let groups of ours have the controllers, in version 2. OSError: that is not ours to decide."""
        if (place / "cgroup.subtree_control").exists():
            wanted = " ".join(f"+{controller}" for controller in CONTROLLERS)
            for group in (place, place / self._name):
                group.mkdir(exist_ok=True)
                (group / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
        (place / self._name).mkdir(exist_ok=True)

    def _candidates(self) -> Iterator[tuple[str, Sequence[Path]]]:
        """For each controller the groups below which ours may be made, best first."""
        own: dict[str, str] = {}
        for line in self._kernel.own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            own |= dict.fromkeys(controllers.split(","), path)  # version 2 names none
        for line in self._kernel.mounts.read_text(encoding="utf-8").splitlines():
            fields, _, rest = line.partition(" - ")
            root, mounted = fields.split()[3:5]
            kind, _, options = rest.split()[:3]
            if kind == "cgroup2":
                place = _inside(Path(mounted), root, own.get("", "/"))
                if set(CONTROLLERS) <= set(_read(place / "cgroup.controllers").split()):
                    yield from ((controller, (place, place.parent)) for controller in CONTROLLERS)
            elif kind == "cgroup":
                for controller in set(options.split(",")) & set(CONTROLLERS):
                    yield controller, (_inside(Path(mounted), root, own.get(controller, "/")),)


def _limits(trees: Mapping[str, Path], name: str, cpus: float, memory_mb: int) -> Iterator[tuple[Path, str]]:
    cpu, memory = trees["cpu"] / name, trees["memory"] / name
    if cpus and (cpu / "cpu.max").exists():
        yield cpu / "cpu.max", f"{round(cpus * PERIOD)} {PERIOD}"
    elif cpus:
        yield cpu / "cpu.cfs_period_us", str(PERIOD)
        yield cpu / "cpu.cfs_quota_us", str(round(cpus * PERIOD))
    if memory_mb and (memory / "memory.max").exists():
        yield memory / "memory.max", str(memory_mb << 20)
        yield memory / "memory.swap.max", "0"
    elif memory_mb:
        yield memory / "memory.limit_in_bytes", str(memory_mb << 20)


def _inside(mounted: Path, root: str, own: str) -> Path:
    """Where a group is, seen from here: what is mounted may be a part of the tree, or the path be relative to it."""
    below = own.removeprefix(root.rstrip("/")) if own.startswith(root) else own
    place = mounted / below.lstrip("/")
    return place if place.is_dir() else mounted


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
