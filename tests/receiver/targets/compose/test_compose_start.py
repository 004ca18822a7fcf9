"""Waiting for a container to become healthy, without an engine: what the engine says is made up."""

from pathlib import Path

import pytest

from receiver.adapters.docker import Docker
from receiver.core.state import Role
from receiver.targets.compose import containers as containers_module
from receiver.targets.compose import target as compose
from receiver.targets.compose.containers import ContainerDiscovery, ServerContainer
from receiver.targets.compose.project import Place
from receiver.targets.compose.target import ComposeTarget
from tests.contracts.target import spec


def test_a_server_that_is_busy_for_a_moment_while_it_is_observed_has_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = ServerContainer("v1-abcd", "v1-abcd", "p", spec(1, 8000), "running", "127.0.0.1", "v1-abcd")
    monkeypatch.setattr(containers_module, "discover", lambda *_: ContainerDiscovery([container], []))
    monkeypatch.setattr(compose, "is_healthy", lambda _: True)
    answers = iter([False, False, True])
    monkeypatch.setattr(containers_module, "is_healthy", lambda *_: next(answers))
    target = ComposeTarget(Docker(), Place("test", tmp_path, "127.0.0.1", "image"), start_seconds=5)
    server = target.start(spec(1, 8000))
    assert (server.id, server.role) == ("v1-abcd", Role.CANDIDATE)
