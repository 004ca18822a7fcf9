from pathlib import Path

import pytest

from ml.env_file import export_env_file, read_env_file
from ml.errors import MlError
from tests.support.git_repos import git


def test_nothing_in_a_value_is_expanded(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "A=pa$sword\nB=a&b;c|d\nC='it is # no comment'\nD=plain # a comment\nexport E=\"x y\"\nF=${A}\n# G=1\nH=\n"
    )
    assert read_env_file(file) == {
        "A": "pa$sword",
        "B": "a&b;c|d",
        "C": "it is # no comment",
        "D": "plain",
        "E": "x y",
        "F": "${A}",
        "H": "",
    }
    assert read_env_file(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(("text", "line"), [("A=1\n\nB\n", 3), ("A=1\nB='never closed\n", 2), ("=x\n", 1)])
def test_a_line_that_sets_nothing_is_named_and_not_shown(text: str, line: int, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(text)
    with pytest.raises(MlError, match=rf"^{file}:{line}: found no setting, allowed NAME=value") as raised:
        read_env_file(file)
    assert "never" not in str(raised.value)


def test_what_libraries_read_is_exported_and_other_secrets_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("MLFLOW_TRACKING_PASSWORD=pa$sword\nMODEL_NAME=m\nGITHUB_TOKEN=t\nAWS_REGION=x\n")
    monkeypatch.chdir(tmp_path)
    environment: dict[str, str] = {"AWS_REGION": "y"}
    monkeypatch.setattr("os.environ", environment)
    export_env_file("MODEL_NAME")
    assert environment == {"MLFLOW_TRACKING_PASSWORD": "pa$sword", "MODEL_NAME": "m", "AWS_REGION": "y"}


def test_a_file_that_git_tracks_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    below = tmp_path / "deploy"
    below.mkdir()
    file = below / ".env"
    file.write_text("MLFLOW_TRACKING_URI=http://registry.example\nGITHUB_TOKEN=secret\n")
    assert read_env_file(file)
    git(tmp_path, "add", "--all")
    with pytest.raises(MlError, match=r"^.*/deploy/\.env: git tracks it, .*`git rm --cached \.env`") as raised:
        read_env_file(file)
    assert "secret" not in str(raised.value).replace("the secrets", "")
    git(tmp_path, "rm", "--quiet", "--cached", "deploy/.env")
    assert read_env_file(file)


def test_a_repository_runs_nothing_when_its_env_file_is_read(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "run").write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    (tmp_path / "run").chmod(0o755)
    (tmp_path / ".env").write_text("A=1\n")
    git(tmp_path, "add", ".env")
    git(tmp_path, "config", "core.fsmonitor", str(tmp_path / "run"))
    with pytest.raises(MlError):
        read_env_file(tmp_path / ".env")
    assert not (tmp_path / "was-run").exists()
