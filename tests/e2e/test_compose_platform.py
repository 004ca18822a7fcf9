"""Real models in a real registry on Postgres, real servers in containers: the registry decides what is served."""

import base64
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from receiver.adapters.docker import Docker
from receiver.core.deployment import Outcome
from receiver.core.errors import Rejected
from receiver.services import Services
from receiver.settings import Settings
from receiver.targets.compose.build import build_image
from receiver.targets.compose.project import COMPOSE, FRONT_IMAGE
from receiver.wiring import build, open_database
from tests.support.docker_engine import required_docker, sweep
from tests.support.git_repos import Origin
from tests.support.one_pass import Report, reconcile
from tests.support.platform_stack import Platform, running_platform
from tests.support.ports import free_port
from tests.support.trained import train_into
from tests.support.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

MODEL = "platform-churn"


@pytest.fixture(scope="module")
def docker() -> Docker:
    return required_docker()


@pytest.fixture(scope="module")
def platform(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose registry has two versions, which its administrator has trained."""
    with (
        running_platform(docker, tmp_path_factory.mktemp("platform")) as platform,
        pytest.MonkeyPatch.context() as env,
    ):
        for name, value in platform.environ.items():
            env.setenv(name, value)
        for _ in range(2):
            train_into(platform.url, MODEL)
        yield platform


@pytest.fixture(autouse=True)
def _credentials(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in platform.receiver.items():
        monkeypatch.setenv(name, value)


@dataclass
class Served:
    """Two environments, a git remote, and the flow on real everything."""

    services: Services
    origin: Origin
    ports: dict[str, int]

    def merge(self, versions: dict[str, int], note: str = "") -> Report:
        """Pin these versions by one commit and reconcile."""
        files = {f"environments/{name}.yaml": self._text(name, version) for name, version in versions.items()}
        self.origin.commit({**files, "NOTES.md": note})
        return reconcile(self.services, "push")

    def health(self, environment: str) -> dict[str, Any]:
        """What answers on the environment's port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[environment]}/health", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def answers(self) -> dict[str, tuple[str, int]]:
        """Stage and version behind both ports; empty while one does not answer."""
        try:
            said = {environment: self.health(environment) for environment in self.ports}
        except OSError:
            return {}
        return {environment: (health["stage"], health["version"]) for environment, health in said.items()}

    def _text(self, name: str, version: int) -> str:
        return (
            f"environment: {name}\nregistry: {{stage: {name.title()}, alias: {name}}}\ngate: {{}}\n"
            f"models:\n  {MODEL}: {{version: {version}, port: {self.ports[name]}}}\n"
        )


@pytest.fixture(scope="module")
def served(docker: Docker, platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Staging serves version 2, production version 1."""
    directory = tmp_path_factory.mktemp("served")
    build_image(docker)
    origin = Origin(directory / "git")
    settings = Settings(
        pinrail_repo_url=origin.url,
        pinrail_state_dir=directory / "state",
        pinrail_target="compose",
        pinrail_project=platform.project,
        pinrail_stabilise_seconds=0.5,
        mlflow_tracking_uri=platform.url,
    )
    with ExitStack() as cleanup, pytest.MonkeyPatch.context() as env:
        cleanup.callback(sweep, docker, platform.project)
        for name, value in platform.receiver.items():
            env.setenv(name, value)
        services = build(settings, open_database(settings))
        served = Served(services, origin, {"staging": free_port(), "production": free_port()})
        report = served.merge({"staging": 2, "production": 1})
        assert set(report.outcomes.values()) == {Outcome.LIVE}, services.journal.recent(5)
        yield served


def test_each_environment_answers_its_own_stage_and_pinned_version(served: Served) -> None:
    assert served.answers() == {"staging": ("Staging", 2), "production": ("Production", 1)}
    assert served.health("staging")["runtime"] == "onnx"


def test_a_merge_that_changes_no_pin_restarts_nothing(served: Served, docker: Docker, platform: Platform) -> None:
    before = _containers(docker, platform)
    report = served.merge({"staging": 2, "production": 1}, note="the latest code, and no pin")
    assert report.outcomes == {}
    assert _containers(docker, platform) == before


def test_a_restart_of_every_container_serves_the_same_versions_even_without_a_registry(
    served: Served, docker: Docker, platform: Platform
) -> None:
    mlflow = f"{platform.project}-mlflow-1"
    docker.run("stop", "--time", "1", mlflow)
    docker.run("restart", "--time", "2", *(line.split()[0] for line in _containers(docker, platform)), timeout=120)
    eventually(lambda: served.answers() == {"staging": ("Staging", 2), "production": ("Production", 1)}, 60)
    docker.run("start", mlflow)
    eventually(lambda: _reachable(f"{platform.url}/health"), 60)


def test_without_a_receiver_a_step_of_its_own_fetches_and_the_server_has_no_credentials(
    docker: Docker, platform: Platform, served: Served, tmp_path: Path
) -> None:
    port, health, run = free_port(), served.health("production"), tmp_path / "run"
    run.mkdir()
    run.chmod(0o777)
    variables = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "FRONT_IMAGE": FRONT_IMAGE,
        "FRONT": str(COMPOSE / "front"),
        "RUN": str(run),
        "SOCKET": "front",
        "PREDECESSOR": "",
        "LOG_LEVEL": "notice",
        "ARTIFACTS": "/unused",
        "MOUNTED": "/cache",
        "SUBNET": "172.31.253.0/24",
        "ADDRESS": "172.31.253.2",
        "IMAGE": build_image(docker),
        "ENVIRONMENT": "production",
        "STAGE": "Production",
        "MODEL": MODEL,
        "VERSION": "1",
        "DIGEST": health["digest"],
        "REVISION": "by-hand",
        "REGISTRY_NETWORK": f"{platform.project}_models",
        **{name: value for name, value in platform.environ.items() if name != "MLFLOW_TRACKING_URI"},
    }
    env_file = tmp_path / "slot.env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    files = ("--file", str(COMPOSE / "serving.yaml"), "--file", str(COMPOSE / "serving.mlflow.yaml"))
    plain = ("compose", "--project-name", f"{platform.project}-by-hand", "--env-file", str(env_file), *files)
    try:
        docker.run(*plain, "up", "--detach", "--wait", timeout=120)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            assert json.load(answer)["digest"] == health["digest"]
        server = docker.run("inspect", f"{platform.project}-by-hand-server-1")
        assert variables["MLFLOW_TRACKING_PASSWORD"] not in server
        assert variables["REGISTRY_NETWORK"] not in server
    finally:
        docker.run(*plain, "down", "--volumes", "--timeout", "2", timeout=60)


def test_a_variable_that_is_missing_is_an_error(docker: Docker, tmp_path: Path) -> None:
    text = (COMPOSE / "serving.yaml").read_text()
    variables = sorted(set(re.findall(r"\$\{(\w+)", text)))
    assert all(f"${{{name}?}}" in text or f"${{{name}:?}}" in text for name in variables)
    for missing in variables:
        env_file = tmp_path / "slot.env"
        env_file.write_text("".join(f"{name}=1\n" for name in variables if name != missing))
        with pytest.raises(Rejected, match=f"required variable {missing} is missing"):
            docker.run("compose", "--env-file", str(env_file), "--file", str(COMPOSE / "serving.yaml"), "config")


def test_a_host_that_is_not_on_the_list_is_refused(platform: Platform) -> None:
    said = platform.environ
    credentials = f"{said['MLFLOW_TRACKING_USERNAME']}:{said['MLFLOW_TRACKING_PASSWORD']}".encode()
    basic = {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
    url = f"{platform.url}/ajax-api/2.0/mlflow/registered-models/search"
    for headers, status in (({}, 401), (basic, 200), ({**basic, "Host": "rebound.example"}, 403)):
        assert _status(urllib.request.Request(url, headers=headers)) == status


def test_the_receivers_user_can_do_its_work_and_nothing_about_users(platform: Platform) -> None:
    client = MlflowClient(platform.url)
    assert platform.receiver["MLFLOW_TRACKING_USERNAME"] == "pinrail-receiver"
    assert platform.environ["MLFLOW_TRACKING_PASSWORD"] not in platform.receiver.values()
    version = client.get_model_version(MODEL, "1")
    client.set_registered_model_alias(MODEL, "tried", "1")
    client.delete_registered_model_alias(MODEL, "tried")
    client.set_model_version_tag(MODEL, "1", "tried", "yes")
    client.log_text(version.run_id, "measured", "pinrail/evidence/tried.json")
    with pytest.raises(MlflowException, match="Permission denied"):
        client.delete_experiment(client.get_run(version.run_id).info.experiment_id)
    credentials = f"pinrail-receiver:{platform.receiver['MLFLOW_TRACKING_PASSWORD']}"
    headers = {
        "Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}",
        "Content-Type": "application/json",
    }
    new = "a-long-enough-password"
    for method, what, body in (
        ("POST", "users/create", {"username": "mallory", "password": new}),
        ("PATCH", "users/update-admin", {"username": "pinrail-receiver", "is_admin": True}),
        ("PATCH", "users/update-password", {"username": "admin", "password": new}),
    ):
        url, raw = f"{platform.url}/api/2.0/mlflow/{what}", json.dumps(body).encode()
        assert _status(urllib.request.Request(url, raw, headers, method=method)) == 403, what


def test_what_was_backed_up_is_there_after_everything_was_destroyed(platform: Platform, tmp_path: Path) -> None:
    client = MlflowClient(platform.url)
    before = _registered(client, tmp_path / "before")
    platform.run("backup", str(tmp_path / "backup"))
    platform.destroy()
    platform.run("restore", str(tmp_path / "backup"))
    assert _registered(client, tmp_path / "after") == before
    assert len(before) == 2


def _containers(docker: Docker, platform: Platform) -> list[str]:
    """Model servers and front doors, and when each was started."""
    owner = ("--filter", f"label=io.pinrail.project={platform.project}")
    names = sorted(docker.run("ps", *owner, "--format", "{{.Names}}").split())
    return docker.run("inspect", "--format", "{{.Name}} {{.State.StartedAt}}", *names).replace("/", "").splitlines()


def _registered(client: MlflowClient, scratch: Path) -> dict[int, tuple[str, str, str]]:
    """Every version with its run, its stage and the digest of its artifacts."""
    from serving.model.loader import Cache

    cache = Cache(scratch, client.tracking_uri)
    found = client.search_model_versions(f"name = '{MODEL}'")
    versions = {int(v.version): v for v in found}
    return {n: (v.run_id, v.current_stage, cache.fetch(MODEL, n).digest) for n, v in versions.items()}


def _status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _reachable(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
