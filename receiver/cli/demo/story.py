"""The steps of the demo, in order. Each step performs an action and prints its result."""

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
from types import FrameType
from typing import Any

import httpx
from rich.console import Console

from ml.evidence import CheckOutcome
from ml.registry import client as tracking
from receiver.adapters.git.command import parse_remote
from receiver.adapters.mlflow.local_server import running_mlflow
from receiver.cli.demo.environment import SOAK, DemoEnvironment, clear, deployments, end_servers, receiver, wait_for
from receiver.cli.demo.ports import choose
from receiver.core.errors import Rejected
from receiver.daemon.signals import SIGNALS
from receiver.pull_requests.promotion import PinChange, push_promotion_branch

MODEL = "churn-model"
SHOWN = ("accuracy", "fairness.senior_citizen.equalized_odds", "robustness.unseen", "drift.psi")  # of all verdicts
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
    """Prints what happens, with the seconds since the start."""

    console: Console = field(default_factory=lambda: Console(highlight=False, file=sys.stdout))
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print one line."""
        self.console.print(f"[dim]{time.monotonic() - self.began:5.1f} s[/]  {text}", soft_wrap=True)

    @contextmanager
    def slowly(self, text: str) -> Iterator[None]:
        """Show a spinner during something slow."""
        with self.console.status(text):
            yield


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress MLflow's output."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def run(*, once: bool) -> None:
    """Run the demo. Stays up until Ctrl-C unless ``once``; ends everything that it started."""
    # A terminal that closes and a `kill` end the demo as Ctrl-C does, so that nothing is left running.
    for number in SIGNALS:
        signal.signal(number, _end_once)
    root = Path(".pinrail/demo").absolute()
    clear(root)
    ports = choose()
    demo = DemoEnvironment(root, ports)
    demo.write_settings()
    narrator = Narrator()
    for part, usual in ports.taken.items():
        narrator.say(f"port {usual} is taken, so {part} is on {ports.chosen[part]}")
    with ExitStack() as cleanup:
        cleanup.callback(end_servers, demo.state)
        with narrator.slowly("starting MLflow"):
            threading.Thread(target=_import_early, daemon=True).start()
            cleanup.enter_context(running_mlflow(demo.root / "mlflow", port=ports.chosen["MLflow"]))
        os.environ["MLFLOW_TRACKING_URI"] = demo.url("MLflow")
        os.environ["MLFLOW_LOGGING_LEVEL"] = "ERROR"
        tracking.configure()
        narrator.say(f"[bold]MLflow[/] runs on {demo.url('MLflow')}, with SQLite below {demo.root}")
        _run_steps(demo, narrator, cleanup)
        _check_end(demo, narrator)
        if not once:
            _leave_something_to_try(demo, narrator)
            narrator.say("everything stays up until Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


def _end_once(_number: int, _frame: FrameType | None) -> None:
    """End the demo; a second signal does not interrupt what the first has begun to clean up."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


def _import_early() -> None:
    """The imports for training take seconds: do them while MLflow starts in its own process."""
    import mlflow.sklearn  # noqa: F401 - imported early, for training
    import skl2onnx  # noqa: F401 - the same


def _run_steps(demo: DemoEnvironment, narrator: Narrator, cleanup: ExitStack) -> None:
    github = demo.github()
    github.create(demo.environment_files())
    narrator.say(f"a bare repository stands in for GitHub: {github.path}; both environments pin {MODEL} v1")
    _train(demo, narrator, regularisation=0.01)
    with narrator.slowly("starting the receiver"):
        cleanup.enter_context(receiver(demo))
    narrator.say(
        f"[bold]the receiver[/] is up: webhooks on {demo.url('webhooks')}, dashboard {demo.url('dashboard')}"
    )
    _train(demo, narrator, regularisation=1.0)
    for environment in ("staging", "production"):
        _await(demo, narrator, environment, version=1)
    for environment in ("staging", "production"):
        _merge(demo, narrator, environment, version=2)
        _await(demo, narrator, environment, version=2)
    _break(demo, narrator)


def _train(demo: DemoEnvironment, narrator: Narrator, regularisation: float) -> None:
    """Train, register and gate one version, as ``python -m ml.train | python -m ml.evaluate`` does."""
    with narrator.slowly("training on 7,043 customers"), quiet():
        from ml.evaluate import EvaluationRequest, evaluate
        from ml.evaluation.candidate import Candidate
        from ml.evidence_key import own_key
        from ml.train import TrainOptions, train

        result = train(TrainOptions(model=MODEL, regularisation=regularisation))
        environments = demo.root / "environments"
        for name, content in demo.environment_files().items():
            environments.mkdir(exist_ok=True)
            (demo.root / name).write_bytes(content)
        candidate = Candidate(MODEL, int(result.model_version), result.run_id)
        evaluation = evaluate(EvaluationRequest(candidate, "staging", environments, key=own_key(demo.state)))
    narrator.say(f"trained and registered {MODEL} [bold]v{result.model_version}[/], accuracy {result.accuracy:.4f}")
    verdicts = evaluation.verdicts["staging"]
    failed = [verdict for verdict in verdicts if verdict.outcome is not CheckOutcome.PASS]
    shown = failed or [verdict for verdict in verdicts if verdict.name in SHOWN]
    narrator.say(f"  gate: {len(verdicts) - len(failed)} of {len(verdicts)} pass: {'; '.join(map(str, shown))}")


def _merge(demo: DemoEnvironment, narrator: Narrator, environment: str, version: int) -> None:
    github = demo.github()
    made = push_promotion_branch(parse_remote(github.url), "main", PinChange(MODEL, version, environment))
    commit = github.merge(made.branch)
    narrator.say(f"[bold]merged[/] {made.branch} as {commit[:7]}; the signed push webhook is sent")


def _await(demo: DemoEnvironment, narrator: Narrator, environment: str, version: int) -> None:
    """Wait for a promotion to be verified, and show what answers."""

    def latest() -> Mapping[str, Any]:
        return next((d for d in deployments(demo) if _is(d, environment, version)), {})

    with narrator.slowly(f"{environment}: candidate, checks, switch, watch"):
        wait_for(lambda: latest().get("outcome") in ("live", "rolled-back", "needs-human", "refused"))
    found = latest()
    if found["outcome"] != "live":
        raise Rejected(f"{MODEL} v{version} did not go live in {environment}: {found['outcome']}: {found['reason']}")
    health = httpx.get(demo.url(environment) + "/health").json()
    answer = httpx.post(demo.url(environment) + "/predict", json=CUSTOMER).json()
    narrator.say(
        f"[green]{environment}[/] serves v{health['version']} on {demo.url(environment)} ({health['runtime']}), "
        f"{found['seconds']:.1f} s with {SOAK + ' soak before and ' if environment == 'production' else ''}"
        f"the watch after; churn: {answer['predictions'][0]}, p={answer['probabilities'][0][1]:.2f}"
    )


def _break(demo: DemoEnvironment, narrator: Narrator) -> None:
    from mlflow import MlflowClient

    from receiver.cli.demo.broken import register_broken

    with narrator.slowly("registering a broken version"), quiet():
        like = next((demo.state / "cache").glob("[0-9a-f]*/MLmodel")).parent
        version = register_broken(MlflowClient(), MODEL, like)
    narrator.say(f"registered [bold]v{version}[/], broken on purpose: it answers a few times and then fails")
    narrator.say("  it has no evidence; an override in staging.yaml admits exactly this version without the gate")
    _merge(demo, narrator, "staging", version)
    with narrator.slowly("staging: it passes its smoke test, gets traffic, fails under watch, is rolled back"):
        wait_for(lambda: any(_is(d, "staging", version) and d["outcome"] == "rolled-back" for d in deployments(demo)))
    found = next(d for d in deployments(demo) if _is(d, "staging", version))
    health = httpx.get(demo.url("staging") + "/health").json()
    narrator.say(f"[yellow]rolled back[/] after {found['seconds']:.1f} s; staging serves v{health['version']} again")
    reason = found["reason"].splitlines()[0]
    narrator.say(f"  reason: {reason}")
    if "after it got traffic" not in reason:
        raise Rejected("the broken version was to fail under watch, and failed before")


def _check_end(demo: DemoEnvironment, narrator: Narrator) -> None:
    """Check the final state."""
    for environment in ("staging", "production"):
        health = httpx.get(demo.url(environment) + "/health").json()
        if health["version"] != 2:  # noqa: PLR2004 - the demo ends with version 2
            raise Rejected(f"{environment} serves v{health['version']} at the end, expected v2")
        narrator.say(f"[green]{environment}[/]: {demo.url(environment)}/health says v2 and stage {health['stage']}")


def _leave_something_to_try(demo: DemoEnvironment, narrator: Narrator) -> None:
    narrator.say(f"see:  {demo.url('dashboard')} (dashboard), {demo.url('MLflow')} (registry)")
    narrator.say(f"      {demo.url('production')} (production, with a form for requests)")
    narrator.say(f"try:  curl {demo.url('production')}/health")
    narrator.say(f"      (cd {demo.root} && {Path(sys.executable).with_name('pinrail')} status)")


def _is(deployment: Mapping[str, Any], environment: str, version: int) -> bool:
    return (deployment["environment"], deployment["to_version"]) == (environment, version)
