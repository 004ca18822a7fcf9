"""docs/first-promotion.md, walked: every command of the page in a fresh clone, as a newcomer types them."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from receiver.adapters import shell
from receiver.cli.demo.environment import end_servers
from tests.support.git_repos import git
from tests.support.ports import free_port
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/first-promotion.md").read_text()
MOST_COMMANDS = 8
PORTS = {port: free_port() for port in (5000, 8000, 8001)}  # the page's, and those of this walk


def commands() -> list[str]:
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def moved(text: str) -> str:
    """The text with the ports of this walk."""
    for port, free in PORTS.items():
        text = re.sub(rf"\b{port}\b", str(free), text)
    return text


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A fork of this work tree as it is now, uncommitted changes included."""
    work, bare = tmp_path / "work", tmp_path / "fork.git"
    listed = subprocess.run(
        ["git", "ls-files", "-zco", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, work / name)
    for environment in (work / "environments").glob("*.yaml"):
        environment.write_text(moved(environment.read_text()))
    git(work, "init", "--quiet", "--initial-branch=main")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "A fork")
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(bare))
    return bare


@contextmanager
def running(command: str, clone: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A command that stays in the foreground of its terminal, until Ctrl-C; then what it started is gone too."""
    log = clone.parent / "terminal.log"
    pid = shell.start(["bash", "-c", f"exec {command}"], environment=environment, directory=clone, log=log)
    try:
        eventually(lambda: shell.exit_status(pid) is not None or "webhooks: http" in log.read_text(), 90)
        assert shell.exit_status(pid) is None, log.read_text()
        yield
    finally:
        os.kill(pid, signal.SIGINT)
        eventually(lambda: shell.exit_status(pid) is not None, 60)
        end_servers(clone / ".pinrail")
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", PORTS[5000]), timeout=5):  # noqa: PT011
        pass


@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_page_leads_to_a_promotion_and_ends_with_everything_in_sync(tmp_path: Path, fork: Path) -> None:
    first, settings, up, *rest = commands()
    assert len([first, settings, up, *rest]) <= MOST_COMMANDS
    clone, installed = tmp_path / "pinrail", ROOT / ".venv"
    environment = {
        **shell.scrubbed(os.environ, "GIT_"),
        "PATH": f"{installed / 'bin'}:{os.environ['PATH']}",
        "PINRAIL_TARGET": "process",
        "PINRAIL_POLL_SECONDS": "2",
        "PINRAIL_STABILISE_SECONDS": "1",
        "PINRAIL_PUBLIC_PORT": str(free_port()),
        "PINRAIL_ADMIN_PORT": str(free_port()),
    }

    def type_in(command: str, directory: Path) -> str:
        # The installation itself is what `make test` began with.
        command = moved(command).replace("git@github.com:<you>/pinrail.git", f"file://{fork} pinrail")
        command = command.replace("make install", f"ln -s {installed} .venv")
        command = f"set -eo pipefail; {command}"
        done = subprocess.run(
            ["bash", "-c", command], cwd=directory, env=environment, check=False, capture_output=True
        )
        said, errors = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == 0, f"{command}:\n{said}{errors}"
        return said

    def served() -> dict[str, int]:
        slots = json.loads(type_in("pinrail status --json", clone))["environments"]
        return {slot["environment"]: slot["serving_version"] for slot in slots if slot["state"] == "in sync"}

    type_in(first, tmp_path)
    type_in(settings, clone)
    with running(up, clone, environment):
        *before, promote, merge, status = rest
        for command in before:
            assert "FAIL" not in type_in(command, clone)
        eventually(lambda: served() == {"staging": 1, "production": 1}, 90)
        type_in(promote, clone)
        type_in(merge, clone)
        eventually(lambda: served() == {"staging": 2, "production": 1}, 90)
        assert "in sync" in type_in(status, clone)
        assert httpx.get(f"http://127.0.0.1:{PORTS[8000]}/health").json()["version"] == 2
