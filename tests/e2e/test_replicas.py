"""A whole receiver and several replicas: one that ends is replaced, and nobody but its own callers notices."""

from pathlib import Path

import pytest

from tests.support.models import register_artifact_only
from tests.support.process_target import COMMAND, kill_replica
from tests.support.waiting import eventually
from tests.support.world import Watcher, World

pytestmark = pytest.mark.long


def test_a_replica_that_is_killed_is_replaced_while_the_others_answer(tmp_path: Path, mlflow_server: str) -> None:
    versions = register_artifact_only(mlflow_server, "replaced-replica")
    with World(tmp_path, versions, 0.2, COMMAND, replicas=3) as world:
        world.bring_up(versions.good)
        with world.receiver():
            world.settle(versions.good)
            (server,) = world.servers()
            with Watcher(world) as watcher:
                kill_replica(world.state, server, 2)
                eventually(lambda: len(world.deployments()) == 2 and world.agrees(versions.good), 30)
        assert [found.id for found in world.servers()] == [server.id], "no swap"
        assert len(watcher.failures) <= 1, "what the replica was asked when it ended"
        healed = world.deployments()[0]
        assert str(healed.draft.cause) == "drift"
        assert f"{server.id}.2" in healed.reason
