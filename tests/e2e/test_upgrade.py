"""A receiver of today on the state directory of an older one, all as processes."""

import json
import os
import sqlite3
import subprocess
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from receiver.adapters import shell
from tests.support import command_line
from tests.support.ports import free_port
from tests.support.waiting import eventually

pytestmark = pytest.mark.long
VERSION_0 = Path(__file__).parents[1] / "receiver" / "adapters" / "sqlite" / "version_0.sql"


def answer(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return json.load(response)
    except OSError:
        return None


def test_commands_wait_for_the_receiver_to_migrate_and_then_show_the_whole_history(tmp_path: Path) -> None:
    state, admin = tmp_path / "state", free_port()
    state.mkdir()
    with closing(sqlite3.connect(state / "pinrail.db")) as db:
        db.executescript(VERSION_0.read_text(encoding="utf-8"))
    environment = {
        **shell.scrubbed(os.environ, "GIT_", "MLFLOW_"),
        "PINRAIL_REPO_URL": f"file://{tmp_path}/none.git",
        "PINRAIL_WEBHOOK_SECRET": "correct horse battery staple",
        "PINRAIL_STATE_DIR": str(state),
        "PINRAIL_TARGET": "process",
        "PINRAIL_PUBLIC_PORT": str(free_port()),
        "PINRAIL_ADMIN_PORT": str(admin),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_port()}",
    }

    def history() -> subprocess.CompletedProcess[str]:
        return command_line.run(["history", "--json"], environment, tmp_path)

    refused = history()
    assert refused.returncode == 1
    error = json.loads(refused.stdout)["error"]
    assert "Only the receiver migrates the file: restart `pinrail up`" in error["message"]
    log = tmp_path / "receiver.log"
    process = command_line.start(["up", "--tunnel", "none"], environment, tmp_path, log)
    try:
        eventually(lambda: answer(f"http://127.0.0.1:{admin}/healthz"), 30)
        shown = history()
        deployments = answer(f"http://127.0.0.1:{admin}/api/deployments")["deployments"]
    finally:
        process.terminate()
        process.join(30)
    assert json.loads(shown.stdout) == deployments
    assert [d["outcome"] for d in deployments] == [
        "interrupted",  # it was running when the older receiver ended
        "refused",
        "waiting",
        "rolled-back",
        "live",
        "live",
    ]
    assert f"backup: {state}/pinrail.db.v0.bak" in log.read_text()
