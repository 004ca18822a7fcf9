"""``pinrail down`` with model servers that run: it stops them, and the next receiver starts the same versions."""

from pathlib import Path

import pytest

from receiver.core.state import Role
from tests.support.models import Versions
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.long


def test_down_stops_every_server_once_no_receiver_runs_and_up_starts_the_same_version(
    tmp_path: Path, versions: Versions
) -> None:
    with World(tmp_path, versions, stabilise_seconds=0.2) as world:
        world.commit(versions.good)
        with world.program() as receiver:
            eventually(lambda: world.verified() == versions.good, 60)
            refused = world.command("down")
            assert (refused.returncode, refused.stdout) == (1, "")
            assert f"process {receiver.pid}" in refused.stderr
            assert world.health()["version"] == versions.good
        assert world.health()["version"] == versions.good
        done = world.command("down")
        assert (done.returncode, done.stdout) == (0, f"stopped staging/{world.model} v{versions.good} (live)\n")
        assert world.servers() == []
        with pytest.raises(OSError, match="refused"):
            world.health()
        assert world.command("down").stdout == "no model server is running\n"
        with world.program():
            eventually(lambda: [s.role for s in world.servers()] == [Role.LIVE], 60)
            assert world.health()["version"] == versions.good
