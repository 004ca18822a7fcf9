"""Ngrok's agent as a process of ours: its configuration, what it may know, and its end.

The authtoken reaches it in a file of ours, because a command line is there for everybody to read. pyngrok starts it
with all of our environment, so what it starts is a launcher that lets nothing but the necessary through. The launcher
notes the process id: an agent whose receiver was killed would hold a reserved domain for ever.
"""

import json
import os
import shlex
import shutil
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from receiver.adapters import shell
from receiver.core.errors import PinrailError

if TYPE_CHECKING:
    from pyngrok.conf import PyngrokConfig

END_SECONDS = 5.0


def configure(directory: Path, token: str) -> "PyngrokConfig":
    """Write configuration and launcher below ``directory``, and end an agent that an earlier receiver left there.

    Ngrok is the one on PATH, or else one that pyngrok fetches. Its API listens on a loopback port of its own.
    """
    from pyngrok import ngrok
    from pyngrok.conf import DEFAULT_NGROK_PATH, PyngrokConfig

    directory.mkdir(parents=True, exist_ok=True)
    settings, launcher = directory / "ngrok.yml", directory / "ngrok"
    _end_orphan(directory / "ngrok.pid", settings)
    program = shutil.which("ngrok") or DEFAULT_NGROK_PATH
    ngrok.install_ngrok(PyngrokConfig(ngrok_path=program))
    agent = {"authtoken": token, "web_addr": f"127.0.0.1:{_free_port()}", "console_ui": False}
    _write(settings, json.dumps({"version": 3, "agent": agent}), 0o600)  # JSON is YAML
    _write(launcher, _launcher(program, directory / "ngrok.pid"), 0o700)
    config = PyngrokConfig(ngrok_path=str(launcher), config_path=str(settings), start_new_session=True)
    config.auth_token = None  # or pyngrok takes it from our environment and puts it on the command line
    return config


def end(config: "PyngrokConfig") -> None:
    """End the agent, and see it end; no agent is fine."""
    from pyngrok import process

    if not process.is_process_running(config.ngrok_path):
        return
    agent = process.get_process(config)
    process.kill_process(config.ngrok_path)
    reader = agent._monitor_thread  # noqa: SLF001 - pyngrok leaves it and its pipe to the garbage collector
    if reader is not None:
        reader.join(END_SECONDS)
    if agent.proc.stdout is not None:
        agent.proc.stdout.close()


def _launcher(program: str, pid: Path) -> str:
    known = " ".join(shlex.quote(f"{name}={value}") for name, value in shell.scrubbed(os.environ).items())
    return f'#!/bin/sh\necho $$ >{shlex.quote(str(pid))}\nexec env -i {known} {shlex.quote(program)} "$@"\n'


def _end_orphan(pid: Path, settings: Path) -> None:
    """End the process that the launcher noted, if it is an agent with our configuration still."""
    try:
        number = int(pid.read_text())
        found = shell.run(["ps", "-o", "args=", "-p", str(number)], environment=dict(os.environ), timeout=END_SECONDS)
        if str(settings) in found.stdout:
            os.kill(number, signal.SIGTERM)
    except (OSError, ValueError, PinrailError):
        return  # none was noted, or it is gone


def _write(path: Path, text: str, mode: int) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
