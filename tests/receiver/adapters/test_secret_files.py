"""Secrets in files, and a process that keeps them to itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.core.errors import Rejected
from receiver.settings import load_settings, misspelt

SECRET = "a secret of thirty characters."
ROOT = Path(__file__).parents[3]
PR_GET_DUMPABLE = 3
PROGRAM = f"""
import ctypes, sys
from receiver.adapters.hidden import hide_process
hide_process()
print(ctypes.CDLL(None).prctl({PR_GET_DUMPABLE}), flush=True)
sys.stdin.read()
"""


def test_a_secret_is_read_from_the_file_that_its_setting_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "webhook").write_text(f"{SECRET}\n")
    (tmp_path / "password").write_text("of the registry")
    monkeypatch.setenv("PINRAIL_WEBHOOK_SECRET_FILE", str(tmp_path / "webhook"))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD_FILE", str(tmp_path / "password"))
    settings = load_settings("pinrail_webhook_secret")
    assert settings.webhook_secrets == (SECRET.encode(),)
    assert "of the registry" in settings.secrets  # masked, and where MLflow looks for it
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "of the registry"
    assert misspelt() == []


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "github_token"])
def test_systemds_credentials_are_found_by_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_text("ghp_x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    token = load_settings().github_token
    assert token is not None
    assert token.get_secret_value() == "ghp_x"


def test_a_secret_that_is_given_twice_or_cannot_be_read_is_refused_without_showing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN_FILE", str(tmp_path / "missing"))
    with pytest.raises(Rejected, match=r"GITHUB_TOKEN: .*missing cannot be read: No such file"):
        load_settings()
    monkeypatch.setenv("GITHUB_TOKEN", SECRET)
    with pytest.raises(Rejected, match="GITHUB_TOKEN is set, and so is the file") as raised:
        load_settings()
    assert SECRET not in str(raised.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel of Linux has this switch")
def test_another_process_of_the_same_user_cannot_read_the_receivers_environment() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"0\n"
        if os.geteuid():  # root may read everything
            with pytest.raises(PermissionError):
                Path(f"/proc/{process.pid}/environ").read_bytes()
        process.communicate()
