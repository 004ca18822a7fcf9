import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient

from ml.registry.versions import write_evidence
from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.ports import Registry
from serving.model.loader import Cache
from tests.contracts.registry import FILES, RegistryContract, Rig, new_name
from tests.support.examples import examples
from tests.support.fake_registry import STAGES, FakeRegistry
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.mlflow_server import AuthServer, register_version
from tests.support.registry_views import view_of


class TestFakeRegistry(RegistryContract):
    @pytest.fixture
    def rig(self, tmp_path: Path) -> Rig:
        fake = FakeRegistry(tmp_path / "registry")

        def set_status(model: str, version: int, status: str) -> None:
            fake.models[model][version].status = status

        def lose_artifacts(model: str, version: int) -> None:
            fake.models[model][version].path = tmp_path / "nowhere"

        def damage(model: str, version: int, environment: str) -> None:
            fake.models[model][version].evidence[environment] = "the evidence is damaged"

        def set_reachable(reachable: bool) -> None:
            fake.reachable = reachable

        def describe(model: str, version: int, text: str) -> None:
            fake.models[model][version].updated += 1

        return Rig(fake, fake.register, set_status, lose_artifacts, fake.record, describe, damage, set_reachable)


class TestMlflowRegistry(RegistryContract):
    @pytest.fixture
    def rig(self, mlflow_server: str, mlflow_directory: Path, tmp_path: Path) -> Iterator[Rig]:
        with fault_proxy(mlflow_server) as proxy:
            yield _rig(MlflowClient(mlflow_server), mlflow_directory, proxy, tmp_path)


@pytest.fixture
def _admin(mlflow_auth_server: AuthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", mlflow_auth_server.username)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", mlflow_auth_server.password)


@pytest.mark.usefixtures("_admin")
def test_a_registry_behind_a_login_keeps_the_same_promises(mlflow_auth_server: AuthServer, tmp_path: Path) -> None:
    client, model = MlflowClient(mlflow_auth_server.url), new_name()
    register_version(client, model, FILES)
    registry = MlflowRegistry(mlflow_auth_server.url, Cache(tmp_path / "cache", mlflow_auth_server.url))
    registry.set_alias(model, "staging", 1)
    registry.set_stage(model, 1, "Staging")
    view = view_of(registry, model)
    assert (view.aliases, view.stages) == ({"staging": 1}, {1: "Staging"})
    assert (registry.fetch(model, 1).path / "data/weights.bin").read_bytes() == b"\x00\xff\x01"
    assert registry.evidence(model, 1, "staging") is None


def _rig(client: Any, directory: Path, proxy: FaultProxy, scratch: Path) -> Rig:
    registry = MlflowRegistry(proxy.url, Cache(scratch / "cache", proxy.url))

    def set_status(model: str, version: int, status: str) -> None:
        with closing(sqlite3.connect(directory / "mlflow.db")) as database, database:
            database.execute(
                "UPDATE model_versions SET status = ? WHERE name = ? AND version = ?", (status, model, version)
            )

    def lose_artifacts(model: str, version: int) -> None:
        run_id = client.get_model_version(model, str(version)).run_id
        artifacts = directory / "artifacts" / "0" / run_id / "artifacts"
        artifacts.rename(artifacts.with_name("lost"))

    def damage(model: str, version: int, environment: str) -> None:
        run_id = client.get_model_version(model, str(version)).run_id
        path = f"artifacts/0/{run_id}/artifacts/pinrail/evidence/{model}/{version}/{environment}.json"
        (directory / path).write_text("{}")

    return Rig(
        registry,
        lambda model, files: register_version(client, model, files),
        set_status,
        lose_artifacts,
        lambda evidence: write_evidence(client, evidence),
        lambda model, version, text: client.update_model_version(model, str(version), text),
        damage,
        lambda reachable: proxy.start() if reachable else proxy.stop(),
    )


ACTIONS = st.one_of(
    st.tuples(st.just("stage"), st.integers(1, 2), st.sampled_from(STAGES)),
    st.tuples(st.just("alias"), st.one_of(st.none(), st.integers(1, 2)), st.sampled_from(["staging", "production"])),
)


@settings(
    max_examples=examples(10),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=st.lists(ACTIONS, min_size=2, max_size=6))
def test_fake_and_real_agree_after_any_sequence_of_writes(
    actions: list[tuple[str, int | None, str]], mlflow_server: str, tmp_path: Path
) -> None:
    model, client = new_name(), MlflowClient(mlflow_server)
    client.create_registered_model(model)
    run = client.create_run("0")
    fake = FakeRegistry(tmp_path)
    real = MlflowRegistry(mlflow_server, Cache(tmp_path / "cache"))
    for _ in range(2):
        client.create_model_version(model, f"{run.info.artifact_uri}/model", run.info.run_id, await_creation_for=0)
        fake.register(model, FILES)
    registries: list[Registry] = [fake, real]
    for kind, version, word in actions:
        for registry in registries:
            if kind == "alias":
                registry.set_alias(model, word, version)
            elif version is not None:
                registry.set_stage(model, version, word)
        assert fake.observe({model: ()}) == real.observe({model: ()})
