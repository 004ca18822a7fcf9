"""Exceptions of asyncio tasks that nobody retrieved: a failure of the test that dropped the task.

asyncio logs them in a finalizer, which may run in the middle of anything. Formatting the traceback there calls
``ast.parse``, which fails if it was ``ast.parse`` that was interrupted. So they are kept unformatted here.
"""

import gc
import logging
from types import ModuleType

import pytest

MESSAGES = ("exception was never retrieved", "was destroyed but it is pending")


class DroppedTasks(logging.Filter):
    """Keeps what asyncio says about dropped tasks, for the guard, and away from every handler."""

    def __init__(self) -> None:
        super().__init__()
        self._said: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is about something else."""
        message = str(record.msg)
        if not any(part in message for part in MESSAGES):
            return True
        error = record.exc_info[1] if record.exc_info else None
        self._said.append(f"{message}: {error!r}")
        return False

    def fail_if_any(self, module: ModuleType | None) -> None:
        """Fail the test that just ended if it dropped a task. Collects garbage if its module uses asyncio at all."""
        if hasattr(module, "asyncio"):
            gc.collect()
        said, self._said = self._said, []
        if said:
            pytest.fail("a task was dropped; await it, also after a failure:\n" + "\n".join(said), pytrace=False)


DROPPED_TASKS = DroppedTasks()
