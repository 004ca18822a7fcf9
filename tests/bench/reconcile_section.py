"""How long a look takes when nothing is to be done: 1,000 pins, in sync."""

import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from receiver.adapters.mlflow.local_server import running_mlflow
from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.core.deployment import Cause, Draft, Outcome
from receiver.core.state import Role, Server, ServerSpec, Slot
from receiver.services import Services
from serving.model.loader import Cache
from tests.bench.figures import at_most, goals, number, table
from tests.bench.wrk import BenchError
from tests.support.flow import Flow
from tests.support.one_pass import reconcile

STAGES = {"staging": "Staging", "production": "Production"}
POLICY = {"staging": "{}", "production": "{after: staging, soak: 0s}"}


@dataclass(frozen=True, slots=True)
class ReconcileTimes:
    """Seconds that looks took, in order; the first has nothing remembered, as after a start."""

    registry: str
    pins: int
    seconds: list[float]

    @property
    def usual(self) -> float:
        """The median of all but the first."""
        return median(self.seconds[1:])


def measure(pins: int, rounds: int) -> list[ReconcileTimes]:
    """Half as many models as pins, each in both environments: on fakes, then with a real MLflow behind it."""
    models = [f"model-{number:04}" for number in range(pins // 2)]
    with tempfile.TemporaryDirectory() as scratch:
        flow = Flow(Path(scratch))
        sys.stderr.write(f"bringing {pins} pins in sync\n")
        _settle(flow, models)
        found = [_reconcile("all in memory, SQLite on disk", flow.services, pins, rounds)]
        with running_mlflow(Path(scratch) / "mlflow") as url:
            sys.stderr.write(f"registering {len(models)} models in MLflow\n")
            registry = MlflowRegistry(url, Cache(Path(scratch) / "cache", url))
            _register(url, models)
            found.append(_reconcile("real MLflow", replace(flow.services, registry=registry), pins, rounds))
    return found


def _reconcile(registry: str, services: Services, pins: int, rounds: int) -> ReconcileTimes:
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        report = reconcile(services, "timer")
        seconds.append(time.perf_counter() - began)
        if report.outcomes or report.drift or report.deferred or len(report.seen.slots()) != pins:
            done = f"{len(report.outcomes)} deployments, {len(report.drift)} drifts, {report.deferred[:1]} put off"
            raise BenchError(f"the {pins} pins were not in sync: {done}")
    return ReconcileTimes(registry, pins, seconds)


def _settle(flow: Flow, models: list[str]) -> None:
    """Everything as after a thousand deployments: pins, servers, registry, and the journal of it."""
    settings = flow.database.connection()
    settings.execute("PRAGMA synchronous = OFF")  # this is not what is measured
    files = {}
    for place, (environment, stage) in enumerate(STAGES.items()):
        ports = {model: 10_000 + place * len(models) + nth for nth, model in enumerate(models)}
        pins = "".join(f"\n  {model}: {{version: 1, port: {port}}}" for model, port in ports.items())
        text = (
            f"environment: {environment}\nregistry: {{stage: {stage}, alias: {environment}}}\n"
            f"policy: {POLICY[environment]}\ngate: {{}}\nmodels:{pins}\n"
        )
        files[f"environments/{environment}.yaml"] = text.encode()
    commit = flow.source.commit(files)
    for model in models:
        flow.registry.register(model, {"MLmodel": model})
        flow.registry.set_stage(model, 1, "Production")
        digest = flow.registry.models[model][1].digest
        for place, (environment, stage) in enumerate(STAGES.items()):
            flow.registry.set_alias(model, environment, 1)
            port = 10_000 + place * len(models) + models.index(model)
            spec = ServerSpec(Slot(environment, model), 1, digest, stage, port, commit)
            server = Server(f"{environment}-{model}", spec, Role.LIVE, ("http://127.0.0.1:9",))
            flow.target.servers[server.id] = server
            draft = Draft(
                slot=spec.slot,
                from_version=None,
                to_version=1,
                digest=digest,
                revision=commit,
                cause=Cause.read("push"),
                override=None,
                plan=(),
            )
            flow.journal.close(flow.journal.open(draft), Outcome.LIVE)
    settings.execute("PRAGMA synchronous = FULL")


def _register(url: str, models: list[str]) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(url)
    run = client.create_run("0").info

    def register(model: str) -> None:
        client.create_registered_model(model)
        client.create_model_version(model, f"{run.artifact_uri}/model", run.run_id, await_creation_for=0)
        client.transition_model_version_stage(model, "1", "Production")
        for environment in STAGES:
            client.set_registered_model_alias(model, environment, "1")

    with warnings.catch_warnings(), ThreadPoolExecutor(3) as pool:
        warnings.simplefilter("ignore")  # stages are deprecated, which we know
        list(pool.map(register, models))


def render(found: list[ReconcileTimes]) -> str:
    """Goals and table as Markdown."""
    wanted = [at_most(f"{rounds.pins:,} pins in sync, {rounds.registry}", 1, rounds.usual, "s") for rounds in found]
    head = ("registry", "first look, s", "later looks, median s", "longest s")
    rows = [
        (rounds.registry, number(rounds.seconds[0]), number(rounds.usual), number(max(rounds.seconds[1:])))
        for rounds in found
    ]
    said = (
        "Git and the servers are fakes that answer at once; journal and verified state are in a real SQLite file. The"
        " first look is that of a receiver which has just started."
    )
    return "\n\n".join([goals(wanted), table(head, rows), said])
