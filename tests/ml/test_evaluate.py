import hashlib
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ml.datasets import telco
from ml.environment.file import parse_environment
from ml.evaluate import main
from ml.evidence import gate_digest
from ml.registry import client as tracking
from ml.registry.versions import register
from ml.train import TrainResult
from tests.support.mlflow_server import register_version
from tests.support.recorded_evidence import recorded_evidence

ENVIRONMENT = """\
environment: {name}
registry: {{stage: {stage}, alias: {name}}}
gate: {gate}
models: {{}}
"""


@pytest.fixture(autouse=True)
def _server(mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)


@pytest.fixture
def environments(tmp_path: Path) -> Path:
    directory = tmp_path / "environments"
    directory.mkdir()
    gates = {"staging": "{accuracy: {min: 0.8}}", "production": "{accuracy: {min: 0.8}, f1: {min: 0.99}}"}
    for name, gate in gates.items():
        text = ENVIRONMENT.format(name=name, stage=name.title(), gate=gate)
        (directory / f"{name}.yaml").write_text(text)
    return directory


def pipe(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def line_of(trained: TrainResult) -> str:
    return f"Downloading...\n{trained.to_line()}\nView run at http://127.0.0.1/#/runs\n"


@pytest.mark.usefixtures("environments")
def test_a_version_that_reaches_the_gate_passes_and_nothing_else_is_on_stdout(
    trained: TrainResult, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, line_of(trained))
    assert main([]) == 0
    assert capfd.readouterr().out == f"PASS: accuracy={trained.accuracy:.4g} >= 0.8\n"


def test_what_else_was_judged_where_the_report_is_and_what_comes_next_is_said_beside_the_verdicts(
    trained: TrainResult, environments: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, version = trained.model, trained.model_version
    staging = environments / "staging.yaml"
    asked = ["--model", model, "--version", version]
    assert main(asked) == 0
    said = capfd.readouterr().err.splitlines()
    failed, report, following = said[-3:]
    assert re.fullmatch(r"production: FAIL: f1=0\.\d+ < 0\.99", failed)
    assert report == f"report: {tracking.address()}/#/models/{model}/versions/{version}"
    assert following == f"next: `pinrail adopt staging {model} --version {version}` pins it there"
    for pinned, expected in (
        (int(version) + 1, f"next: `pinrail promote staging {model} --version {version}`"),
        (int(version), f"next: staging pins {model} v{version} already, so the receiver deploys it"),
    ):
        text = ENVIRONMENT.format(name="staging", stage="Staging", gate="{accuracy: {min: 0.8}}")
        staging.write_text(text.replace("models: {}", f"models: {{{model}: {{version: {pinned}, port: 8000}}}}"))
        assert main(asked) == 0
        assert capfd.readouterr().err.splitlines()[-1] == expected
    assert main([*asked, "--environment", "production"]) == 1
    assert "stays registered and goes nowhere" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("environments")
@pytest.mark.parametrize("source", ["variable", "option", "option over variable"])
def test_a_threshold_over_the_file_fails_the_version_and_leaves_it_in_the_registry(
    trained: TrainResult, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], source: str
) -> None:
    pipe(monkeypatch, line_of(trained))
    if "variable" in source:
        monkeypatch.setenv("ACCURACY_THRESHOLD", "0.9" if source == "variable" else "0.1")
    assert main(["--accuracy", "0.9"] if "option" in source else []) == 1
    out, err = capfd.readouterr()
    assert out == f"FAIL: accuracy={trained.accuracy:.4g} < 0.9\n"
    assert "this evidence does not satisfy its gate" in err
    version = tracking.client().get_model_version(trained.model, trained.model_version)
    assert version.status == "READY"


def test_evidence_is_recorded_for_every_environment_and_bound_to_all_three_digests(
    trained: TrainResult, environments: Path
) -> None:
    assert main(["--model", trained.model, "--version", trained.model_version]) == 0
    for name, passed in {"staging": True, "production": False}.items():
        path = environments / f"{name}.yaml"
        found = recorded_evidence(tracking.client(), trained.model, int(trained.model_version), name)
        assert found is not None
        assert found.passed is passed
        assert found.model_digest == trained.digest
        assert found.data_digest == trained.evaluation_digest
        assert found.gate_digest == gate_digest(parse_environment(path.read_bytes(), str(path)).gate)


def test_an_environment_that_does_not_pin_the_model_has_no_say_in_it(
    trained: TrainResult, environments: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    staging = ENVIRONMENT.format(name="staging", stage="Staging", gate="{accuracy: {min: 0.8}}")
    pinned = staging.replace("models: {}", f"models: {{{trained.model}: {{version: 1, port: 8000}}}}")
    (environments / "staging.yaml").write_text(pinned)
    other = ENVIRONMENT.format(name="production", stage="Production", gate="{r2: {min: 0.3}}")
    (environments / "production.yaml").write_text(other)
    asked = ["--model", trained.model, "--version", trained.model_version]
    assert main(asked) == 0
    assert capfd.readouterr().out.startswith("PASS: accuracy=")
    assert main([*asked, "--environment", "production"]) == 1
    assert "r2 can't be measured" in capfd.readouterr().err


def test_evidence_under_another_threshold_is_not_evidence_for_the_files_gate(
    trained: TrainResult, environments: Path
) -> None:
    asked = ["--model", trained.model, "--version", trained.model_version, "--environment", "production"]
    assert main([*asked, "--accuracy", "0.5"]) == 1
    path = environments / "production.yaml"
    found = recorded_evidence(tracking.client(), trained.model, int(trained.model_version), "production")
    assert found is not None
    assert found.gate_digest != gate_digest(parse_environment(path.read_bytes(), str(path)).gate)


@pytest.mark.usefixtures("environments")
def test_a_line_without_a_version_is_found_by_its_run(
    trained: TrainResult, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_NAME", trained.model)
    pipe(monkeypatch, json.dumps({"run_id": trained.run_id, "accuracy": 0.8}))
    assert main([]) == 0
    assert capfd.readouterr().out.startswith("PASS: ")


@pytest.mark.parametrize("text", ["", "training failed: no answer\n", '{"accuracy": 0.9}\n'])
def test_no_training_line_is_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], text: str
) -> None:
    pipe(monkeypatch, text)
    assert main([]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "no training line on stdin" in err


@pytest.mark.parametrize("threshold", ["lots", "1.5", "nan", "-0.1"])
def test_a_threshold_that_is_no_share_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], threshold: str
) -> None:
    monkeypatch.setenv("ACCURACY_THRESHOLD", threshold)
    with pytest.raises(SystemExit) as ended:
        main(["--version", "1"])
    assert ended.value.code == 2
    assert "ACCURACY_THRESHOLD" in capfd.readouterr().err


@pytest.mark.usefixtures("environments", "trained")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--model", "nobody", "--version", "1"], "nobody"),
        (["--model", "a\nb' or ''='", "--version", "1"], "is not a valid model name"),
        (["--model", "shared-churn", "--version", "999"], "999"),
        (["--version", "1", "--environment", "moon"], "has no environment moon; it has production, staging"),
        (["--version", "1", "--environments-dir", "nowhere"], "has no environment staging; it has none"),
        (["--model", "shared-churn", "--version", "1", "--data", "nowhere.csv"], "nowhere.csv"),
        (["--model", "shared-churn", "--version", "1", "--data", "nowhere.csv", "--label", "y"], "nowhere.csv"),
    ],
)
def test_what_cannot_be_evaluated_is_one_clear_line(
    capfd: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(arguments) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("evaluation failed: ")
    assert says in err
    assert "Traceback" not in err


def test_a_broken_environment_file_is_named_with_its_line(
    environments: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (environments / "production.yaml").write_text("environment: production\ngate: {acuracy: {min: 0.8}}\n")
    assert main(["--version", "1"]) == 1
    assert "production.yaml:2" in capfd.readouterr().err


def test_the_report_lies_beside_the_evidence_and_where_it_was_asked_for(
    trained: TrainResult, environments: Path, tmp_path: Path
) -> None:
    asked = ["--model", trained.model, "--version", trained.model_version, "--report", str(tmp_path / "out")]
    assert main(asked) == 0
    assert environments.is_dir()
    names = {f"{name}-report.{kind}" for name in ("staging", "production") for kind in ("html", "json")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    folder = f"pinrail/evidence/{trained.model}/{trained.model_version}"
    kept = tracking.client().list_artifacts(trained.run_id, folder)
    assert names <= {Path(file.path).name for file in kept}
    page = (tmp_path / "out" / "staging-report.html").read_bytes()
    evidence = recorded_evidence(tracking.client(), trained.model, int(trained.model_version), "staging")
    assert evidence is not None
    assert evidence.report == f"sha256:{hashlib.sha256(page).hexdigest()}"
    facts = json.loads((tmp_path / "out" / "staging-report.json").read_text())
    assert facts["provenance"]["run"] == trained.run_id
    tags = tracking.client().get_model_version(trained.model, trained.model_version).tags
    assert tags["pinrail.verdict.staging"] == "PASS"
    assert tags["pinrail.verdict.production"] == "FAIL"


def test_without_its_report_no_evidence_is_recorded(
    trained: TrainResult, environments: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")
    (environments / "alone.yaml").write_text(ENVIRONMENT.format(name="alone", stage="null", gate="{f1: {min: 0}}"))
    asked = ["--model", trained.model, "--version", trained.model_version, "--environment", "alone"]
    assert main([*asked, "--report", str(tmp_path / "taken")]) == 1
    assert f"--report {tmp_path / 'taken'}: can't write the report there" in capfd.readouterr().err
    assert recorded_evidence(tracking.client(), trained.model, int(trained.model_version), "alone") is None


def test_rows_of_ones_own_are_found_by_the_models_name(
    trained: TrainResult, environments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = register(tracking.client(), "evaluate-own-rows", trained.run_id, {})
    (tmp_path / "evaluation").mkdir()
    rows = pd.read_csv(telco.PATH).head(40).rename(columns={"churn": "label"})
    rows["label"] = rows["label"].map({"No": 0, "Yes": 1})  # as the model answers
    rows.to_csv(tmp_path / "evaluation/evaluate-own-rows.csv", index=False)
    main(["--model", "evaluate-own-rows", "--version", str(version), "--environments-dir", str(environments)])
    assert "accuracy=" in capsys.readouterr().out
    found = recorded_evidence(tracking.client(), "evaluate-own-rows", version, "staging")
    assert found is not None
    assert found.rows == 40


def test_a_model_that_the_customers_do_not_suit_is_asked_for_rows_of_its_own(
    environments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = json.dumps([{"name": "bmi", "type": "double"}, {"name": "tenure", "type": "long"}])
    described = yaml.safe_dump({"signature": {"inputs": inputs}, "flavors": {}})
    register_version(tracking.client(), "evaluate-own", {"MLmodel": described})
    assert main(["--model", "evaluate-own", "--version", "1", "--environments-dir", str(environments)]) == 1
    said = capsys.readouterr().err
    assert "the customers that Pinrail comes with have no bmi: put rows with answers in `label` into" in said
    assert "evaluation/<model>.csv" in said
