import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ml.errors import EvidenceError, RegistryError
from ml.evidence import CheckOutcome, Evidence, Verdict
from ml.registry import versions as registry
from tests.support.evidence import EVIDENCE
from tests.support.mlflow_server import register_version
from tests.support.recorded_evidence import recorded_evidence

MODEL = "registry-evidence"
OF_MODEL = replace(EVIDENCE, model=MODEL)


@pytest.fixture(scope="module")
def client(mlflow_server: str) -> Any:
    return MlflowClient(mlflow_server, mlflow_server)


@pytest.fixture(autouse=True)
def _server(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)


@pytest.fixture
def evidence(client: Any) -> Evidence:
    return replace(OF_MODEL, version=register_version(client, MODEL, {"MLmodel": "flavors: {}\n"}))


def without_run(client: Any) -> Evidence:
    version = client.create_model_version(MODEL, "s3://elsewhere/model")
    return replace(OF_MODEL, version=int(version.version))


def test_what_was_written_is_read_again_per_environment(client: Any, evidence: Evidence) -> None:
    registry.write_evidence(client, evidence)
    registry.write_evidence(client, replace(evidence, environment="production", measured_at=2.5))
    assert recorded_evidence(client, MODEL, evidence.version, "staging") == evidence
    other = recorded_evidence(client, MODEL, evidence.version, "production")
    assert other == replace(evidence, environment="production", measured_at=2.5)


def test_a_value_that_nobody_knows_survives_the_registry(client: Any, evidence: Evidence) -> None:
    unknown = Verdict("drift.psi", CheckOutcome.INCONCLUSIVE, math.nan, "not known to be <=", 0.2)
    registry.write_evidence(client, replace(evidence, verdicts=(unknown,)))
    found = recorded_evidence(client, MODEL, evidence.version, "staging")
    assert found is not None
    assert math.isnan(found.verdicts[0].value)
    assert "NaN" not in found.to_json()


def test_the_newest_evidence_replaces_what_was_there(client: Any, evidence: Evidence) -> None:
    registry.write_evidence(client, evidence)
    registry.write_evidence(client, replace(evidence, gate_digest="sha256:4"))
    found = recorded_evidence(client, MODEL, evidence.version, "staging")
    assert found == replace(evidence, gate_digest="sha256:4")


def test_a_version_without_a_run_keeps_its_evidence_too(client: Any, evidence: Evidence) -> None:
    assert evidence.version
    lonely = without_run(client)
    registry.write_evidence(client, lonely)
    assert recorded_evidence(client, MODEL, lonely.version, "staging") == lonely


def test_two_versions_of_one_run_do_not_share_their_evidence(client: Any, evidence: Evidence) -> None:
    run_id = client.get_model_version(MODEL, str(evidence.version)).run_id
    twin = replace(evidence, version=registry.register(client, MODEL, run_id, {}), measured_at=9.5)
    registry.write_evidence(client, evidence)
    registry.write_evidence(client, twin)
    assert recorded_evidence(client, MODEL, evidence.version, "staging") == evidence
    assert recorded_evidence(client, MODEL, twin.version, "staging") == twin
    assert registry.find_version(client, MODEL, run_id) == twin.version


def test_no_evidence_is_none(client: Any, evidence: Evidence) -> None:
    assert recorded_evidence(client, MODEL, evidence.version, "staging") is None


def test_evidence_whose_text_was_changed_is_not_believed(client: Any, evidence: Evidence) -> None:
    registry.write_evidence(client, evidence)
    run_id = client.get_model_version(MODEL, str(evidence.version)).run_id
    path = f"pinrail/evidence/{MODEL}/{evidence.version}/staging.json"
    client.log_text(run_id, evidence.to_json().replace("0.81", "0.99"), path)
    with pytest.raises(EvidenceError, match="does not match the checksum in its tag"):
        recorded_evidence(client, MODEL, evidence.version, "staging")


def test_evidence_that_became_bytes_of_another_kind_is_not_believed(
    client: Any, evidence: Evidence, tmp_path: Path
) -> None:
    registry.write_evidence(client, evidence)
    run_id = client.get_model_version(MODEL, str(evidence.version)).run_id
    (tmp_path / "staging.json").write_bytes(b"\xff\xfe" + evidence.to_json().encode("utf-16-le"))
    client.log_artifact(run_id, str(tmp_path / "staging.json"), f"pinrail/evidence/{MODEL}/{evidence.version}")
    with pytest.raises(EvidenceError, match="does not match the checksum in its tag"):
        recorded_evidence(client, MODEL, evidence.version, "staging")


def test_a_tag_alone_is_no_evidence(client: Any, evidence: Evidence) -> None:
    client.set_model_version_tag(MODEL, str(evidence.version), "pinrail.evidence.staging", "passed")
    with pytest.raises((EvidenceError, RegistryError)):
        recorded_evidence(client, MODEL, evidence.version, "staging")


def test_evidence_of_another_version_is_not_believed(client: Any, evidence: Evidence) -> None:
    lonely = without_run(client)
    registry.write_evidence(client, lonely)
    tags = client.get_model_version(MODEL, str(lonely.version)).tags
    thief = without_run(client)
    for name, value in tags.items():
        client.set_model_version_tag(MODEL, str(thief.version), name, value)
    with pytest.raises(EvidenceError, match=f"is about {MODEL} version {lonely.version}"):
        recorded_evidence(client, MODEL, thief.version, "staging")
    assert evidence.version < lonely.version


def test_text_that_is_no_evidence_is_named(client: Any, evidence: Evidence) -> None:
    lonely = without_run(client)
    registry.write_evidence(client, lonely)
    for name, value in {
        "pinrail.evidence.staging.json": "[]",
        "pinrail.evidence.staging": registry.sha256("[]"),
    }.items():
        client.set_model_version_tag(MODEL, str(lonely.version), name, value)
    with pytest.raises(EvidenceError, match="no evidence record"):
        recorded_evidence(client, MODEL, lonely.version, "staging")
    assert evidence.version
