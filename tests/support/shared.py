"""What the processes of one test run use together: whoever needs it first starts or makes it, for all."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

Start = Callable[[Path], AbstractContextManager[str]]  # a server with its data in a directory; its URL


def shared_directory(factory: pytest.TempPathFactory) -> Path:
    """A directory that all processes of this run see."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def shared_server(config: pytest.Config, directory: Path, start: Start) -> str:
    """The URL of a server that all processes of this run share. It ends when the last of them has no tests left."""
    directory.mkdir(exist_ok=True)
    stack = ExitStack()
    config.add_cleanup(stack.close)  # after the tests: no test's time is spent on waiting for other processes
    return stack.enter_context(_in_use(directory, start))


def made_once(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What ``make`` returned to the first process that asked."""
    with _locked(path.with_suffix(".lock")):
        if not path.exists():
            path.write_text(json.dumps(make()))
        found: dict[str, Any] = json.loads(path.read_text())
        return found


@contextmanager
def _in_use(directory: Path, start: Start) -> Iterator[str]:
    """Who started it holds it until nobody else does; who comes while it ends starts it again, on the same data."""
    url = directory / "url"
    with (directory / "users").open("a") as users, ExitStack() as server:
        fcntl.flock(users, fcntl.LOCK_SH)
        with _locked(directory / "starting"):
            owner = not url.exists()
            if owner:
                url.write_text(server.enter_context(start(directory)))
        yield url.read_text()
        if owner:
            fcntl.flock(users, fcntl.LOCK_EX)
            url.unlink(missing_ok=True)  # pytest's directories of old runs are tidied up by new ones


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
