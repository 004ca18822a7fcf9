"""As much of GitHub Actions as the workflows need: their ``run:`` steps, in order, with contexts wired as there."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github/workflows"
SHELLS = {None: ["bash", "-e"], "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"]}
STEP_SECONDS = 200

_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_TOKEN = re.compile(r"\s*('[^']*'|\|\||&&|==|!=|!|\(|\)|[A-Za-z_][\w.-]*)")
_OPERATORS = {"||": "or", "&&": "and", "!": "not", "==": "==", "!=": "!=", "(": "(", ")": ")"}


def load(path: Path) -> dict[str, Any]:
    """A workflow as data; its triggers are under ``on``, which YAML 1.1 takes for true."""
    data: dict[Any, Any] = yaml.safe_load(path.read_text())
    return {"on" if key is True else key: value for key, value in data.items()}


def evaluate(expression: str, contexts: Mapping[str, Any]) -> Any:
    """The value of what stands in ``${{ }}``: names, strings and the operators that the workflows use."""
    words, place = [], 0
    expression = expression.strip()
    while place < len(expression):
        found = _TOKEN.match(expression, place)
        assert found, f"not understood: {expression[place:]}"
        token, place = found[1], found.end()
        known = _OPERATORS.get(token)
        words.append(known or repr(token[1:-1] if token.startswith("'") else _value_of(token, contexts)))
    return eval(" ".join(words), {})  # noqa: S307 - our own workflows, and nothing but literals by now


def fill(text: Any, contexts: Mapping[str, Any]) -> str:
    """A value with its expressions replaced."""
    return _EXPRESSION.sub(lambda found: str(evaluate(found[1], contexts)), str(text))


def _value_of(name: str, contexts: Mapping[str, Any]) -> Any:
    value: Any = contexts
    for part in name.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    return value


@dataclass(frozen=True)
class Done:
    """How a step ended."""

    name: str
    status: int
    output: str  # what its log shows


@dataclass
class Job:
    """The one job of a workflow on a runner: a checkout of its own, and nothing of this process's environment."""

    workflow: str
    workspace: Path
    contexts: dict[str, Any]  # github, inputs, secrets
    environment: Mapping[str, str] = field(default_factory=dict)  # what the runner itself sets
    log: list[Done] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the workflow, as it is in the checkout's source."""
        data = load(WORKFLOWS / self.workflow)
        (self._job,) = data["jobs"].values()
        self._shell = data.get("defaults", {}).get("run", {}).get("shell")
        self._files = self.workspace.parent / f"{self.workspace.name}-runner"
        self._files.mkdir(exist_ok=True)
        self.contexts["steps"] = {}
        self._exported: dict[str, str] = {}
        inputs = (data["on"].get("workflow_dispatch") or {} if isinstance(data["on"], dict) else {}).get("inputs", {})
        defaults = {name: declared.get("default", "") for name, declared in inputs.items()}
        self.contexts["inputs"] = {**defaults, **self.contexts.get("inputs", {})}

    def run(self, checkout: Callable[[Path], None]) -> bool:
        """Run the steps until one fails; whether all went well."""
        for step in self._job["steps"]:
            uses = step.get("uses", "").partition("@")[0]
            if uses == "actions/checkout":
                checkout(self.workspace)
            elif "run" in step and self.step(step).status:
                return False
        return True

    def named(self, key: str) -> Done:
        """Run the step with this id, after all that have run."""
        return self.step(next(step for step in self._job["steps"] if step.get("id") == key))

    def step(self, step: Mapping[str, Any]) -> Done:
        """Run one step, if it is to run."""
        if "if" in step and not evaluate(step["if"], self.contexts):
            return self._note(step, 0, "skipped")
        files = {name: self._files / name for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")}
        for name in ("GITHUB_OUTPUT", "GITHUB_ENV"):
            files[name].write_text("")
        script = self._files / "step.sh"
        script.write_text(fill(step["run"], self.contexts))
        declared = {**self._job.get("env", {}), **step.get("env", {})}
        done = subprocess.run(
            [*SHELLS[step.get("shell", self._shell)], script],
            cwd=self.workspace,
            env={
                **self.environment,
                **self._exported,
                **{name: fill(value, self.contexts) for name, value in declared.items()},
                **{name: str(path) for name, path in files.items()},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=STEP_SECONDS,
        )
        self._exported |= _assignments(files["GITHUB_ENV"])
        if "id" in step:
            self.contexts["steps"][step["id"]] = {"outputs": _assignments(files["GITHUB_OUTPUT"])}
        return self._note(step, done.returncode, done.stdout)

    @property
    def summary(self) -> str:
        """What the steps wrote for the page of the run."""
        path = self._files / "GITHUB_STEP_SUMMARY"
        return path.read_text() if path.exists() else ""

    def _note(self, step: Mapping[str, Any], status: int, output: str) -> Done:
        self.log.append(Done(step.get("name", ""), status, output))
        return self.log[-1]


def _assignments(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


def use_this_venv(workspace: Path) -> None:
    """Put our venv into the checkout: ``make install`` finds its work done, and the code is the checkout's."""
    venv = workspace / ".venv"
    venv.mkdir()
    ours = Path(sys.prefix)
    for name in ("bin", "lib", "pyvenv.cfg"):
        (venv / name).symlink_to(ours / name)
    (venv / ".installed").touch()


def runner_environment(workspace: Path, api_url: str) -> dict[str, str]:
    """What a runner sets for every step, as far as it matters here."""
    kept = ("PATH", "HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "PYTHONPATH": str(workspace),
        "GITHUB_ACTIONS": "true",
        "CI": "true",
        "GITHUB_API_URL": api_url,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
