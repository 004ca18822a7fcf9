"""What a look costs while a version waits for its soak: one of 2 GB beside one of a few bytes."""

import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from receiver.adapters.mlflow.local_server import running_mlflow
from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.core.deployment import Outcome
from receiver.planning.observe import observe_head
from receiver.planning.status import status_report
from receiver.services import Services
from serving.model.digest import digest_tree
from serving.model.loader import Cache
from tests.bench.figures import at_most, goals, number, table
from tests.bench.wrk import BenchError
from tests.support.flow import Flow
from tests.support.one_pass import reconcile
from tests.support.registry_views import resolve

SIZES = {"a few bytes": 64, "2 GB": 2 << 30}
PINS = """\
environment: {environment}
registry: {{stage: {stage}, alias: {environment}}}
policy: {policy}
gate: {{}}
models: {{{model}: {{version: 1, port: {port}}}}}
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Medians in seconds, of one version that is live in staging and waits for production."""

    size: str
    fetch: float  # the first look: download and digest
    digest: float  # reading every byte once
    reconcile: float  # a look of the worker
    status: float  # what ``pinrail status`` and the dashboard do


def measure(rounds: int) -> list[Waiting]:
    """Versions of each size in a real MLflow; their looks in turn, so that the machine's moods are shared."""
    with tempfile.TemporaryDirectory() as scratch, running_mlflow(Path(scratch) / "mlflow") as url:
        registry = MlflowRegistry(url, Cache(Path(scratch) / "cache", url))
        flows, fetches = {}, {}
        for nth, (size, length) in enumerate(SIZES.items()):
            sys.stderr.write(f"fetching a version of {size}\n")
            model, flow = f"model-{nth}", Flow(Path(scratch) / f"state-{nth}")
            _register(url, model, length, Path(scratch) / "mlflow")
            flow.source.commit(_pins(model))
            flows[size] = replace(flow.services, registry=registry)
            began = time.perf_counter()
            found = list(reconcile(flows[size], "push").outcomes.values())
            fetches[size] = time.perf_counter() - began
            if found != [Outcome.LIVE, Outcome.WAITING]:
                raise BenchError(f"the version of {size} does not wait for its soak: {found}")
        seconds: dict[tuple[str, str], list[float]] = {}
        for _ in range(rounds + 1):
            for size, services in flows.items():
                seconds.setdefault((size, "reconcile"), []).append(_reconcile(services))
                seconds.setdefault((size, "status"), []).append(_status(services))
        return [
            Waiting(
                size,
                fetches[size],
                _digest(registry, f"model-{nth}"),
                median(seconds[size, "reconcile"][1:]),
                median(seconds[size, "status"][1:]),
            )
            for nth, size in enumerate(SIZES)
        ]


def _reconcile(services: Services) -> float:
    began = time.perf_counter()
    report = reconcile(services, "timer")
    seconds = time.perf_counter() - began
    if report.outcomes or report.deferred:
        raise BenchError(f"a look did more than look: {report.outcomes} {report.deferred}")
    return seconds


def _status(services: Services) -> float:
    began = time.perf_counter()
    found = [row.state for row in status_report(services, observe_head(services)).slots]
    seconds = time.perf_counter() - began
    if found != ["in sync", "waiting"]:
        raise BenchError(f"staging and production are {found}")
    return seconds


def _digest(registry: MlflowRegistry, model: str) -> float:
    resolved = resolve(registry, model, 1)
    if resolved is None:
        raise BenchError(f"{model} was not fetched")
    began = time.perf_counter()
    digest_tree(resolved.version.path)
    return time.perf_counter() - began


def _pins(model: str) -> dict[str, bytes]:
    policies = {"staging": "{}", "production": "{after: staging, soak: 30m}"}
    return {
        f"environments/{name}.yaml": PINS.format(
            environment=name, stage=name.title(), policy=policy, model=model, port=8000 + nth
        ).encode()
        for nth, (name, policy) in enumerate(policies.items())
    }


def _register(url: str, model: str, length: int, server: Path) -> None:
    """A version whose weights are a sparse file, laid into the artifact store without an upload."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(url)
    run = client.create_run("0").info
    artifacts = server / "artifacts" / "0" / run.run_id / "artifacts" / "model"
    artifacts.mkdir(parents=True)
    (artifacts / "MLmodel").write_text("flavors: {}\n")
    with (artifacts / "weights.bin").open("wb") as weights:
        weights.truncate(length)
    client.create_registered_model(model)
    client.create_model_version(model, f"{run.artifact_uri}/model", run.run_id, await_creation_for=0)


def render(found: list[Waiting]) -> str:
    """Goals and table as Markdown."""
    small, large = found
    wanted = [
        at_most(f"{what} on top, {large.size} beside {small.size}", 50, (slow - quick) * 1e3, "ms")
        for what, slow, quick in (
            ("a look", large.reconcile, small.reconcile),
            ("a status", large.status, small.status),
        )
    ]
    head = ("version", "fetched at the first look, s", "every byte read once, s", "look, ms", "status, ms")
    rows = [
        (w.size, number(w.fetch), number(w.digest), number(w.reconcile * 1e3), number(w.status * 1e3)) for w in found
    ]
    said = (
        "The version is live in staging and waits for production. MLflow is real; git and the servers are fakes that"
        " answer at once. Looks and statuses are medians, taken in turn. What reading every byte once takes is what"
        " each look would cost that verified the version; it is verified when it is fetched and before a start."
    )
    return "\n\n".join([goals(wanted), table(head, rows), said])
