"""The whole flow on a real engine: small model servers in containers, the real prober, git and registry in memory."""

import contextlib
import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from ml.environment.file import parse_environment
from receiver.adapters.docker import Docker
from receiver.adapters.prober import HttpProber
from receiver.core.deployment import Deployment
from receiver.core.errors import Retryable
from receiver.core.state import Server
from receiver.targets.compose.project import Place
from receiver.targets.compose.target import ComposeTarget
from serving.model.digest import digest_tree
from tests.contracts.target import asked_version
from tests.support.docker_engine import compose_target
from tests.support.evidence import KEY
from tests.support.fake_registry import FakeVersion
from tests.support.flow import MODEL, Flow
from tests.support.ports import free_port


class Stack(Flow):
    """Staging only, on a port of its own."""

    def __init__(
        self, docker: Docker, place: Place, *, watch_seconds: float = 1.0, start_seconds: float = 60.0
    ) -> None:
        self.port = free_port()
        self.model = MODEL
        self.docker = docker
        self.place = place
        super().__init__(place.state)
        self.containers: ComposeTarget = compose_target(docker, place, start_seconds)
        self.services = replace(
            self.services, target=self.containers, prober=HttpProber(), stabilise_seconds=watch_seconds
        )

    def files(self, staging: int | None, production: int | None) -> dict[str, bytes]:
        """One environment file."""
        models = "{}" if staging is None else f"\n  {self.model}: {{version: {staging}, port: {self.port}}}"
        text = (
            "environment: staging\nregistry: {stage: Staging, alias: staging}\n"
            f"gate: {{accuracy: {{min: 0.8}}}}\nmodels: {models}\n"
        )
        return {"environments/staging.yaml": text.encode()}

    def offer(self, *versions: int, requirements: str = "") -> None:
        """Register versions that have passed the gate, under exactly these numbers; MODEL's is a stand-in."""
        for version in versions:
            path = self.registry.directory / self.model / str(version)
            _write_model(path, version)
            if requirements:
                (path / "requirements.txt").write_text(requirements)
                shutil.copytree(path, self.place.cache / digest_tree(path).removeprefix("sha256:"))
            self.registry.models.setdefault(self.model, {})[version] = FakeVersion(path, digest_tree(path))
            self.registry.aliases.setdefault(self.model, {})
            for name, raw in self.files(version, None).items():
                evidence = self.evidence(version, parse_environment(raw, name))
                registered = self.registry.models[self.model][version].created
                self.registry.record(KEY.sign(replace(evidence, model=self.model, registered=registered)))

    def promote(self, version: int | None) -> Deployment:
        """Pin a version, reconcile, and say what became of it."""
        self.pin(version)
        self.run()
        return self.journal.recent(1)[0]

    def answering(self) -> int | None:
        """The version behind the public port; None: nobody, or a proxy that looks for its server."""
        with contextlib.suppress(ValueError, KeyError):
            return asked_version(self.port)
        return None

    def servers(self) -> Sequence[Server]:
        """What runs."""
        return self.containers.observe()

    def all_containers(self) -> list[str]:
        """Every container of this stack, running or not."""
        return self._listed("{{.Names}}")

    def statuses(self) -> list[str]:
        """What the engine says of each, such as ``Up 3 seconds``."""
        return self._listed("{{.Status}}")

    def _listed(self, form: str) -> list[str]:
        owner = f"label=io.pinrail.project={self.place.owner}"
        return self.docker.run("ps", "--all", "--filter", owner, "--format", form).splitlines()


def in_background(stack: Stack) -> threading.Thread:
    """Reconcile in a thread, while the test does something to the engine. A failing look is tried again later."""

    def reconcile() -> None:
        with contextlib.suppress(Retryable):
            stack.run()

    thread = threading.Thread(target=reconcile)
    thread.start()
    return thread


def _write_model(path: Path, version: int) -> None:
    path.mkdir(parents=True)
    signature = {"inputs": json.dumps([{"name": "tenure", "type": "long", "required": True}])}
    example = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}
    described = {"signature": signature, "saved_input_example_info": example, "flavors": {}, "version": version}
    (path / "MLmodel").write_text(yaml.safe_dump(described))
    (path / "input_example.json").write_text(json.dumps({"columns": ["tenure"], "data": [[30], [2]]}))
