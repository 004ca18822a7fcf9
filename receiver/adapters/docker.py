"""Docker's client and its compose plugin: what was asked, what came back, and what a failure means.

Nothing of a repository reaches it but the variables of ``compose/serving.yaml``: every call names its project, its
file, its directory and an empty ``.env``, so ``COMPOSE_*`` variables and ``.env`` files around it have no effect.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from receiver.adapters import shell
from receiver.core.errors import Rejected, Retryable

SECONDS = 30.0
SHOWN = 2000  # characters of what it said
# What the client says while the engine is stopped, stopping or starting.
ENGINE_GONE = re.compile(
    r"Cannot connect to the Docker daemon|error during connect|unexpected EOF|: EOF$|daemon is shutting down",
    re.IGNORECASE | re.MULTILINE,
)

# The default address pools end at some 30 networks, whoever made them.
POOLS_EMPTY = re.compile(r"non-overlapping IPv4 address pool|predefined address pools", re.IGNORECASE)


class RefusedByDockerError(Rejected):
    """The engine is there and says no; the text is the end of what it said."""

    def __init__(self, reason: str, said: str = "") -> None:
        super().__init__(reason)
        self.said = said  # all of it


@dataclass(frozen=True, slots=True)
class Project:
    """A compose project: its name, and the file that describes it."""

    name: str
    file: Path


class Docker:
    """The engine that ``DOCKER_HOST`` or the client's current context names."""

    def __init__(self) -> None:
        self._environment = shell.scrubbed(os.environ, *shell.DOCKER)

    def run(
        self,
        *arguments: str,
        timeout: float = SECONDS,
        stdin: bytes = b"",
        stop: Callable[[], None] | None = None,
    ) -> str:
        """``docker ARGUMENTS``; returns its standard output. ``stop`` is asked while it runs, and raises to end it.

        Raises:
            Retryable: no engine answers, or not in time.
            RefusedByDockerError: the engine did not do it.
        """
        output = shell.run(
            ["docker", *arguments], environment=self._environment, timeout=timeout, stdin=stdin, stop=stop
        )
        return _understood(output, arguments[0])

    def words(self, *arguments: str) -> str:
        """``docker ARGUMENTS``; standard output and error as one text, as a person would see them."""
        output = shell.run(["docker", *arguments], environment=self._environment, timeout=SECONDS)
        _understood(output, arguments[0])
        return output.stdout + output.stderr

    def up(self, project: Project, services: Sequence[str], variables: Mapping[str, str]) -> None:
        """Create and start these services' containers and touch no other. Raises what :meth:`run` raises."""
        argv = ["docker", "compose", "--project-name", project.name, "--file", str(project.file)]
        argv += ["--project-directory", str(project.file.parent), "--env-file", os.devnull, "--progress", "quiet"]
        argv += ["up", "--detach", "--no-deps", "--no-build", "--no-recreate", *services]
        output = shell.run(
            argv,
            environment={**self._environment, **variables, "COMPOSE_IGNORE_ORPHANS": "true"},
            timeout=SECONDS,
            directory=project.file.parent,
        )
        _understood(output, "compose up")

    def answers(self) -> bool:
        """An engine is there, and so is compose v2."""
        try:
            self.run("version", "--format", "{{.Server.Version}}", timeout=5)
            self.run("compose", "version", "--short", timeout=5)
        except (Retryable, Rejected):
            return False
        return True

    def has_image(self, image: str) -> bool:
        """The image is on this machine."""
        try:
            self.run("image", "inspect", "--format", "{{.Id}}", image)
        except RefusedByDockerError:
            return False
        return True


def time_of(engines: str) -> float:
    """A time as the engine writes it, in seconds since the epoch; its fractions have up to nine digits."""
    whole, _, rest = engines.partition(".")
    zone = rest.lstrip("0123456789") or "Z"
    return datetime.fromisoformat(f"{whole}{zone}" if rest else engines).timestamp()


def _understood(output: shell.Output, asked: str) -> str:
    if output.status == 0:
        return output.stdout
    said = "\n".join(line for line in output.stderr.strip().splitlines() if line.strip())
    shown = said[-SHOWN:]
    if ENGINE_GONE.search(shown):
        raise Retryable(f"no docker engine answers (`docker {asked}`): {shown}")
    if POOLS_EMPTY.search(shown):
        raise Retryable(
            f"docker has no subnet left for another network (`docker {asked}`): remove unused ones (`docker network "
            f"prune`), or give it smaller pools, as docs/compose.md describes ({shown})"
        )
    raise RefusedByDockerError(shown or f"`docker {asked}` ended with status {output.status}", said)
