"""``python -m ml.evaluate``: measure one version, apply the gate, record the evidence."""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.datasets.own_rows import LABEL, own_rows
from ml.env_file import TRAINING, export_env_file
from ml.errors import INTERRUPTED, MlError
from ml.evaluation import guard
from ml.evaluation.candidate import Candidate, find_candidate
from ml.evaluation.hidden import hide_memory
from ml.evidence_key import FILE_NAME, NAME, STATE_NAME, EvidenceKey, key_of
from ml.registry import client as tracking
from ml.report.summary import Evaluation, summary
from serving.model.download import MOST_MB, Bounds

if TYPE_CHECKING:
    from ml.datasets.evaluation_set import ReadRows
    from ml.environment.file import Environment
    from ml.evaluation.gate import Judgement

NO_CANDIDATE = 2


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """What to evaluate, and against which environment's gate."""

    candidate: Candidate
    environment: str
    environments_dir: Path
    accuracy: float | None = None  # instead of that in the environment files
    data: Path | None = None  # None: ``evaluation/<model>.csv``, or the committed customers where that is not there
    label: str | None = None  # the column of ``data`` with the true answers; None: customers, held-out part
    snapshots: Path | None = None  # what ml.snapshot wrote, in place of ``data``
    report: Path | None = None  # where to put the reports, besides the registry
    requests: Path | None = None  # the receiver's inference logs
    key: EvidenceKey | None = None  # signs the evidence
    packages: Path | None = None  # where the packages of versions are installed
    version_mb: float = 10_000.0  # how large a version may be
    unconfined: bool = False  # a version may read this user's files


def evaluate(request: EvaluationRequest) -> Evaluation:
    """Measure the version once, record evidence, and return the verdicts of each environment.

    Evidence is for every environment that pins the model, or for all if none does, and for the chosen one.

    MlError: no such environment, version or data, or no registry.
    """
    from ml.evaluation.gate import Machine, read_environments, run_gate
    from ml.packages.store import PackageStore
    from ml.registry import versions as registry

    environments = read_environments(request.environments_dir)
    if request.environment not in environments:
        known = ", ".join(sorted(environments)) or "none"
        raise MlError(f"{request.environments_dir} has no environment {request.environment}; it has {known}")
    model = tracking.model_name(request.candidate.model)
    rows = _rows(request, model)
    client = tracking.client()
    number = request.candidate.version or registry.find_version(client, model, request.candidate.run_id or "")
    # A gate for other models need not suit this one; before the model is pinned anywhere, any gate may be its gate.
    pinning = {name for name, environment in environments.items() if model in environment.models} or {*environments}
    chosen = [one for name, one in environments.items() if name in {*pinning, request.environment}]
    asked = [_with_accuracy(environment, model, request.accuracy) for environment in chosen]
    with tempfile.TemporaryDirectory() as scratch:
        locked = all(environment.locked_packages for environment in asked)
        packages = PackageStore(request.packages, only_verified=locked) if request.packages else None
        bounds = Bounds(most_mb=request.version_mb)
        machine = Machine(request.requests, packages, bounds, confine=not request.unconfined)
        judged = run_gate(client, (model, number), asked, rows, Path(scratch), machine=machine)
        found = []
        for one, files in [(one, _report(client, one)) for one in judged]:
            kept = registry.write_report(client, one.evidence, files)
            page = registry.sha256(files[f"{one.evidence.environment}-report.html"]) if kept else ""
            found.append(replace(one.evidence, report=page))
            if request.report is not None:
                _write(request.report, files)
        for evidence in found:  # last: evidence without a report would be half a result
            registry.write_evidence(client, request.key.sign(evidence) if request.key else evidence)
    verdicts = {one.evidence.environment: one.evidence.verdicts for one in judged}
    pinned = {name: pins.models[model].version for name, pins in environments.items() if model in pins.models}
    return Evaluation(model, number, verdicts, pinned)


def _rows(request: EvaluationRequest, model: str) -> "ReadRows":
    """The rows that were named; else those of this model in the directory for them; else the committed customers."""
    from ml.datasets.evaluation_set import customers, own_file, snapshots

    if request.snapshots:
        return snapshots(request.snapshots)
    if request.data and request.label:
        return own_file(request.data, request.label)
    if request.data is None and own_rows(model).is_file():
        return own_file(own_rows(model), LABEL)
    return customers(request.data)


def _report(client: Any, judgement: "Judgement") -> dict[str, str]:
    """Return the files of the report on one environment's gate."""
    from ml.registry import versions as registry
    from ml.report.facts import collect
    from ml.report.page import to_html, to_json

    evidence = judgement.evidence
    provenance = registry.provenance(client, evidence.model, evidence.version)
    facts = collect(judgement.subject, evidence, judgement.seconds, provenance)
    return {f"{evidence.environment}-report.{kind}": to(facts) for kind, to in (("json", to_json), ("html", to_html))}


def _write(directory: Path, files: Mapping[str, str]) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text)
    except OSError as error:
        raise MlError(f"--report {directory}: can't write the report there: {error}") from error


def _with_accuracy(environment: "Environment", model: str, accuracy: float | None) -> "Environment":
    from ml.environment.gate_schema import AtLeast

    if accuracy is None:
        return environment
    gate = {**environment.gate_for(model), "accuracy": AtLeast(min=accuracy)}
    return replace(environment, gate=gate, models={})


def request_from(arguments: Sequence[str], environ: Mapping[str, str]) -> EvaluationRequest | None:
    """Parse the command line, and stdin if that names no version. None: there was no training line."""
    parser = _parser(environ)
    given = parser.parse_args(arguments)
    if given.accuracy is None and environ.get("ACCURACY_THRESHOLD"):
        try:
            given.accuracy = _share(environ["ACCURACY_THRESHOLD"])
        except (ValueError, argparse.ArgumentTypeError) as error:
            parser.error(f"ACCURACY_THRESHOLD: {error}")
    if given.model is not None and given.version is None:
        parser.error("--model needs --version")
    if given.label is not None and given.data is None:
        parser.error("--label needs --data")
    if given.version is not None:
        candidate: Candidate | None = Candidate(given.model, given.version, None)
    else:
        candidate = find_candidate(sys.stdin.buffer.read().decode(errors="replace"))
    if candidate is None:
        return None
    return EvaluationRequest(
        candidate=candidate,
        environment=given.environment,
        environments_dir=given.environments_dir,
        accuracy=given.accuracy,
        data=given.data,
        label=given.label,
        snapshots=given.snapshots,
        report=given.report,
        requests=given.requests,
        packages=given.packages,
        version_mb=given.version_mb,
        unconfined=given.unconfined,
    )


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ml.evaluate",
        description="Measure one version, apply the gate of an environment, and record the evidence."
        " The version is that of the last line of ml.train on stdin, or the one named.",
        epilog="Environment: ACCURACY_THRESHOLD, like --accuracy; MODEL_NAME (default churn-model) if nothing else"
        " names the model; MLFLOW_TRACKING_URI and MLflow's other variables. Prints one PASS or FAIL line per"
        " check and nothing else on stdout. Exit codes: 0 passed, 1 failed, 2 usage or no training line on stdin.",
    )
    parser.add_argument("--environment", default="staging", metavar="NAME", help="whose gate to use (staging)")
    parser.add_argument("--environments-dir", type=Path, default=Path("environments"), metavar="DIR")
    parser.add_argument("--accuracy", type=_share, metavar="MIN", help="require this accuracy instead of the file's")
    parser.add_argument("--model", metavar="NAME", help="with --version: evaluate this one instead of reading stdin")
    parser.add_argument("--version", type=int, metavar="N")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="CSV",
        help="hold rows out of these customers, or see --label; default: evaluation/<model>.csv with its answers in"
        " label, where it is there, else the customers that Pinrail comes with",
    )
    parser.add_argument("--label", metavar="COLUMN", help="--data is rows of any kind; this holds the true answers")
    parser.add_argument("--snapshots", type=Path, metavar="DIR", help="evaluate on what ml.snapshot wrote there")
    parser.add_argument("--report", type=Path, metavar="DIR", help="also write the reports, JSON and HTML, here")
    parser.add_argument(
        "--requests", type=Path, metavar="DIR", help="the receiver's inference logs, .pinrail/inference/parquet"
    )
    parser.add_argument(
        "--packages",
        type=Path,
        metavar="DIR",
        default=Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pinrail" / "packages",
        help="where packages that a version needs, and that are not here, are installed (%(default)s)",
    )
    parser.add_argument(
        "--version-mb", type=float, metavar="MB", default=MOST_MB, help="how large a version may be (%(default)s)"
    )
    parser.add_argument(
        "--unconfined", action="store_true", help="let versions read this user's files, as PINRAIL_CONFINE=false does"
    )
    return parser


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    try:
        export_env_file(*TRAINING, NAME, FILE_NAME, STATE_NAME)
    except MlError as error:
        sys.stderr.write(f"evaluation failed: {error}\n")
        return 1
    request = request_from(sys.argv[1:] if arguments is None else arguments, os.environ)
    if request is None:
        sys.stderr.write(
            "no training line on stdin: pipe the output of `python -m ml.train` here, or use --version\n"
        )
        return NO_CANDIDATE
    tracking.configure()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # MLflow prints to stdout
            evaluation = evaluate(replace(request, key=key_of(os.environ)))
    except MlError as error:
        sys.stderr.write(f"evaluation failed: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("evaluation interrupted\n")
        return INTERRUPTED
    for verdict in evaluation.verdicts[request.environment]:
        sys.stdout.write(f"{verdict}\n")
    sys.stdout.flush()
    if request.accuracy is not None:
        sys.stderr.write(
            f"accuracy={request.accuracy:g} was used instead of the environment files: where a file asks for"
            " another, this evidence does not satisfy its gate\n"
        )
    else:
        sys.stderr.writelines(f"{line}\n" for line in summary(evaluation, request.environment, tracking.address()))
    return 0 if evaluation.passed(request.environment) else 1


if __name__ == "__main__":
    hide_memory()  # the models that are measured run as the same user
    guard.adopt_orphans()
    status = main()
    guard.end_all()
    sys.exit(status)
