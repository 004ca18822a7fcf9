"""What docker's client says, and whose fault that is."""

import os
from pathlib import Path

import pytest

from receiver.adapters.docker import Docker, RefusedByDockerError
from receiver.core.errors import Rejected, Retryable


@pytest.mark.parametrize(
    ("said", "kind", "expected"),
    [
        ("Cannot connect to the Docker daemon at unix:///x. Is it running?", Retryable, "no docker engine answers"),
        (
            "Error response from daemon: could not find an available, non-overlapping IPv4 address pool",
            Retryable,
            r"no subnet left for another network .*`docker network prune`.*docs/compose.md",
        ),
        (
            "Error response from daemon: all predefined address pools have been fully subnetted",
            Retryable,
            "no subnet",
        ),
        ("Error response from daemon: conflict", RefusedByDockerError, "conflict"),
    ],
)
def test_a_failure_is_the_engines_or_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type[Exception], expected: str
) -> None:
    """Only a refusal may be held against a version."""
    program = tmp_path / "docker"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(kind, match=expected) as raised:
        Docker().run("network", "create", "x")
    assert isinstance(raised.value, Rejected) == (kind is RefusedByDockerError)
