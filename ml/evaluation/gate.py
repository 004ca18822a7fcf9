"""Run the gate: one version, one set of rows, every environment's checks."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml.datasets.evaluation_set import ReadRows
from ml.environment.file import Environment, is_yaml, parse_environment, wrong_suffix
from ml.environment.gate_schema import POSITIVE, checks_of
from ml.errors import MlError
from ml.evaluation.measure import load_champion, load_subject
from ml.evaluation.server_process import Artifacts
from ml.evidence import Evidence, Verdict, gate_digest
from ml.gates import CHECKS
from ml.gates.champion import incomparable
from ml.gates.subject import Champion, Subject
from ml.registry import client as tracking
from ml.registry import versions as registry
from serving.errors import ServingError
from serving.model.loader import Cache, CachedModel


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What the gate of one environment says about one version."""

    subject: Subject  # with this environment's champion
    evidence: Evidence
    seconds: Mapping[str, float]  # per check; what environments share counts for the first of them


def read_environments(directory: Path) -> dict[str, Environment]:
    """Return the environments of a directory by name. MlError: a file is not what the schema says."""
    files = sorted(path for path in directory.glob("*") if is_yaml(path.name))
    if unread := [said for path in files if (said := wrong_suffix(str(path)))]:
        raise MlError("\n".join(unread))
    found = [parse_environment(path.read_bytes(), str(path)) for path in files]
    return {environment.name: environment for environment in found}


def run_gate(
    client: Any, version: tuple[str, int], environments: Sequence[Environment], rows: ReadRows, scratch: Path
) -> list[Judgement]:
    """Measure the version once and judge it by the gate of every environment. Nothing is written to the registry.

    Args:
        client: an MLflow client.
        version: name and number of the registered version.
        environments: whose gates to use; each one's champion is the version that its alias points at.
        rows: reads the evaluation rows that suit the version's signature.
        scratch: an empty directory that exists as long as the result is used.

    MlError: no such version, no registry, or a check that can't be measured.
    """
    model, number = version
    with tracking.registry_errors():
        client.get_model_version(model, str(number))
    cache = Cache(scratch)
    fetched = _fetch(cache, model, number)
    subject = load_subject(Artifacts(model, number, fetched.digest, scratch), fetched.path, rows)
    judged = []
    for environment in environments:
        champion = _champion(client, cache, environment, subject, version)
        gate = environment.gate_for(model)
        own = replace(subject, champion=champion, positive=gate.get(POSITIVE))
        verdicts, seconds = apply_gate(gate, own)
        evidence = Evidence(
            model=model,
            version=number,
            environment=environment.name,
            model_digest=fetched.digest,
            data_digest=subject.data.digest,
            gate_digest=gate_digest(gate),
            verdicts=verdicts,
            measured_at=time.time(),
            rows=len(subject.data),
        )
        judged.append(Judgement(own, evidence, seconds))
    return judged


def apply_gate(gate: Mapping[str, Any], subject: Subject) -> tuple[tuple[Verdict, ...], dict[str, float]]:
    """Run every check of the gate. Returns the verdicts and the seconds per check."""
    verdicts: list[Verdict] = []
    seconds = {}
    for name, limits in checks_of(gate).items():
        start = time.perf_counter()
        try:
            verdicts += CHECKS[name](subject, limits)
        except ValueError as error:
            raise MlError(f"{name} can't be measured: {error}") from error
        seconds[name] = time.perf_counter() - start
    return tuple(verdicts), seconds


def _fetch(cache: Cache, model: str, number: int) -> CachedModel:
    try:
        return cache.fetch(model, number)
    except ServingError as error:
        raise MlError(str(error)) from error


def _champion(
    client: Any, cache: Cache, environment: Environment, subject: Subject, version: tuple[str, int]
) -> Champion | None:
    """Return the version that the environment's alias points at, unless that is the one being judged."""
    model, number = version
    live = registry.find_alias(client, model, environment.alias)
    if live is None or live == number:
        return None
    name = f"{model} v{live}"
    try:
        fetched = _fetch(cache, model, live)
    except MlError as error:  # a live version with lost artifacts must not block its successor
        return Champion(name, (), "", None, incomparable(name, subject.name, str(error)))
    return load_champion(name, fetched.path, subject)
