"""The contract of targets, kept by the fake that other tests use and by real processes."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.replicas import ReplicaContract
from tests.contracts.target import Rig, TargetContract, asked_version, occupied
from tests.support import tiny_server
from tests.support.fake_target import FakeTarget
from tests.support.process_target import cleaned_up, kill_replica, process_target, send_signal


class TestFakeTarget(TargetContract, ReplicaContract):
    @pytest.fixture
    def rig(self) -> Rig:
        target = FakeTarget(broken=frozenset({7}))

        @contextlib.contextmanager
        def occupy(port: int) -> Iterator[None]:
            target.foreign_ports.add(port)
            yield
            target.foreign_ports.remove(port)

        return Rig(target, 7, target.public_version, target.die, occupy, target.lose_replica)


class TestProcessTarget(TargetContract, ReplicaContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Iterator[Rig]:
        with cleaned_up(tmp_path) as state:
            yield Rig(
                process_target(state),
                tiny_server.EXITS_AT_ONCE,
                asked_version,
                lambda server: send_signal(state, server, signal.SIGKILL),
                occupied,
                lambda server: kill_replica(state, server, 1),
            )
