"""The platform stack of ``compose/platform.yaml`` under a name of its own, run by its own script."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from receiver.adapters.docker import Docker
from receiver.targets.compose.project import COMPOSE
from tests.support.ports import free_port


@dataclass(frozen=True)
class Platform:
    """A running platform; ``environ`` is what its administrator needs, ``receiver`` what the receiver has."""

    project: str
    env_file: Path
    port: int
    docker: Docker

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environ(self) -> dict[str, str]:
        said = _read(self.env_file)
        return {"MLFLOW_TRACKING_URI": self.url} | {k: v for k, v in said.items() if k.startswith("MLFLOW_TRACKING_")}

    @property
    def receiver(self) -> dict[str, str]:
        return _read(self.env_file.with_name("receiver.env"))

    def run(self, *arguments: str) -> None:
        """``platform.sh ARGUMENTS``."""
        environment = {
            **os.environ,
            "PLATFORM_ENV": str(self.env_file),
            "PLATFORM_PROJECT": self.project,
            "MLFLOW_PORT": str(self.port),
        }
        done = subprocess.run(
            ["sh", str(COMPOSE / "platform.sh"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def destroy(self) -> None:
        """Containers, networks and data."""
        self.docker.run(
            *("compose", "--project-name", self.project, "--env-file", str(self.env_file), "--file"),
            *(str(COMPOSE / "platform.yaml"), "down", "--volumes", "--timeout", "5"),
            timeout=120,
        )


def _read(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


@contextmanager
def running_platform(docker: Docker, directory: Path) -> Iterator[Platform]:
    """A platform with nothing in it; gone in the end."""
    platform = Platform(f"pinrail-test-{secrets.token_hex(3)}", directory / "platform.env", free_port(), docker)
    try:
        platform.run("up")
        yield platform
    finally:
        if platform.env_file.exists():
            platform.destroy()
