"""Keeping what this process holds and writes from others."""

import os

from ml.evaluation.hidden import hide_memory


def hide_process() -> None:
    """Close this process's environment and memory to other processes, and what it writes to other users."""
    os.umask(0o077)
    hide_memory()
