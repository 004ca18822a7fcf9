"""The demo's processes and files: a local MLflow, a repository, the receiver, and how they end."""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from receiver.adapters import shell
from receiver.adapters.sqlite.state_lock import holder
from receiver.cli.demo.github import REPOSITORY, LocalGitHub
from receiver.cli.demo.ports import Ports
from receiver.core.errors import Rejected
from receiver.targets.process.target import ProcessTarget

SECRET = "the demo's webhook secret"  # noqa: S105 - guards nothing
SOAK = "1s"
# As in this repository's own environments.
GATE = """\
  roc_auc: {min: 0.84}
  f1: {min: 0.57}
  log_loss: {max: 0.43}
  calibration_error: {max: 0.05}
  schema: {max: 0}
  latency_p95_ms: {max: 50}
  memory_mb: {max: 200}
  fairness: {columns: [senior_citizen, female], demographic_parity: {max: 0.25}, equalized_odds: {max: 0.2}}
  robustness: {noise: {max: 0.02}, missing: {max: 0.1}, unseen: {max: 0.15}}
  drift: {psi: {max: 0.1}, ks: {max: 0.1}}
"""
CHAMPION = "  champion: {require: hold, margin: 0.01, slices: [contract, senior_citizen], slice_margin: 0.05}\n"
STABILISE_SECONDS = 0.8  # long enough for the broken model to fail: two requests, also on a busy machine


@dataclass(frozen=True, slots=True)
class DemoEnvironment:
    """Paths, ports and settings of the demo."""

    root: Path
    ports: Ports

    @property
    def state(self) -> Path:
        """The receiver's state directory."""
        return self.root / "state"

    def url(self, part: str) -> str:
        """The local address of one part."""
        return f"http://127.0.0.1:{self.ports.chosen[part]}"

    @property
    def environ(self) -> dict[str, str]:
        """The settings of the receiver, as a user would write them into .env."""
        return {
            "PINRAIL_REPO_URL": f"file://{self.root / REPOSITORY}.git",
            "PINRAIL_WEBHOOK_SECRET": SECRET,
            "PINRAIL_STATE_DIR": str(self.state),
            "PINRAIL_TARGET": "process",
            "PINRAIL_STABILISE_SECONDS": str(STABILISE_SECONDS),
            "PINRAIL_PUBLIC_PORT": str(self.ports.chosen["webhooks"]),
            "PINRAIL_ADMIN_PORT": str(self.ports.chosen["dashboard"]),
            "MLFLOW_TRACKING_URI": self.url("MLflow"),
        }

    def write_settings(self) -> None:
        """Make every ``pinrail`` command work in :attr:`root`."""
        (self.root / ".env").write_text("".join(f'{name}="{value}"\n' for name, value in self.environ.items()))

    def github(self) -> LocalGitHub:
        """The repository that stands in for GitHub."""
        return LocalGitHub(self.root, self.url("webhooks") + "/webhooks/github", SECRET)

    def environment_files(self) -> dict[str, bytes]:
        """The first pins: version 1 in both environments."""
        return {
            f"environments/{name}.yaml": _environment(name, self.ports.chosen[name]).encode()
            for name in ("staging", "production")
        }


def _environment(name: str, port: int) -> str:
    policy = f"policy: {{after: staging, soak: {SOAK}}}   # must be live and verified in staging for this long\n"
    override = '    override: {version: 3, reason: "the demo needs it to fail"}\n' if name == "staging" else ""
    return (
        f"environment: {name}\n"
        f"registry: {{stage: {name.title()}, alias: {name}}}\n"
        f"{policy if name == 'production' else ''}"
        f"gate:\n  accuracy: {{min: {0.80 if name == 'production' else 0.78}}}\n"
        f"{GATE}{CHAMPION if name == 'production' else ''}"
        "models:\n  churn-model:\n"
        f"    version: 1   # the one line that a promotion changes\n    port: {port}\n{override}"
    )


def clear(root: Path) -> None:
    """End what an earlier demo left running and start from nothing. Rejected: a demo is running."""
    process = holder(root / "state")
    if process is not None:
        raise Rejected(
            f"a demo is already running below {root} (its receiver is process {process}): end it with Ctrl-C first"
        )
    if root.exists():
        end_servers(root / "state")
        shutil.rmtree(root)
    root.mkdir(parents=True)


def end_servers(state: Path) -> None:
    """End every model server of a state directory."""
    target = ProcessTarget(state, host="127.0.0.1")
    for server in target.observe():
        target.retire(server)


@contextmanager
def receiver(demo: DemoEnvironment) -> Iterator[None]:
    """Run ``pinrail up`` as a process of its own, and wait for it to be ready."""
    log = demo.root / "state" / "logs" / "receiver.log"  # there the receiver keeps all logs below a limit
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment = {**shell.scrubbed(os.environ), **demo.environ}
    pid = shell.start([sys.executable, "-m", "receiver", "up"], environment=environment, directory=demo.root, log=log)
    try:
        wait_for(lambda: _answers(demo.url("dashboard") + "/healthz") or _ended(pid, log))
        yield
    finally:
        if shell.exit_status(pid) is None:
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda: shell.exit_status(pid) is not None)


def wait_for(happened: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until it happened. Rejected: the deadline has passed."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise Rejected(f"the demo waited {seconds:g} s without result; its logs are in state/logs")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _ended(pid: int, log: Path) -> bool:
    if shell.exit_status(pid) is None:
        return False
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise Rejected(f"the receiver ended unexpectedly; the end of {log}:\n{tail}")


def deployments(demo: DemoEnvironment) -> list[dict[str, Any]]:
    """Every deployment so far, newest first, from the admin API."""
    found: list[dict[str, Any]] = httpx.get(demo.url("dashboard") + "/api/deployments").json()["deployments"]
    return found
