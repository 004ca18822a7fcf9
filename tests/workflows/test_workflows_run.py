"""The workflows' own scripts, in order, on a real checkout: one training, a real registry with a login, a real git
remote, and a GitHub that is judged by its own description."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ml.environment.file import parse_environment
from tests.support.actions import ROOT, Job, runner_environment, use_this_venv
from tests.support.git_repos import Origin, git
from tests.support.github_server import TOKEN, FakeGitHub, serving
from tests.support.github_spec import require_description
from tests.support.mlflow_server import AuthServer, register_version

require_description()

MODEL = "churn-model"


class Fork:
    """A repository on GitHub with this source, its secrets, and its runs."""

    def __init__(self, directory: Path, registry: AuthServer) -> None:
        self.directory = directory
        self.origin = Origin(directory / "git")
        listed = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        for name in filter(None, listed):
            if (ROOT / name).is_file():
                (self.origin.work / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.origin.work / name)
        self.origin.commit({}, "Everything")
        (directory / "octo").mkdir()
        (directory / "octo/pins.git").symlink_to(self.origin.path)
        self.github = FakeGitHub("octo/pins", self.origin)
        self.secrets = {
            "MLFLOW_TRACKING_URI": registry.url,
            "MLFLOW_TRACKING_USERNAME": registry.username,
            "MLFLOW_TRACKING_PASSWORD": registry.password,
        }

    def job(self, workflow: str, inputs: dict[str, str] | None = None, *, secrets: bool = True) -> Job:
        """A run of a workflow, on a runner of its own."""
        workspace = self.directory / workflow
        contexts: dict[str, Any] = {
            "inputs": inputs or {},
            "secrets": self.secrets if secrets else {},
            "github": {
                "token": TOKEN,
                "repository": "octo/pins",
                "server_url": f"file://{self.directory}",
                "event": {"repository": {"default_branch": "main"}},
            },
        }
        return Job(workflow, workspace, contexts, runner_environment(workspace, self.github.url))

    def checkout(self, workspace: Path) -> None:
        """What actions/checkout and actions/setup-python leave behind."""
        git(self.directory, "clone", "--quiet", "--depth=1", self.origin.url, str(workspace))
        use_this_venv(workspace)


@pytest.fixture
def fork(tmp_path: Path, mlflow_auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fork]:
    """A fork whose pins name a version 1 that is registered."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", mlflow_auth_server.username)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", mlflow_auth_server.password)
    client = MlflowClient(mlflow_auth_server.url, mlflow_auth_server.url)
    while register_version(client, MODEL, {"model.txt": "an old one"}) < pinned(ROOT / "environments/staging.yaml"):
        pass
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    fork = Fork(tmp_path, mlflow_auth_server)
    with serving(fork.github):
        yield fork


def pinned(path: Path) -> int:
    return parse_environment(path.read_bytes(), path.name).models[MODEL].version


def promoted(fork: Fork, number: int, environment: str) -> str:
    """The one changed line of a pull request's file."""
    head = fork.github.pulls[number]["head"]
    changed = git(fork.origin.path, "diff", "--unified=0", "main", head, "--", f"environments/{environment}.yaml")
    (line,) = [line for line in changed.splitlines() if line.startswith("+ ")]
    return line


@pytest.mark.long
@pytest.mark.timeout(300)  # six programs that import MLflow, on a machine that may be busy
def test_a_candidate_is_trained_gated_and_proposed_and_then_proposed_for_production(fork: Fork) -> None:
    job = fork.job("candidate-to-staging.yml", {"threshold": "0.7"})
    assert job.run(fork.checkout), job.log[-1].output
    version = job.contexts["steps"]["train"]["outputs"]["version"]
    (number,) = fork.github.pulls
    assert fork.github.pulls[number]["title"].startswith(f"Promote {MODEL} v{version} to staging (was v")
    assert f"version: {version} " in promoted(fork, number, "staging")
    assert "PASS: accuracy=" in job.summary
    assert f"Promote {MODEL} v{version} to staging" in job.summary

    # The threshold left the gate's evidence as it was, for production too.
    production = fork.job("promote-to-production.yml", {"model_version": version})
    assert production.run(fork.checkout), production.log[-1].output
    (other,) = set(fork.github.pulls) - {number}
    assert f"version: {version} " in promoted(fork, other, "production")

    job.contexts["inputs"]["threshold"] = "0.9"
    failed = job.named("threshold")
    assert failed.status == 1
    assert "FAIL: accuracy=0.8" in failed.output
    job.contexts["inputs"]["threshold"] = "nan"
    assert job.named("threshold").status == 1

    said = "".join(done.output for done in [*job.log, *production.log])
    assert TOKEN not in said
    assert fork.secrets["MLFLOW_TRACKING_PASSWORD"] not in said


def test_inputs_are_data_and_never_a_script(fork: Fork, tmp_path: Path) -> None:
    evil = f"1; touch {tmp_path}/owned #$(touch {tmp_path}/owned)"
    job = fork.job("promote-to-production.yml", {"model_version": evil, "model": "--help"})
    assert not job.run(fork.checkout)
    assert not (tmp_path / "owned").exists()
    assert not fork.github.pulls


def test_a_repository_without_the_registrys_secret_is_refused_before_anything_is_installed(fork: Fork) -> None:
    job = fork.job("candidate-to-staging.yml", secrets=False)
    assert not job.run(fork.checkout)
    (only,) = job.log
    assert "MLFLOW_TRACKING_URI: add it to the secrets of this repository" in only.output


def test_pins_that_are_not_valid_fail_their_pull_request(fork: Fork) -> None:
    good = fork.job("pins.yml", secrets=False)
    assert good.run(fork.checkout), good.log[-1].output
    text = (ROOT / "environments/staging.yaml").read_text()
    fork.origin.commit({"environments/staging.yaml": text.replace("    port: 8000", "    port: 8001")})
    shutil.rmtree(good.workspace)
    bad = fork.job("pins.yml", secrets=False)
    assert not bad.run(fork.checkout)
    assert "allowed one port each" in bad.log[-1].output
