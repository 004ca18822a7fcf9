"""What a model's process can reach: the system's files, Python's, its own version, one directory to write to.

By Landlock, which needs no rights: Linux from 5.13 on; from 6.7 on it also ends connections by TCP, and from 6.12 on
signals to processes outside. Nothing else is restricted, Unix sockets of other programs for one. Where the kernel has
no Landlock, nothing is.
"""

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import ml
import serving

# The numbers are the same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION = 1  # a flag of CREATE_RULESET
PATH_BENEATH = 1
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 24, 38
CAPABILITIES = 64

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = (1 << bit for bit in range(4))
TRUNCATE = 1 << 14
EVERYTHING = (1 << 13) - 1  # that the first version knows
LATER = {2: 1 << 13, 3: TRUNCATE}  # what later ones added
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
READ = EXECUTE | READ_FILE | READ_DIR
CONNECT_TCP = 1 << 1
SIGNAL = 1 << 1
NETWORK_VERSION, SCOPE_VERSION = 4, 6

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/nix", "/proc", "/sys")
DEVICES = "/dev"
SERVING, ML = (Path(package.__path__[0]).resolve() for package in (serving, ml))
DATA = "data"  # of ``ml``: rows with labels
PACKAGES = {"site-packages", "dist-packages"}


def version() -> int:
    """Return the version of Landlock that this kernel has; 0: none."""
    if sys.platform != "linux":
        return 0
    found: int = _libc().syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION))
    return max(0, found)


def restrict(readable: Sequence[Path], writable: Sequence[Path], *, network: bool) -> None:
    """Restrict this process, and what it starts, for good. OSError: the kernel refuses.

    Args:
        readable: directories beside those of the system and of Python.
        writable: directories; the devices are too.
        network: may open connections by TCP.
    """
    found = version()
    if found == 0:
        return
    handled = EVERYTHING | sum(bit for since, bit in LATER.items() if found >= since)
    rules = struct.pack("=Q", handled)
    if found >= NETWORK_VERSION:
        rules += struct.pack("=Q", 0 if network else CONNECT_TCP)
    if found >= SCOPE_VERSION:
        rules += struct.pack("=Q", SIGNAL)
    ruleset = _call(CREATE_RULESET, ctypes.c_char_p(rules), ctypes.c_size_t(len(rules)), ctypes.c_uint32(0))
    try:
        for path in (*map(Path, SYSTEM), *python_paths(), *readable):
            _allow(ruleset, path, READ)
        for path in (SERVING.parent, ML):
            _allow(ruleset, path, READ_DIR)  # only names: Python looks there for modules
        for path in (Path(DEVICES), *writable):
            _allow(ruleset, path, handled)
        for capability in range(CAPABILITIES):  # of root; others have none
            _libc().prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
        if _libc().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        _call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def python_paths() -> list[Path]:
    """Return where this Python and its packages are; of a checkout, no more than what a model server can import."""
    paths = [Path(path) for path in (sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path) if path]
    paths += [path for path in Path(sys.prefix).iterdir() if path.is_symlink()]  # a venv made of links
    elsewhere = [path for path in paths if path.name in PACKAGES or path.resolve() not in SERVING.parents]
    return [SERVING, *(path for path in ML.iterdir() if path.name != DATA), *elsewhere]


def _allow(ruleset: int, path: Path, access: int) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            access &= -1 if path.is_dir() else ON_FILES
            rule = ctypes.c_char_p(struct.pack("=Qi", access, opened))
            _call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(PATH_BENEATH), rule, ctypes.c_uint32(0))
        finally:
            os.close(opened)


def _call(number: int, *arguments: object) -> int:
    result: int = _libc().syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock refuses: {os.strerror(ctypes.get_errno())}")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
