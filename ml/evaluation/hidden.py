"""Keeping what this process holds from other processes of the same user: a model's, for one."""

import ctypes
import sys

PR_SET_DUMPABLE = 4


def hide_memory() -> None:
    """Close this process's environment and memory to other processes, and write no core dumps. Linux only.

    What it starts is readable again, and gets no secrets but its own. Where the kernel has no such switch, nothing
    happens.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
