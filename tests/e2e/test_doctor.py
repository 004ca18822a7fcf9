"""``pinrail doctor`` on a set-up that works, beside its running receiver, and on one that does not."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import Versions
from tests.support.ports import free_port
from tests.support.waiting import eventually
from tests.support.world import World

pytestmark = pytest.mark.long


def examined(world: World) -> tuple[int, dict[str, Any]]:
    done = world.command("doctor", "--json")
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_a_set_up_that_works_is_all_ok_beside_its_receiver(tmp_path: Path, versions: Versions) -> None:
    with World(tmp_path, versions, stabilise_seconds=0.2) as world:
        world.commit(versions.good)
        with world.program():
            eventually(lambda: world.verified() == versions.good, 60)
            status, checks = examined(world)
            assert (status, [check for check in checks.values() if not check["ok"]]) == (0, [])
            assert "our receiver's" in checks[f"port {world.environ['PINRAIL_PUBLIC_PORT']}"]["found"]
            assert "our receiver's" in checks[f"port {world.environ['PINRAIL_ADMIN_PORT']}"]["found"]
            assert checks[f"port {world.port}"]["found"] == f"serves staging/{world.model} v{versions.good}"
            assert "readable" in checks[f"{world.model} v{versions.good}"]["found"]
            assert "one runs" in checks["receiver"]["found"]


def test_everything_that_is_missing_is_reported_at_once(tmp_path: Path, versions: Versions) -> None:
    with World(tmp_path, versions, stabilise_seconds=0.2) as world:
        world.environ |= {
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
            "PINRAIL_REPO_URL": f"file://{tmp_path}/nowhere.git",
            "PINRAIL_STATE_DIR": str(tmp_path / "fresh"),
        }
        status, checks = examined(world)
        assert status == 1
        assert {name for name, check in checks.items() if not check["ok"]} >= {"repository", "registry"}
        done = world.command("doctor")
        assert "NOT OK  registry" in done.stdout
        assert "do: MLFLOW_TRACKING_URI" in done.stdout
        database = tmp_path / "fresh/pinrail.db"
        assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(database.stat().st_mode) & 0o077 == 0


def test_missing_settings_are_named(tmp_path: Path, versions: Versions) -> None:
    with World(tmp_path, versions, stabilise_seconds=0.2) as world:
        del world.environ["PINRAIL_REPO_URL"]
        del world.environ["PINRAIL_WEBHOOK_SECRET"]
        _, checks = examined(world)
        assert "PINRAIL_REPO_URL and PINRAIL_WEBHOOK_SECRET" in checks["settings"]["found"]
        world.environ["PINRAIL_TARGET"] = "kubernetes"
        _, checks = examined(world)
        assert "PINRAIL_TARGET: found 'kubernetes', allowed 'auto'" in checks["settings"]["found"]
        world.environ |= {
            "PINRAIL_TARGET": "process",
            "PINRAIL_REPO_URL": "file:///x",
            "PINRAIL_WEBHOOK_SECRET": "long enough to be one",
        }
        (world.state / ".env").write_text("PINRAIL_POLL_SECOND=5\n")
        _, checks = examined(world)
        assert checks["settings"]["found"] == (
            "PINRAIL_POLL_SECOND in .env is no setting: is PINRAIL_POLL_SECONDS meant?"
        )
