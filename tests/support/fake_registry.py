"""A model registry in memory, for tests of the flow. Keeps the contract in ``tests/contracts/registry.py``."""

import itertools
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml.evidence import Evidence
from ml.registry.versions import sha256
from receiver.core.errors import ArtifactsChanged, Rejected, Retryable
from receiver.core.state import RegisteredVersion, RegistryView
from receiver.ports import ModelVersion, Resolved
from serving.model.digest import digest_tree

STAGES = ("None", "Staging", "Production", "Archived")


@dataclass
class FakeVersion:
    """A registered version, for a test to change as it likes."""

    path: Path
    digest: str
    status: str = "READY"
    created: int = field(init=False, default_factory=itertools.count(1).__next__)  # its place among all, no time
    stage: str = "None"
    updated: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    lineage: dict[str, str] = field(default_factory=dict)
    evidence: dict[str, Evidence | str] = field(default_factory=dict)  # a str: damaged, and why


class FakeRegistry:
    """``ports.Registry``; ``reachable = False`` makes it time out, ``writes`` is what changed in it, in order."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.reachable = True
        self.models: dict[str, dict[int, FakeVersion]] = {}
        self.aliases: dict[str, dict[str, int]] = {}
        self.writes: list[tuple[str, str, object]] = []
        self.fetches: list[tuple[str, int]] = []  # downloads, in order
        self._fetched: dict[tuple[str, int], tuple[int, ModelVersion]] = {}  # with when it was registered
        self.evidence_reads: list[tuple[str, int, str]] = []
        self._refused: dict[tuple[str, int, object], str] = {}  # by what was described, to why
        self._read: dict[tuple[str, int, str], Evidence] = {}

    def register(self, model: str, files: Mapping[str, str | bytes]) -> int:
        """Add a READY version whose artifacts are ``files``; returns its number."""
        versions = self.models.setdefault(model, {})
        number = max(versions, default=0) + 1
        path = self.directory / model / str(number)
        for name, content in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        versions[number] = FakeVersion(path, digest_tree(path))
        self.aliases.setdefault(model, {})
        return number

    def record(self, evidence: Evidence) -> None:
        """Keep evidence, as the gate does."""
        self.models[evidence.model][evidence.version].evidence[evidence.environment] = evidence

    def observe(self, wanted: Mapping[str, Collection[int]]) -> dict[str, RegistryView | None]:
        self._reach()
        return {model: self._view(model, wanted[model]) if model in self.models else None for model in wanted}

    def versions(self, model: str) -> Sequence[int]:
        self._reach()
        return sorted(number for number, v in self.models.get(model, {}).items() if v.status == "READY")

    def resolve(self, found: RegisteredVersion, environment: str | None = None) -> Resolved | None:
        _require_ready(found)
        registration, fetched = self._fetched.get((found.model, found.version), (None, None))
        recorded = found.evidence.get(environment or "")
        for key in ((found.model, found.version, recorded), _key(found)):
            if key in self._refused:
                raise Rejected(self._refused[key])
        if fetched is None or registration != found.created:
            return None
        known = self._read.get((found.model, found.version, environment or ""))
        if recorded is None or known is None or recorded != sha256(str(known)):
            return Resolved(fetched, None, unread=recorded is not None)
        return Resolved(fetched, known)

    def fetch(self, model: str, version: int) -> ModelVersion:
        found = self._version(model, version)
        described = _described(model, version, found)
        _require_ready(described)
        self.fetches.append((model, version))
        if not found.path.is_dir():
            self._refused[_key(described)] = f"the artifacts of {model} version {version} are missing"
            raise Rejected(self._refused[_key(described)])
        fetched = ModelVersion(model, version, f"run-{version}", found.digest, found.path, time.time())
        self._fetched[model, version] = (described.created, fetched)
        return fetched

    def artifacts(self, model: str, version: int, digest: str) -> Path:
        _, fetched = self._fetched.get((model, version), (None, None))
        if fetched is not None and fetched.digest == digest:
            return fetched.path
        found = self._version(model, version)
        if found.digest == digest:
            return found.path
        raise ArtifactsChanged(
            f"{model} version {version} has unexpected artifacts: found {found.digest}, expected {digest}"
        )

    def evidence(self, model: str, version: int, environment: str) -> Evidence | None:
        found = self._version(model, version).evidence.get(environment)
        self.evidence_reads.append((model, version, environment))
        if isinstance(found, str):
            self._refused[model, version, sha256(found)] = found
            raise Rejected(found)
        if found is not None:
            self._read[model, version, environment] = found
        return found

    def metrics(self, model: str, version: int) -> Mapping[str, float]:
        return dict(self._version(model, version).metrics)

    def lineage(self, model: str, version: int) -> Mapping[str, str]:
        return dict(self._version(model, version).lineage)

    def set_alias(self, model: str, alias: str, version: int | None) -> None:
        self._reach()
        if version is None:
            if self.aliases.get(model, {}).pop(alias, None) is not None:
                self.writes.append((model, alias, None))
            return
        self._version(model, version)
        if self.aliases[model].get(alias) != version:
            self.aliases[model][alias] = version
            self.writes.append((model, alias, version))

    def set_stage(self, model: str, version: int, stage: str) -> None:
        found = self._version(model, version)
        if stage not in STAGES:
            raise Rejected(f"there is no stage {stage}: {', '.join(STAGES)}")
        if found.stage != stage:
            found.stage = stage
            self.writes.append((model, str(version), stage))

    def _view(self, model: str, wanted: Collection[int]) -> RegistryView:
        versions = self.models[model]
        return RegistryView(
            model,
            dict(self.aliases[model]),
            {number: v.stage for number, v in versions.items() if v.stage != "None"},
            {n: _described(model, n, versions[n]) if n in versions else None for n in wanted},
            max(versions, default=None),
        )

    def _reach(self) -> None:
        if not self.reachable:
            raise Retryable("the registry did not answer")

    def _version(self, model: str, version: int) -> FakeVersion:
        self._reach()
        try:
            return self.models[model][version]
        except KeyError as error:
            there = self.models.get(model, {})
            raise Rejected(f"{model} has no version {version}; it has {sorted(there) or 'none'}") from error


def _described(model: str, number: int, version: FakeVersion) -> RegisteredVersion:
    return RegisteredVersion(
        model=model,
        version=number,
        status=version.status,
        status_message="",
        run_id=f"run-{number}",
        source=str(version.path),
        created=version.created,
        updated=version.updated,
        evidence={environment: sha256(str(found)) for environment, found in version.evidence.items()},
    )


def _key(found: RegisteredVersion) -> tuple[str, int, object]:
    return found.model, found.version, (found.created, found.updated)


def _require_ready(found: RegisteredVersion) -> None:
    if found.status != "READY":
        raise Rejected(f"{found.model} version {found.version} is {found.status}, not READY")
