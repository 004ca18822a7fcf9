"""How a container ended and what it said last: the engine's own record of it, for a person to read."""

import json
import time
from typing import Any

from receiver.adapters.docker import Docker
from receiver.core.errors import Rejected

LINES = 15
WIDTH = 500  # characters of one line
OUT_OF_MEMORY = (
    "OOMKilled: it needed more memory than resources.memory beside its pin gives it; "
    "without that it has mem_limit of compose/serving.yaml"
)


def log_tail(docker: Docker, container: str) -> str:
    """How the container is or how it ended, then the last lines of its log, without control characters.

    Retryable: no engine answers.
    """
    try:
        (state,) = json.loads(docker.run("inspect", "--type", "container", container))
        lines = _tail(docker.words("logs", "--tail", str(LINES), container))
    except Rejected:
        return f"{container}: there is no such container any more"
    return "\n".join([f"{container} {_exit_description(docker, state)}; its log ends:", *lines])


def _exit_description(docker: Docker, raw: dict[str, Any]) -> str:
    state = raw["State"]
    if raw["RestartCount"]:
        return (
            f"ended {raw['RestartCount']} times and was restarted ({'; '.join(_deaths(docker, raw)) or 'no record'})"
        )
    if state["Status"] == "running":
        return "runs"
    if state["Status"] == "created":
        return f"was never started ({state['Error'] or 'its creation was cut short'})"
    why = f" ({OUT_OF_MEMORY})" if state["OOMKilled"] else ""
    return f"ended with exit status {state['ExitCode']}{why}"


def _deaths(docker: Docker, raw: dict[str, Any]) -> list[str]:
    """What the engine remembers of earlier ends; a restarted container itself shows only the present."""
    listed = docker.run(
        *("events", "--since", raw["Created"], "--until", f"{time.time():.9f}", "--filter", f"container={raw['Id']}"),
        *("--filter", "event=die", "--filter", "event=oom"),
        *("--format", '{{.Action}} {{index .Actor.Attributes "exitCode"}}'),
    )
    words = [
        OUT_OF_MEMORY if line.startswith("oom") else f"exit status {line.split()[-1]}" for line in listed.splitlines()
    ]
    return list(dict.fromkeys(words))


def _tail(text: str) -> list[str]:
    printable = ("".join(c if c.isprintable() else " " for c in line).rstrip()[:WIDTH] for line in text.splitlines())
    return [f"  {line}" for line in printable if line][-LINES:]
