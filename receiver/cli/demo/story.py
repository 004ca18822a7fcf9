"""What the demo tells, in order. Each step does the real thing and then says what came of it."""

import contextlib
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from ml.registry import client as tracking
from receiver.adapters.git.command import parse_remote
from receiver.adapters.mlflow.local_server import running_mlflow
from receiver.cli.demo.environment import SOAK, DemoEnvironment, clear, deployments, end_servers, receiver, wait_for
from receiver.cli.demo.ports import choose
from receiver.core.errors import Rejected
from receiver.pull_requests.promotion import PinChange, push_promotion_branch

MODEL = "churn-model"
CUSTOMER = {
    "female": 1,
    "senior_citizen": 0,
    "partner": 0,
    "dependents": 0,
    "tenure": 2,
    "phone_service": 1,
    "multiple_lines": "No",
    "internet_service": "Fiber optic",
    "online_security": "No",
    "online_backup": "No",
    "device_protection": "No",
    "tech_support": "No",
    "streaming_tv": "Yes",
    "streaming_movies": "Yes",
    "contract": "Month-to-month",
    "paperless_billing": 1,
    "payment_method": "Electronic check",
    "monthly_charges": 95.0,
    "total_charges": 190.0,
}


@dataclass
class Narrator:
    """Says what happens, with the seconds since the start in front."""

    console: Console = field(default_factory=lambda: Console(highlight=False, file=sys.stdout))
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """One line of the story."""
        self.console.print(f"[dim]{time.monotonic() - self.began:5.1f} s[/]  {text}", soft_wrap=True)

    @contextmanager
    def slowly(self, text: str) -> Iterator[None]:
        """A spinner for as long as something slow takes."""
        with self.console.status(text):
            yield


@contextmanager
def quiet() -> Iterator[None]:
    """Keep MLflow from telling a story of its own."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def run(*, once: bool) -> None:
    """Run the demo. Stays up until Ctrl-C unless ``once``; ends everything that it started."""
    # A terminal that closes and a `kill` end the demo as Ctrl-C does, so that nothing is left running.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    root = Path(".pinrail/demo").absolute()
    clear(root)
    ports = choose()
    stage = DemoEnvironment(root, ports)
    stage.write_settings()
    narrator = Narrator()
    for part, usual in ports.taken.items():
        narrator.say(f"port {usual} is taken, so {part} is on {ports.chosen[part]}")
    with ExitStack() as cleanup:
        cleanup.callback(end_servers, stage.state)
        with narrator.slowly("starting MLflow"):
            threading.Thread(target=_import_early, daemon=True).start()
            cleanup.enter_context(running_mlflow(stage.root / "mlflow", port=ports.chosen["MLflow"]))
        os.environ["MLFLOW_TRACKING_URI"] = stage.url("MLflow")
        os.environ["MLFLOW_LOGGING_LEVEL"] = "ERROR"
        tracking.configure()
        narrator.say(f"[bold]MLflow[/] runs on {stage.url('MLflow')}, with SQLite below {stage.root}")
        _run_steps(stage, narrator, cleanup)
        _check_end(stage, narrator)
        if not once:
            _leave_something_to_try(stage, narrator)
            narrator.say("everything stays up until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()


def _import_early() -> None:
    """What training needs takes seconds to import: use those in which MLflow starts, in a process of its own."""
    import mlflow.sklearn  # noqa: F401 - imported for the next one who asks
    import skl2onnx  # noqa: F401 - the same


def _run_steps(stage: DemoEnvironment, narrator: Narrator, cleanup: ExitStack) -> None:
    github = stage.github()
    github.create(stage.environment_files())
    narrator.say(f"a bare repository stands in for GitHub: {github.path}; both environments pin {MODEL} v1")
    _train(stage, narrator, regularisation=0.01)
    with narrator.slowly("starting the receiver"):
        cleanup.enter_context(receiver(stage))
    narrator.say(
        f"[bold]the receiver[/] is up: webhooks on {stage.url('webhooks')}, dashboard {stage.url('dashboard')}"
    )
    _train(stage, narrator, regularisation=1.0)
    for environment in ("staging", "production"):
        _await(stage, narrator, environment, version=1)
    for environment in ("staging", "production"):
        _merge(stage, narrator, environment, version=2)
        _await(stage, narrator, environment, version=2)
    _break(stage, narrator)


def _train(stage: DemoEnvironment, narrator: Narrator, regularisation: float) -> None:
    """Train, register and gate one version, as ``python -m ml.train | python -m ml.evaluate`` does."""
    with narrator.slowly("training on 7,043 customers"), quiet():
        from ml.evaluate import EvaluationRequest, evaluate
        from ml.evaluation.candidate import Candidate
        from ml.train import TrainOptions, train

        result = train(TrainOptions(model=MODEL, regularisation=regularisation))
        environments = stage.root / "environments"
        for name, content in stage.environment_files().items():
            environments.mkdir(exist_ok=True)
            (stage.root / name).write_bytes(content)
        verdicts = evaluate(
            EvaluationRequest(Candidate(MODEL, int(result.model_version), result.run_id), "staging", environments)
        )
    narrator.say(f"trained and registered {MODEL} [bold]v{result.model_version}[/], accuracy {result.accuracy:.4f}")
    narrator.say("  the gate says " + "; ".join(str(verdict) for verdict in verdicts))


def _merge(stage: DemoEnvironment, narrator: Narrator, environment: str, version: int) -> None:
    github = stage.github()
    made = push_promotion_branch(parse_remote(github.url), "main", PinChange(MODEL, version, environment))
    commit = github.merge(made.branch)
    narrator.say(f"[bold]merged[/] {made.branch} as {commit[:7]}; GitHub's signed push is on its way")


def _await(stage: DemoEnvironment, narrator: Narrator, environment: str, version: int) -> None:
    """Wait for a promotion to be verified, and show what answers."""

    def latest() -> Mapping[str, Any]:
        return next((d for d in deployments(stage) if _is(d, environment, version)), {})

    with narrator.slowly(f"{environment}: candidate, proof, switch, watch"):
        wait_for(lambda: latest().get("outcome") in ("live", "rolled-back", "needs-human", "refused"))
    found = latest()
    if found["outcome"] != "live":
        raise Rejected(f"{MODEL} v{version} did not go live in {environment}: {found['outcome']}: {found['reason']}")
    health = httpx.get(stage.url(environment) + "/health").json()
    answer = httpx.post(stage.url(environment) + "/predict", json=CUSTOMER).json()
    narrator.say(
        f"[green]{environment}[/] serves v{health['version']} on {stage.url(environment)} ({health['runtime']}), "
        f"{found['seconds']:.1f} s with {SOAK + ' soak before and ' if environment == 'production' else ''}"
        f"the watch after; churn: {answer['predictions'][0]}, p={answer['probabilities'][0][1]:.2f}"
    )


def _break(stage: DemoEnvironment, narrator: Narrator) -> None:
    from mlflow import MlflowClient

    from receiver.cli.demo.broken import register_broken

    with narrator.slowly("registering a broken version"), quiet():
        like = next((stage.state / "cache").glob("[0-9a-f]*/MLmodel")).parent
        version = register_broken(MlflowClient(), MODEL, like)
    narrator.say(f"registered [bold]v{version}[/], broken on purpose: it answers at first, and then no more")
    narrator.say("  it has no evidence; an override in staging.yaml lets exactly this version past the gate")
    _merge(stage, narrator, "staging", version)
    with narrator.slowly("staging: it passes its smoke test, gets traffic, fails under watch, is rolled back"):
        wait_for(
            lambda: any(_is(d, "staging", version) and d["outcome"] == "rolled-back" for d in deployments(stage))
        )
    found = next(d for d in deployments(stage) if _is(d, "staging", version))
    health = httpx.get(stage.url("staging") + "/health").json()
    narrator.say(f"[yellow]rolled back[/] after {found['seconds']:.1f} s; staging serves v{health['version']} again")
    narrator.say(f"  because: {found['reason'].splitlines()[0]}")


def _check_end(stage: DemoEnvironment, narrator: Narrator) -> None:
    """Check the end of the story."""
    for environment in ("staging", "production"):
        health = httpx.get(stage.url(environment) + "/health").json()
        if health["version"] != 2:  # noqa: PLR2004 - the story ends with version 2
            raise Rejected(f"{environment} serves v{health['version']} at the end; the story wants v2")
        narrator.say(f"[green]{environment}[/]: {stage.url(environment)}/health says v2 and stage {health['stage']}")


def _leave_something_to_try(stage: DemoEnvironment, narrator: Narrator) -> None:
    narrator.say(f"look: {stage.url('dashboard')} (dashboard), {stage.url('MLflow')} (registry)")
    narrator.say(f"      {stage.url('production')} (what production serves, and a form to ask it)")
    narrator.say(f"try:  curl {stage.url('production')}/health")
    narrator.say(f"      (cd {stage.root} && {Path(sys.executable).with_name('pinrail')} status)")


def _is(deployment: Mapping[str, Any], environment: str, version: int) -> bool:
    return (deployment["environment"], deployment["to_version"]) == (environment, version)
