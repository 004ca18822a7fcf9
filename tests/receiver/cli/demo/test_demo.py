"""The demo's surroundings. CI runs the demo itself: ``pinrail demo --once``."""

from pathlib import Path

import pytest

from ml.environment.file import parse_environment
from receiver.adapters.sqlite.state_lock import exclusive
from receiver.cli.demo.environment import SECRET, DemoEnvironment, clear
from receiver.cli.demo.ports import USUAL, Ports
from receiver.core.errors import Rejected
from receiver.settings import load_settings


def test_a_second_demo_leaves_the_first_alone(tmp_path: Path) -> None:
    with exclusive(tmp_path / "state"):
        with pytest.raises(Rejected, match=r"a demo is already running .* process \d+.*: end it with Ctrl-C first"):
            clear(tmp_path)
        assert (tmp_path / "state/lock").exists()
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["staging", "production"])
def test_the_demo_has_the_gate_of_this_repositorys_environments(tmp_path: Path, name: str) -> None:
    path = f"environments/{name}.yaml"
    ours = parse_environment((Path(__file__).parents[4] / path).read_bytes(), path)
    demo = DemoEnvironment(tmp_path, Ports(dict(USUAL), {})).environment_files()
    assert parse_environment(demo[path], path).gate == ours.gate


def test_commands_started_beside_the_demo_find_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = DemoEnvironment(tmp_path, Ports(dict(USUAL), {}))
    stage.write_settings()
    monkeypatch.chdir(tmp_path)
    settings = load_settings("pinrail_repo_url", "pinrail_webhook_secret")
    assert settings.webhook_secrets == (SECRET.encode(),)
    assert {name: str(getattr(settings, name.lower())) for name in stage.environ if "SECRET" not in name} == {
        name: value for name, value in stage.environ.items() if "SECRET" not in name
    }
