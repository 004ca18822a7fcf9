"""The flow on fakes: git, registry, servers and prober in memory; journal, queue and outbox in a real SQLite file."""

import time
from pathlib import Path

from ml.environment.file import Environment, parse_environment
from ml.evidence import CheckOutcome, Evidence, Verdict, gate_digest
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.core.errors import VersionFailed
from receiver.core.state import Server, ServerSpec
from receiver.ports import Stop, never
from receiver.services import Services
from tests.support.evidence import KEY
from tests.support.fake_registry import FakeRegistry
from tests.support.fake_source import FakeSource
from tests.support.fake_target import FakeTarget
from tests.support.one_pass import Report, reconcile
from tests.support.registry_views import view_of

MODEL = "churn-model"


class FakeProber:
    """Versions in ``without_example`` have none, those in ``failing_smoke`` fail their smoke test, those in
    ``slow_watch`` fail under watch.
    """

    def __init__(self) -> None:
        self.without_example: set[int] = set()
        self.failing_smoke: set[int] = set()
        self.slow_watch: set[int] = set()
        self.watched: list[int] = []

    def require_example(self, spec: ServerSpec, artifacts: Path) -> None:
        if spec.version in self.without_example:
            raise VersionFailed(f"v{spec.version} has no input example")

    def prove(self, server: Server, artifacts: Path) -> None:
        if server.spec.version in self.failing_smoke:
            raise VersionFailed(f"v{server.spec.version} answered 500")

    def watch(self, server: Server, seconds: float, stop: Stop = never) -> None:
        self.watched.append(server.spec.version)
        if server.spec.version in self.slow_watch:
            raise VersionFailed(f"v{server.spec.version} answered 500 after 3 s")


class Flow:
    """Everything that the flow depends on, with short names for what tests do."""

    def __init__(self, state: Path, *, soak: str = "0s", heal: bool = True) -> None:
        self.soak = soak
        self.source = FakeSource()
        self.registry = FakeRegistry(state / "registry")
        self.target = FakeTarget()
        self.prober = FakeProber()
        self.database = Database(state / "pinrail.db")
        self.journal = SqliteJournal(self.database)
        self.services = Services(
            source=self.source,
            registry=self.registry,
            target=self.target,
            prober=self.prober,
            journal=self.journal,
            outbox=SqliteOutbox(self.database),
            stabilise_seconds=0.0,
            heal=heal,
            evidence_key=KEY.public,
        )

    def files(self, staging: int | None, production: int | None) -> dict[str, bytes]:
        """Environment files that pin these versions; None: the model is not in the file."""

        def text(name: str, version: int | None, port: int) -> str:
            models = "{}" if version is None else f"\n  {MODEL}: {{version: {version}, port: {port}}}"
            policy = f"policy: {{after: staging, soak: {self.soak}}}\n" if name == "production" else ""
            return (
                f"environment: {name}\nregistry: {{stage: {name.title()}, alias: {name}}}\n{policy}"
                f"gate: {{accuracy: {{min: 0.8}}}}\nmodels: {models}\n"
            )

        return {
            "environments/staging.yaml": text("staging", staging, 8000).encode(),
            "environments/production.yaml": text("production", production, 8001).encode(),
        }

    def pin(self, staging: int | None = None, production: int | None = None) -> str:
        """Merge a commit that pins these versions."""
        return self.source.commit(self.files(staging, production))

    def register(self, *versions: int, passing: bool = True) -> None:
        """Register versions, with evidence for both environments."""
        for version in versions:
            assert self.registry.register(MODEL, {"MLmodel": f"v{version}"}) == version
            self.record(version, passing=passing)

    def record(self, version: int, *, passing: bool = True) -> None:
        """Record evidence for both environments."""
        for path, raw in self.files(1, 1).items():
            self.registry.record(self.evidence(version, parse_environment(raw, path), passing=passing))

    def evidence(self, version: int, environment: Environment, *, passing: bool = True) -> Evidence:
        """What the gate would have recorded."""
        verdict = (
            Verdict("accuracy", CheckOutcome.PASS, 0.81, ">=", 0.8)
            if passing
            else Verdict("accuracy", CheckOutcome.FAIL, 0.7, "<", 0.8)
        )
        found = self.registry.models[MODEL][version]
        return KEY.sign(
            Evidence(
                MODEL,
                version,
                environment.name,
                found.digest,
                "sha256:rows",
                gate_digest(environment.gate),
                (verdict,),
                time.time(),
                registered=found.created,
            )
        )

    def run(self, cause: str = "push") -> Report:
        """One reconciliation."""
        return reconcile(self.services, cause)

    def serving(self) -> dict[str, int | None]:
        """The version behind each environment's port."""
        return {"staging": self.target.public_version(8000), "production": self.target.public_version(8001)}

    def aliases(self) -> dict[str, int]:
        """The registry's aliases of the model."""
        return dict(view_of(self.registry, MODEL).aliases)

    def stages(self) -> dict[int, str]:
        """The registry's stages of the model."""
        return dict(view_of(self.registry, MODEL).stages)
