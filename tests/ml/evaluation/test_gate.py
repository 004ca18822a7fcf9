"""Versions that are each wrong in one way, against a gate that asks for everything, in a real registry."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from ml.datasets import telco
from ml.datasets.evaluation_set import customers, own_file
from ml.environment.file import Environment, parse_environment
from ml.environment.gate_schema import EvaluationData
from ml.errors import MlError
from ml.evaluation.gate import Judgement, Machine, read_environments, run_gate
from ml.evaluation.records import to_records
from ml.evidence import CheckOutcome, Evidence, Verdict, gate_digest
from ml.registry import versions as registry
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.policy import PromotionRequest, decide
from receiver.core.state import Slot
from serving.model import model_dir
from serving.model.loader import Cache
from serving.model.model_dir import Column
from serving.model.predictor import load_predictor
from tests.support import faulty_models, hostile_models
from tests.support.evidence import KEY
from tests.support.request_logs import request_log
from tests.support.segments import record

MODEL = "gate-churn"
GATE = b"""\
environment: strict
registry: {alias: strict}
gate:
  accuracy: {min: 0.78}
  roc_auc: {min: 0.8}
  f1: {min: 0.5}
  log_loss: {max: 0.5}
  calibration_error: {max: 0.06}
  schema: {max: 0}
  fairness: {columns: [senior_citizen, female], demographic_parity: {max: 0.3}, equalized_odds: {max: 0.3}}
  robustness: {noise: {max: 0.03}, missing: {max: 0.15}, unseen: {max: 0.2}}
  drift: {psi: {max: 0.2}, ks: {max: 0.1}}
  champion: {require: hold, margin: 0.02, slices: [contract, senior_citizen], slice_margin: 0.1}
models: {}
"""
COSTS = b"""\
environment: quick
registry: {alias: quick}
gate:
  latency_p95_ms: {max: 100}
  memory_mb: {max: 600}
models: {}
"""


@pytest.fixture(scope="module")
def client(mlflow_server: str) -> Any:
    client = MlflowClient(mlflow_server, mlflow_server)
    assert faulty_models.register(client, MODEL, "good") == 1
    client.set_registered_model_alias(MODEL, "strict", "1")
    return client


@pytest.fixture(autouse=True)
def _server(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)


def judge(client: Any, version: int, text: bytes, scratch: Path) -> Judgement:
    environment = parse_environment(text, "environment.yaml")
    (judged,) = run_gate(client, (MODEL, version), [environment], customers(None), scratch)
    return judged


def wrong(verdicts: Sequence[Verdict]) -> set[str]:
    return {v.name for v in verdicts if v.outcome is not CheckOutcome.PASS}


@pytest.mark.parametrize(
    ("name", "fails", "says"),
    [
        ("good", set(), "against gate-churn v1"),
        (
            "inaccurate",
            {"accuracy", "f1", "log_loss", "calibration_error", "champion.accuracy", "champion.slices"},
            "0 of 473 rows of class 1 are found",
        ),
        (
            "unfair",
            {
                *("fairness.senior_citizen.demographic_parity", "fairness.senior_citizen.equalized_odds"),
                *("accuracy", "log_loss", "calibration_error", "champion.accuracy", "champion.slices"),
            },
            "1: 100% of 286 decided positive",
        ),
        ("brittle", {"robustness.unseen"}, "the model fails: "),
        ("breaking", {"schema"}, "field partner was removed"),
    ],
)
def test_a_version_fails_for_what_is_wrong_with_it(
    client: Any, tmp_path: Path, name: str, fails: set[str], says: str
) -> None:
    judged = judge(client, faulty_models.register(client, MODEL, name), GATE, tmp_path)
    assert wrong(judged.evidence.verdicts) == fails
    assert any(says in v.reason for v in judged.evidence.verdicts)


def test_a_slow_version_fails_where_it_is_measured_in_a_server_and_a_quick_one_passes(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.evaluation.asking.ROWS", 50)  # enough to tell 11 ms a row from 1 ms
    strict = COSTS.replace(b"max: 100", b"max: 5")
    slow = judge(client, faulty_models.register(client, MODEL, "slow"), strict, tmp_path / "slow")
    assert "latency_p95_ms" in wrong(slow.evidence.verdicts)
    quick = judge(client, 1, COSTS, tmp_path / "quick")
    assert wrong(quick.evidence.verdicts) == set()
    assert "onnx" in quick.evidence.verdicts[0].reason


@pytest.fixture
def evidence(client: Any, tmp_path: Path) -> Evidence:
    return judge(client, 1, GATE.replace(b"schema: {max: 0}", b"schema: {max: 1}"), tmp_path / "scratch").evidence


def test_evidence_holds_until_model_or_gate_change_and_the_refusal_says_which(evidence: Evidence) -> None:
    gate = parse_environment(GATE.replace(b"schema: {max: 0}", b"schema: {max: 1}"), "e.yaml").gate
    asked = PromotionRequest(
        environment="strict",
        model=MODEL,
        version=1,
        digest=evidence.model_digest,
        registered=evidence.registered,
        gate=gate,
        override=None,
        evidence=KEY.sign(evidence),
        trusted=[KEY.public],
        here=(),
        follows=None,
        there=(),
        soak_seconds=0,
        now=0,
    )
    assert decide(asked) is None
    other_model = decide(replace(asked, digest="sha256:" + "0" * 64))
    assert other_model is not None
    assert "the model has changed" in other_model.reason
    other_gate = decide(replace(asked, gate=parse_environment(GATE, "e.yaml").gate))
    assert other_gate is not None
    assert "the gate of strict has changed" in other_gate.reason
    other_data = decide(replace(asked, gate={**gate, "data": EvaluationData(digest="sha256:" + "0" * 64)}))
    assert other_data is not None
    assert "the evaluation data has changed" in other_data.reason
    same_data = {**gate, "data": EvaluationData(digest=evidence.data_digest)}
    assert decide(
        replace(asked, gate=same_data, evidence=KEY.sign(replace(evidence, gate_digest=gate_digest(same_data))))
    )


def test_a_version_that_was_measured_on_other_rows_fails_where_the_rows_are_named(
    client: Any, tmp_path: Path
) -> None:
    named = COSTS.replace(b"latency_p95_ms: {max: 100}", b"data: {digest: sha256:" + b"0" * 64 + b"}")
    judged = judge(client, 1, named.replace(b"  memory_mb: {max: 600}\n", b""), tmp_path)
    assert [str(v) for v in judged.evidence.verdicts] == ["FAIL: data=0 < 1"]


def test_the_live_version_is_no_champion_of_itself(client: Any, evidence: Evidence) -> None:
    assert registry.find_alias(client, MODEL, "strict") == 1
    assert evidence.champion == 0
    assert {v.reason for v in evidence.verdicts if v.name.startswith("champion")} == {
        "no version is live here to compare with"
    }


def test_a_live_version_whose_artifacts_are_lost_keeps_its_successor_measurable(client: Any, tmp_path: Path) -> None:
    run = client.create_run("0", run_name="lost")
    client.log_text(run.info.run_id, "", "elsewhere")
    lost = client.create_model_version(MODEL, f"{run.info.artifact_uri}/model", run.info.run_id)
    client.set_registered_model_alias(MODEL, "quick", lost.version)
    asked = COSTS.replace(b"latency_p95_ms: {max: 100}", b"champion: {require: hold}\n  f1: {min: 0.1}")
    found = judge(client, 1, asked.replace(b"  memory_mb: {max: 600}\n", b""), tmp_path).evidence
    assert found.champion == int(lost.version)
    verdicts = found.verdicts
    assert {v.name: v.outcome for v in verdicts} == {
        "champion.accuracy": CheckOutcome.INCONCLUSIVE,
        "f1": CheckOutcome.PASS,
    }
    assert "are missing" in next(v.reason for v in verdicts if v.outcome is not CheckOutcome.PASS)


def test_a_model_with_a_gate_of_its_own_is_not_asked_for_the_environments(client: Any, tmp_path: Path) -> None:
    own = b"{version: 1, port: 8009, gate: {f1: {min: 0.1}}}"
    judged = judge(client, 1, GATE.replace(b"models: {}", b"models:\n  gate-churn: " + own), tmp_path)
    assert [v.name for v in judged.evidence.verdicts] == ["f1"]


def test_a_check_that_does_not_suit_the_model_is_named(client: Any, tmp_path: Path) -> None:
    with pytest.raises(MlError, match="mae can't be measured: the model is a classifier"):
        judge(client, 1, COSTS.replace(b"latency_p95_ms: {max: 100}", b"mae: {max: 5}"), tmp_path)


def test_the_directory_of_environments_is_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "strict.yaml").write_bytes(GATE)
    (tmp_path / "quick.yaml").write_bytes(COSTS)
    (tmp_path / "schema.json").write_text("{}")
    found = read_environments(tmp_path)
    assert {name: type(e) for name, e in found.items()} == {"strict": Environment, "quick": Environment}


def test_a_file_whose_ending_the_receiver_does_not_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "qa.yml").write_text("environment: qa")
    with pytest.raises(MlError, match=r"qa\.yml: found the ending \.yml, allowed \.yaml"):
        read_environments(tmp_path)


def test_rows_that_no_caller_could_send_are_named(client: Any, tmp_path: Path) -> None:
    version = faulty_models.register(client, MODEL, "demanding")
    with pytest.raises(MlError, match=r"of these rows have no total_charges, which its signature requires"):
        judge(client, version, COSTS, tmp_path)


def test_a_version_that_a_caller_could_not_call_is_stopped_by_what_the_caller_sent(
    client: Any, tmp_path: Path
) -> None:
    version = faulty_models.register(client, MODEL, "breaking")
    gate = (
        b"environment: strict\nregistry: {alias: strict}\ngate: {accuracy: {min: 0.78}, contract: {}}\nmodels: {}\n"
    )
    environment = parse_environment(gate, "environment.yaml")
    columns = [(c.name, c.type) for c in registry_columns(client, tmp_path / "live")]
    values = {"long": 1, "integer": 1, "double": 1.5, "string": "No"}
    row = [None if name == "total_charges" else values[kind] for name, kind in columns]
    sent = [record(caller=b"crm", rows=[row], labels=[0], probabilities=None)]
    request_log(tmp_path / "state", sent, columns, Slot("strict", MODEL))
    (tmp_path / "scratch").mkdir()
    (judged,) = run_gate(
        *(client, (MODEL, version), [environment], customers(None), tmp_path / "scratch"),
        machine=Machine(requests=LogDirectories(tmp_path / "state").all_parquet),
    )
    accuracy, contract = judged.evidence.verdicts
    assert accuracy.outcome is CheckOutcome.PASS
    assert str(contract) == "FAIL: contract=1 > 0"
    assert "crm: 1 of 1 rows: it sends partner, which is no field" in contract.reason


def test_a_version_that_passes_on_the_evaluation_rows_is_stopped_by_its_answers_to_real_ones(
    client: Any, tmp_path: Path
) -> None:
    version = faulty_models.register(client, MODEL, "unfair")
    gate = b"{accuracy: {min: 0.6}, replay: {flips: {max: 0.02}}}"
    text = b"environment: strict\nregistry: {alias: strict}\nmodels: {}\ngate: " + gate
    environment = parse_environment(text, "environment.yaml")
    live = load_predictor(Cache(tmp_path / "live").fetch(MODEL, 1).path)
    columns = live.model.columns
    rows = to_records(telco.load(telco.PATH).features[:1000], columns)
    said = live.predict_records(rows)
    assert said.probabilities is not None
    sent = record(
        rows=[[row.get(column.name) for column in columns] for row in rows],
        labels=said.labels.tolist(),
        probabilities=said.probabilities.tolist(),
    )
    named = [(column.name, column.type) for column in columns]
    request_log(tmp_path / "state", [sent], named, Slot("strict", MODEL), version=1)
    (tmp_path / "scratch").mkdir()
    (judged,) = run_gate(
        *(client, (MODEL, version), [environment], customers(None), tmp_path / "scratch"),
        machine=Machine(requests=LogDirectories(tmp_path / "state").all_parquet),
    )
    accuracy, replay = judged.evidence.verdicts
    assert accuracy.outcome is CheckOutcome.PASS
    assert (replay.name, replay.outcome) == ("replay.flips", CheckOutcome.FAIL)
    assert "of the last 1,000 answers of gate-churn v1 would change" in replay.reason


def registry_columns(client: Any, scratch: Path) -> Sequence[Column]:
    """The signature of the live version."""
    return model_dir.read(Cache(scratch).fetch(MODEL, 1).path).columns


ACCURATE = b"""\
environment: quick
registry: {alias: quick}
gate:
  accuracy: {min: 0.78}
models: {}
"""


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        (
            "mismatched",
            "FAIL: onnx_twin=",
            "rows are answered otherwise than by the model itself, such as 0 (80%) as 1 (100%)",
        ),
        ("without_example", "FAIL: input_example=0 < 1", "log it with input_example="),
    ],
)
def test_what_no_gate_has_to_ask_for_fails_a_version_too(
    client: Any, tmp_path: Path, name: str, line: str, says: str
) -> None:
    version = faulty_models.register(client, MODEL, name)
    evidence = judge(client, version, ACCURATE.replace(b"0.78", b"0.1"), tmp_path).evidence
    assert evidence.verdicts[0].outcome is CheckOutcome.PASS
    assert str(evidence.verdicts[1]).startswith(line)
    assert says in evidence.verdicts[1].reason
    assert not evidence.passed


def test_a_live_version_that_can_no_longer_be_loaded_does_not_end_the_gate(client: Any, tmp_path: Path) -> None:
    live = faulty_models.register(client, MODEL, "unloadable")
    client.set_registered_model_alias(MODEL, "quick", str(live))
    asked = ACCURATE.replace(b"models:", b"  champion: {require: hold}\nmodels:")
    accuracy, champion = judge(client, 1, asked, tmp_path).evidence.verdicts
    assert accuracy.outcome is CheckOutcome.PASS
    assert champion.outcome is CheckOutcome.INCONCLUSIVE
    assert champion.reason.startswith(f"gate-churn v{live}, which is live, can't be compared with gate-churn v1: ")
    assert "`override`" in champion.reason


def test_two_versions_with_modules_of_one_name_are_measured_each_with_its_own(client: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("n,y\n" + "".join(f"{n},{n % 2}\n" for n in range(200)))
    loads = "import helper\nself.predict = lambda context, rows, params=None: [helper.answer(n) for n in rows['n']]\n"
    for wrong in (0, 20):
        helper = f"def answer(n):\n    return n % 2 if n >= {wrong} else 1 - n % 2\n"
        version = hostile_models.register(client, "with-helper", loads, helper)
        if wrong == 0:
            client.set_registered_model_alias("with-helper", "quick", str(version))
    asked = ACCURATE.replace(b"models:", b"  champion: {require: hold}\nmodels:")
    environment = parse_environment(asked, "environment.yaml")
    rows = own_file(tmp_path / "rows.csv", "y")
    (judged,) = run_gate(client, ("with-helper", version), [environment], rows, tmp_path / "scratch")
    assert judged.evidence.champion == 1
    assert [str(v) for v in judged.evidence.verdicts] == [
        "PASS: accuracy=0.9 >= 0.78",
        "FAIL: champion.accuracy=-0.1 < -0.01",
    ]
