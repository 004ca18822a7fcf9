"""A forked ``pinrail`` does what the installed program does."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import command_line
from tests.support.ports import free_port
from tests.support.waiting import eventually

PROGRAM = Path(sys.executable).with_name("pinrail")
NOWHERE = {
    "PINRAIL_REPO_URL": "file:///nonexistent/K\u00f6ln.git",
    "PINRAIL_STATE_DIR": "state",  # in the directory that it is started in
    "PINRAIL_TARGET": "process",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
}


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Path, Path]:
    """Where the installed program runs, and where the forked one does."""
    both = tmp_path / "installed", tmp_path / "forked"
    for directory in both:
        directory.mkdir()
    return both


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("", 2),
        ("--help", 0),
        ("promote --help", 0),
        ("staus", 2),
        ("promote churn-model", 2),
        ("history", 0),
        ("live --json --at sometime", 2),
        ("check", 1),
        ("status", 1),
    ],
)
def test_it_prints_and_ends_as_the_installed_program_does(
    directories: tuple[Path, Path], line: str, status: int
) -> None:
    arguments, environment = line.split(), {**os.environ, **NOWHERE}
    installed = subprocess.run(
        [PROGRAM, *arguments],
        cwd=directories[0],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    forked = command_line.run(arguments, environment, directories[1])
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        installed.returncode,
        installed.stdout.replace("/installed", "/forked"),
        installed.stderr.replace("/installed", "/forked"),
    )
    assert forked.returncode == status
    left = [{path.relative_to(directory) for path in directory.rglob("*")} for directory in directories]
    assert left[0] == left[1]


def test_a_variable_that_is_not_handed_over_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINRAIL_TARGET", "kubernetes")
    path = {"PATH": os.environ["PATH"]}
    assert "kubernetes" in command_line.run(["status"], os.environ, tmp_path).stderr
    assert "PINRAIL_REPO_URL" in command_line.run(["status"], path, tmp_path).stderr


def test_a_signal_ends_it_as_it_ends_the_installed_program(directories: tuple[Path, Path]) -> None:
    """Ctrl-C, which the process that it is forked from ignores."""
    secret = {"PINRAIL_WEBHOOK_SECRET": "correct horse battery staple"}
    ports = [free_port() for _ in range(4)]
    installed, forked = (
        {**os.environ, **NOWHERE, **secret, "PINRAIL_PUBLIC_PORT": str(public), "PINRAIL_ADMIN_PORT": str(admin)}
        for public, admin in (ports[:2], ports[2:])
    )
    log = directories[1] / "log"
    with (directories[0] / "log").open("wb") as output:
        program = subprocess.Popen(
            [PROGRAM, "up"], cwd=directories[0], env=installed, stdout=output, stderr=subprocess.STDOUT
        )
    process = command_line.start(["up"], forked, directories[1], log)
    try:
        eventually(lambda: listens(ports[0]) and listens(ports[2]), 60)
        assert process.pid is not None
        for pid in (program.pid, process.pid):
            os.kill(pid, signal.SIGINT)
        process.join(30)
        assert process.exitcode == program.wait(30), log.read_text()
    finally:
        program.kill()
        process.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
