"""Landlock: the kernel denies this process, and what it starts, all files and ports that no rule allows.

It needs no rights. Linux has it from 5.13 on, connections by TCP from 6.7, signals to other processes from 6.12.
"""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

# The numbers are the same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION = 1  # a flag of CREATE_RULESET
PATH_BENEATH, NET_PORT = 1, 2

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
REMOVE_FILE, MAKE_REG = 1 << 5, 1 << 8
TRUNCATE = 1 << 14
EVERYTHING = (1 << 13) - 1  # that the first version knows
LATER = {2: 1 << 13, 3: TRUNCATE}  # what later ones added
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
BIND_TCP, CONNECT_TCP = 1, 1 << 1
ABSTRACT_SOCKETS, SIGNALS = 1, 1 << 1
NETWORK_VERSION, SCOPE_VERSION = 4, 6

Rule = tuple[Path, int]  # what may be done at a path, and below it; EVERYTHING includes what later versions added


def version() -> int:
    """Return the version of Landlock that this kernel has; 0: none."""
    if sys.platform != "linux":
        return 0
    found: int = _libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION))
    return max(0, found)


def restrict(rules: Sequence[Rule], *, network: bool) -> None:
    """Restrict this thread and what it starts, for good; ``PR_SET_NO_NEW_PRIVS`` is set. OSError: the kernel refuses.

    Args:
        rules: paths that are not there are left out.
        network: may open connections by TCP, and listen on ports that the system chooses; else neither.
    """
    found = version()
    everything = EVERYTHING | sum(bit for since, bit in LATER.items() if found >= since)
    attributes = struct.pack("=Q", everything)
    if found >= NETWORK_VERSION:
        attributes += struct.pack("=Q", BIND_TCP if network else BIND_TCP | CONNECT_TCP)
    if found >= SCOPE_VERSION:
        attributes += struct.pack("=Q", ABSTRACT_SOCKETS | SIGNALS)
    ruleset = _call(CREATE_RULESET, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path, access in rules:
            _allow(ruleset, path, everything if access == EVERYTHING else access)
        if network and found >= NETWORK_VERSION:
            _add(ruleset, NET_PORT, struct.pack("=QQ", BIND_TCP, 0))
        _call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            access &= -1 if path.is_dir() else ON_FILES
            _add(ruleset, PATH_BENEATH, struct.pack("=Qi", access, opened))
        finally:
            os.close(opened)


def _add(ruleset: int, kind: int, rule: bytes) -> None:
    _call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(kind), ctypes.c_char_p(rule), ctypes.c_uint32(0))


def _call(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock refuses: {os.strerror(ctypes.get_errno())}")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
