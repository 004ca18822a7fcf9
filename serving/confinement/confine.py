"""Confining this process: what it can still reach is the system, Python, and the places that it is given."""

import contextlib
import ctypes
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.confinement import landlock, places, seccomp

PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
CAPABILITIES = 64
CAPABILITY_VERSION = 0x20080522
READ = landlock.EXECUTE | landlock.READ_FILE | landlock.READ_DIR


@dataclass(frozen=True, slots=True)
class Reach:
    """What a confined process is left with, beside the system and Python."""

    readable: Sequence[Path]
    writable: Sequence[Path]
    network: bool = False
    modes: bool = False  # of files may be changed: also of those that cannot be read
    hidden: Sequence[Path] = ()  # not even where the system or Python is around it


def missing() -> str:
    """What this kernel cannot do of :func:`confine`; empty: nothing."""
    found = landlock.version()
    if not found:
        return "the kernel has no Landlock (Linux from 5.13 has, where it is not switched off)"
    lacks = [] if seccomp.available() else ["Unix sockets and UDP"]
    lacks += ["connections by TCP"] if found < landlock.NETWORK_VERSION else []
    lacks += ["signals to other processes"] if found < landlock.SCOPE_VERSION else []
    return f"this kernel (Landlock {found}) does not restrict {', '.join(lacks)}" if lacks else ""


_in_force: list[Reach] = []


def in_force() -> bool:
    """Whether this process has been confined."""
    return bool(_in_force)


def confine(reach: Reach) -> None:
    """Confine this process, which has one thread, for good, and what it starts; as far as the kernel can.

    OSError: the kernel refuses.
    """
    if not landlock.version():
        return
    _drop_capabilities()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    landlock.restrict(list(_rules(reach)), network=reach.network)
    if seccomp.available():
        seccomp.restrict(network=reach.network, modes=reach.modes)
    _in_force.append(reach)


def _rules(reach: Reach) -> Iterator[landlock.Rule]:
    hidden = [path.resolve() for path in reach.hidden]
    for path in (*places.system(), *places.python()):
        for part in _around(path, hidden):
            yield part, READ
    for path in reach.readable:
        yield path, READ
    for path in places.devices():
        yield path, landlock.READ_FILE | landlock.WRITE_FILE
    if not any(places.SHARED_MEMORY in (path, *path.parents) for path in hidden):
        # For locks between processes and arrays that they share. Names of others' cannot be listed.
        use = landlock.READ_FILE | landlock.WRITE_FILE | landlock.TRUNCATE
        yield places.SHARED_MEMORY, use | landlock.MAKE_REG | landlock.REMOVE_FILE
    for path in reach.writable:
        yield path, landlock.EVERYTHING


def _around(path: Path, hidden: Sequence[Path]) -> Iterator[Path]:
    """The path or, where something hidden is below, what is beside that."""
    found = path.resolve()
    if found in hidden:
        return
    if not any(found in one.parents for one in hidden):
        yield path
        return
    with contextlib.suppress(OSError):
        for child in found.iterdir():
            yield from _around(child, hidden)


def _drop_capabilities() -> None:
    """Of root; others have none. From now on a program that it runs has none either."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(CAPABILITIES):
        libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if libc.capset(ctypes.c_char_p(struct.pack("=Ii", CAPABILITY_VERSION, 0)), ctypes.c_char_p(bytes(24))):
        raise OSError(ctypes.get_errno(), "capset")
