"""``pinrail logs``: what the model server of a slot writes, from one version to the next."""

import os
import sys
import time
from collections.abc import Iterator, Sequence

from receiver.adapters import shell
from receiver.core.errors import Rejected
from receiver.core.redact import Redactor
from receiver.core.state import USEFULNESS, Server, Slot
from receiver.ports import Target
from receiver.settings import Settings, load_settings
from receiver.wiring import build_target, target_name

CHECK_SECONDS = 1.0  # how soon a new version's log is followed


def show_logs(slot: Slot, *, lines: int, follow: bool) -> None:
    """Print the last lines of the live server's log; with ``follow`` also what comes, until interrupted.

    Rejected: no server of that slot runs.
    """
    settings = load_settings()
    target, redact = build_target(settings), Redactor(settings.secrets)
    server: Server | None = live_server(target, slot)
    while server is not None:
        sys.stderr.write(f"==> {slot} v{server.spec.version}, {server.role}: {server.id}\n")
        for line in _lines(settings, target, server, (lines, follow)):
            sys.stdout.write(f"{redact.line(line)}\n")
            sys.stdout.flush()
        server = _next(target, server) if follow else None


def live_server(target: Target, slot: Slot) -> Server:
    """The server that has the slot's traffic, else the one that may get it. Rejected: none runs."""
    running = target.observe()
    found = _chosen(running, slot)
    if found is None:
        others = ", ".join(sorted({str(server.spec.slot) for server in running})) or "none"
        raise Rejected(f"no server of {slot} runs; running are: {others}")
    return found


def _chosen(running: Sequence[Server], slot: Slot) -> Server | None:
    servers = [server for server in running if server.spec.slot == slot]
    return min(servers, key=lambda server: USEFULNESS.index(server.role), default=None)


def _lines(settings: Settings, target: Target, server: Server, wanted: tuple[int, bool]) -> Iterator[str]:
    """The lines of one server's log, until another one has the traffic or this one has ended."""
    lines, follow = wanted
    if target_name(settings) == "compose":
        several = server.spec.replicas > 1
        names = [f"{server.id}-{number}" for number in range(1, server.spec.replicas + 1)] if several else [server.id]
        for name in names[:-1]:  # docker follows one: the last
            yield from _printed(["docker", "logs", "--tail", str(lines), name])
        argv = ["docker", "logs", "--tail", str(lines), *(["--follow"] if follow else []), names[-1]]
    else:
        logs = settings.pinrail_state_dir / "logs"
        numbered = [logs / f"{server.id}.{number}.log" for number in range(1, server.spec.replicas + 1)]
        files = numbered if server.spec.replicas > 1 else [logs / f"{server.id}.log"]
        argv = ["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, files)]
    check_at = time.monotonic() + CHECK_SECONDS
    for line in shell.stream(argv, environment=shell.scrubbed(os.environ, *shell.DOCKER), pause=CHECK_SECONDS):
        if line is not None:
            yield line
        if follow and time.monotonic() >= check_at:
            found = _chosen(target.observe(), server.spec.slot)
            if found is None or found.id != server.id:
                return
            check_at = time.monotonic() + CHECK_SECONDS


def _printed(argv: Sequence[str]) -> Iterator[str]:
    for line in shell.stream(argv, environment=shell.scrubbed(os.environ, *shell.DOCKER), pause=CHECK_SECONDS):
        if line is not None:
            yield line


def _next(target: Target, server: Server) -> Server:
    """Wait for a server of the slot, this one again or another."""
    while (found := _chosen(target.observe(), server.spec.slot)) is None:
        time.sleep(CHECK_SECONDS)
    return found
