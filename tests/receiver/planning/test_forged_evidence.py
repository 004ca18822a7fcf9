"""What somebody who may write to a real registry can make the receiver believe: nothing."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ml.environment.file import parse_environment
from ml.evidence import CheckOutcome, Evidence, Verdict, gate_digest
from ml.registry.versions import write_evidence
from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.core.deployment import Outcome
from receiver.planning.observe import observe_head
from receiver.planning.status import status_report
from serving.model.loader import Cache
from tests.contracts.registry import FILES, new_name
from tests.support.evidence import KEY, OTHER_KEY
from tests.support.flow import Flow
from tests.support.mlflow_server import register_version
from tests.support.one_pass import reconcile

STAGING = """\
environment: staging
registry: {{stage: Staging, alias: staging}}
{policy}gate: {{accuracy: {{min: 0.8}}}}
models: {{{model}: {{version: 1, port: 8000}}}}
"""


def measured(url: str, model: str, file: str, scratch: Path) -> Evidence:
    """What the gate would record of a version that passes."""
    client = MlflowClient(url)
    version = register_version(client, model, FILES)
    gate = gate_digest(parse_environment(file.encode(), "staging.yaml").gate)
    return Evidence(
        *(model, version, "staging", Cache(scratch, url).fetch(model, version).digest, "sha256:rows", gate),
        verdicts=(Verdict("accuracy", CheckOutcome.PASS, 0.81, ">=", 0.8),),
        measured_at=1.0,
        registered=client.get_model_version(model, str(version)).creation_timestamp,
    )


def outcome(flow: Flow, url: str, file: str, cache: Path) -> tuple[Mapping[Any, Outcome], str]:
    flow.source.commit({"environments/staging.yaml": file.encode()})
    services = replace(flow.services, registry=MlflowRegistry(url, Cache(cache, url)))
    found = reconcile(services, "push").outcomes
    return found, status_report(services, observe_head(services)).slots[0].reason or ""


def by_hand(evidence: Evidence) -> Evidence:
    return evidence


def raised(evidence: Evidence) -> Evidence:
    return replace(KEY.sign(evidence), verdicts=(replace(evidence.verdicts[0], value=0.99),))


def of_another_version(evidence: Evidence) -> Evidence:
    signed = KEY.sign(replace(evidence, version=2))
    return replace(signed, version=1)


def by_another_key(evidence: Evidence) -> Evidence:
    return OTHER_KEY.sign(evidence)


@pytest.mark.parametrize("falsify", [by_hand, raised, of_another_version, by_another_key])
def test_evidence_that_a_registry_writer_makes_up_lets_no_version_in(
    falsify: Callable[[Evidence], Evidence], mlflow_server: str, tmp_path: Path
) -> None:
    model, flow = new_name(), Flow(tmp_path / "flow")
    file = STAGING.format(model=model, policy="")
    evidence = measured(mlflow_server, model, file, tmp_path / "gate")
    write_evidence(MlflowClient(mlflow_server), falsify(evidence))  # text, checksum and tags as the gate writes them
    found, reason = outcome(flow, mlflow_server, file, tmp_path / "cache")
    assert list(found.values()) == [Outcome.REFUSED]
    assert f"the evidence of {model} v1 is not believed: it" in reason
    write_evidence(MlflowClient(mlflow_server), KEY.sign(evidence))
    assert list(outcome(flow, mlflow_server, file, tmp_path / "cache")[0].values()) == [Outcome.LIVE]


def test_numbers_without_end_are_a_reason_of_their_slot_alone(mlflow_server: str, tmp_path: Path) -> None:
    model, flow = new_name(), Flow(tmp_path / "flow")
    file = STAGING.format(model=model, policy="")
    signed = KEY.sign(measured(mlflow_server, model, file, tmp_path / "gate"))
    raw = json.loads(signed.to_json())
    raw["verdicts"][0]["value"] = 10**400

    class Endless(Evidence):
        def to_json(self) -> str:
            return json.dumps(raw)

    write_evidence(MlflowClient(mlflow_server), Endless(**{name: getattr(signed, name) for name in raw}))
    found, reason = outcome(flow, mlflow_server, file, tmp_path / "cache")
    assert list(found.values()) == [Outcome.REFUSED]
    assert "value is out of range" in reason


def test_where_an_environment_names_keys_the_receivers_own_does_not_count(mlflow_server: str, tmp_path: Path) -> None:
    model, flow = new_name(), Flow(tmp_path / "flow")
    file = STAGING.format(model=model, policy=f"policy: {{evidence: {{keys: ['{OTHER_KEY.public}']}}}}\n")
    evidence = measured(mlflow_server, model, file, tmp_path / "gate")
    write_evidence(MlflowClient(mlflow_server), KEY.sign(evidence))
    found, reason = outcome(flow, mlflow_server, file, tmp_path / "cache")
    assert list(found.values()) == [Outcome.REFUSED]
    assert f"it is signed by {KEY.public}" in reason
    write_evidence(MlflowClient(mlflow_server), OTHER_KEY.sign(evidence))
    assert list(outcome(flow, mlflow_server, file, tmp_path / "cache")[0].values()) == [Outcome.LIVE]
