"""Who is compared: how each is started, how it is asked for rows, and where its answer has the labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.subject import MODEL, Subject
from tests.support.ports import free_port

APPS = Path(__file__).parent / "apps"
Rows = Sequence[Mapping[str, Any]]

DATATYPES = {int: "INT64", float: "FP64", str: "BYTES"}  # of the Open Inference Protocol


@dataclass(frozen=True, slots=True)
class Peer:
    """One server. ``environment`` below .venv-bench/; None: what Pinrail itself is installed in."""

    name: str
    environment: str | None
    command: Callable[[Subject, int], Sequence[str]]  # program of that environment, arguments; for a port
    path: str
    body: Callable[[Rows], Any]
    labels: Callable[[Any], Sequence[int]] | None  # None: its answers mean nothing
    variables: Callable[[Subject, int], Mapping[str, str]] = field(default=lambda _, __: {})


def _pinrail(subject: Subject, port: int) -> Sequence[str]:
    which = ("--model", MODEL, "--version", str(subject.version), "--digest", subject.digest)
    where = ("--environment", "production", "--cache", str(subject.place / "cache"), "--port", str(port))
    return ("python", "-m", "serving", *which, *where)


def _mlflow(subject: Subject, port: int) -> Sequence[str]:
    where = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")
    return ("mlflow", "models", "serve", "--model-uri", subject.model, "--env-manager", "local", *where)


def _uvicorn(app: str, port: int) -> Sequence[str]:
    fast = ("--http", "httptools", "--loop", "uvloop", "--no-access-log")
    return ("uvicorn", app, "--app-dir", str(APPS), "--port", str(port), *fast)


def _bentoml(_: Subject, port: int) -> Sequence[str]:
    where = ("--host", "127.0.0.1", "--port", str(port), "--working-dir", str(APPS))
    return ("bentoml", "serve", "bento_service:Churn", *where)


def _mlserver(subject: Subject, _: int) -> Sequence[str]:
    return ("mlserver", "start", str(subject.place / "mlserver"))


def _mlserver_variables(_: Subject, port: int) -> Mapping[str, str]:
    return {
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_HTTP_PORT": str(port),
        "MLSERVER_GRPC_PORT": str(free_port()),
        "MLSERVER_METRICS_PORT": str(free_port()),
        "MLSERVER_PARALLEL_WORKERS": "0",  # predicts in its own process, which is faster on one core
        "MLSERVER_DEBUG": "false",
    }


def _joblib(subject: Subject, _: int) -> Mapping[str, str]:
    state = str(subject.place / "bentoml")
    return {
        "BENCH_JOBLIB": str(subject.place / "model.joblib"),
        "BENTOML_HOME": state,
        "BENTOML_DO_NOT_TRACK": "true",
    }


def _record_or_features(rows: Rows) -> Any:
    return rows[0] if len(rows) == 1 else {"features": [list(row.values()) for row in rows]}


def _columns_and_data(rows: Rows) -> Any:
    return {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}


def _split(rows: Rows) -> Any:
    return {"dataframe_split": _columns_and_data(rows)}


def _tensors(rows: Rows) -> Any:
    def tensor(name: str) -> dict[str, Any]:
        kind = DATATYPES[type(rows[0][name])]
        text = {"parameters": {"content_type": "str"}} if kind == "BYTES" else {}
        data = [row[name] for row in rows]
        return {"name": name, "shape": [len(rows), 1], "datatype": kind, "data": data, **text}

    return {"parameters": {"content_type": "pd"}, "inputs": [tensor(name) for name in rows[0]]}


PINRAIL = Peer("Pinrail", None, _pinrail, "/predict", _record_or_features, lambda said: said["predictions"])
MLFLOW = Peer("MLflow models serve", "mlflow", _mlflow, "/invocations", _split, lambda said: said["predictions"])
FASTAPI_TUNED = Peer(
    "FastAPI, tuned by hand",
    "fastapi",
    lambda _, port: _uvicorn("fastapi_app:app", port),
    "/tuned",
    _columns_and_data,
    lambda said: said,
    _joblib,
)
CEILING = Peer("constant-answer ASGI app", None, lambda _, port: _uvicorn("constant:app", port), "/", list, None)
PEERS = (
    PINRAIL,
    MLFLOW,
    Peer(
        "MLServer",
        "mlserver",
        _mlserver,
        "/v2/models/churn/infer",
        _tensors,
        lambda said: said["outputs"][0]["data"],
        _mlserver_variables,
    ),
    Peer("BentoML", "bentoml", _bentoml, "/predict", _columns_and_data, lambda said: said, _joblib),
    Peer(
        "FastAPI + scikit-learn",
        "fastapi",
        lambda _, port: _uvicorn("fastapi_app:app", port),
        "/predict",
        list,
        lambda said: said["predictions"],
        _joblib,
    ),
    FASTAPI_TUNED,
    CEILING,
)
