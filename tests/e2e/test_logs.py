"""``pinrail logs`` and ``pinrail open`` beside a receiver and real model servers."""

import os
from pathlib import Path

import pytest

from tests.support import command_line
from tests.support.models import Versions
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.long


def test_a_log_is_followed_from_one_version_to_the_next(tmp_path: Path, versions: Versions) -> None:
    with World(tmp_path, versions, stabilise_seconds=0.2) as world:
        world.commit(versions.good)
        with world.program():
            eventually(lambda: world.verified() == versions.good, 60)
            assert world.command("open").stdout == f"http://127.0.0.1:{world.environ['PINRAIL_ADMIN_PORT']}/\n"
            assert world.command("open", "staging", world.model).stdout == f"http://127.0.0.1:{world.port}/\n"
            (server,) = world.servers()
            log = world.state / f"logs/{server.id}.log"
            with log.open("a") as file:
                file.write("first\n\x1b[31msecond\x1b[0m\nMLFLOW_TRACKING_TOKEN=a-long-token\n")
            done = world.command("logs", "staging", world.model, "--lines", "2")
            assert done.stdout == "second\nMLFLOW_TRACKING_TOKEN=a-long-token\n"
            assert done.stderr == f"==> staging/{world.model} v{versions.good}, live: {server.id}\n"

            seen = tmp_path / "seen"
            arguments = ["logs", "staging", world.model, "-f", "-n", "1"]
            follower = command_line.start(arguments, {**os.environ, **world.environ}, world.state, seen)
            try:
                eventually(lambda: seen.exists() and "a-long-token" in seen.read_text(), 30)
                with log.open("a") as file:
                    file.write("third\n")
                eventually(lambda: "third" in seen.read_text())
                world.commit(versions.better)
                assert world.push() == 202
                eventually(lambda: f"v{versions.better}, live: " in seen.read_text(), 60)
                eventually(lambda: world.verified() == versions.better, 60)
                (server,) = [s for s in world.servers() if s.spec.version == versions.better]
                with (world.state / f"logs/{server.id}.log").open("a") as file:
                    file.write("of the next one\n")
                eventually(lambda: "of the next one" in seen.read_text(), 30)
            finally:
                follower.terminate()
                follower.join(30)
