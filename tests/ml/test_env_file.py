import os
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


@pytest.mark.parametrize(
    ("credential", "address"),
    [
        ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI=https://elsewhere.example"),
        ("MLFLOW_TRACKING_PASSWORD_FILE", "MLFLOW_TRACKING_URI=https://elsewhere.example"),
        ("MLFLOW_TRACKING_TOKEN", "MLFLOW_REGISTRY_URI=https://127.0.0.1@elsewhere.example"),
        ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI=https://elsewhere.example\\@127.0.0.1"),
        ("DATABRICKS_TOKEN", "DATABRICKS_HOST=elsewhere.example"),
        ("AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_ENDPOINT_URL=http://elsewhere.example"),
    ],
)
def test_a_credential_of_the_environment_is_not_sent_where_the_file_says(
    credential: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = address.partition("=")[0]
    (tmp_path / ".env").write_text(f"{address}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(credential, "s3cret")
    monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        MlError, match=rf"{credential} is in the environment, .*{name}, is in .env: set both"
    ) as raised:
        export_env_file()
    assert "s3cret" not in str(raised.value)
    assert name not in os.environ
    monkeypatch.setenv(name, "https://own.example")
    export_env_file()
    assert os.environ[name] == "https://own.example"


@pytest.mark.parametrize(
    "text", ["MLFLOW_TRACKING_URI=http://127.0.0.1:5000\n", "MLFLOW_TRACKING_URI=databricks\n", "MODEL_NAME=m\n"]
)
def test_an_address_that_gets_nobodys_credential_may_be_in_the_file(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cret")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    export_env_file()
