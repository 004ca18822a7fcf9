"""Run the gate: one version, one set of rows, every environment's checks.

The gate judges and loads no model: each version answers in a process of its own (``server_process.py``).
"""

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml.datasets.evaluation_set import ReadRows
from ml.datasets.request_log import RequestLog, slot_directory
from ml.environment.file import Environment, is_yaml, parse_environment, wrong_suffix
from ml.environment.gate_schema import POSITIVE, checks_of
from ml.errors import MlError
from ml.evaluation.measure import describe, load_champion, measure
from ml.evaluation.server_process import Artifacts, Limits, serving, usual_limits
from ml.evaluation.twin import compare
from ml.evidence import Evidence, Verdict, gate_digest
from ml.gates import CHECKS, input_example
from ml.gates.champion import incomparable
from ml.gates.subject import Champion, Subject
from ml.packages.store import PackageStore
from ml.registry import client as tracking
from ml.registry import versions as registry
from serving.errors import ServingError
from serving.model.download import USUAL, Bounds
from serving.model.loader import Cache, CachedModel

COSTS = {"latency_p95_ms", "memory_mb"}  # checks of what serving costs


@dataclass(frozen=True, slots=True)
class Machine:
    """What of this machine the gate may use."""

    requests: Path | None = None  # the inference logs, as the receiver keeps them
    packages: PackageStore | None = None  # the environments for versions that need packages
    bounds: Bounds = USUAL  # of a download
    confine: bool = True  # a version reaches its own files, and nothing else


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
    client: Any,
    version: tuple[str, int],
    environments: Sequence[Environment],
    rows: ReadRows,
    scratch: Path,
    *,
    machine: Machine = Machine(),
) -> list[Judgement]:
    """Measure the version once and judge it by the gate of every environment. Nothing is written to the registry.

    Args:
        client: an MLflow client.
        version: name and number of the registered version.
        environments: whose gates to use; each one's champion is the version that its alias points at.
        rows: reads the evaluation rows that suit the version's signature.
        scratch: an empty directory that exists as long as the result is used.
        machine: what of this machine may be used.

    MlError: no such version, no registry, or a check that can't be measured.
    """
    model, number = version
    with tracking.registry_errors():
        registered = int(client.get_model_version(model, str(number)).creation_timestamp or 0)
    cache = Cache(scratch, bounds=machine.bounds)
    fetched = _fetch(cache, model, number)
    gates = [environment.gate_for(model) for environment in environments]
    artifacts = Artifacts(model, number, fetched.digest, scratch, machine.packages)
    described = describe(artifacts, fetched.path, rows)
    pins = [environment.models[model] for environment in environments if model in environment.models]
    limits = usual_limits(network=any(pin.egress for pin in pins), confine=machine.confine)
    with serving(artifacts, limits) as server:
        subject = measure(server, described, costs=any(COSTS & gate.keys() for gate in gates))
        champions = functools.cache(lambda live: _champion(cache, replace(artifacts, version=live), subject, limits))
        unasked = [*input_example.check(described.example, server.predict_records)]
        unasked += compare(server, artifacts, subject, limits)
        judged = []
        for environment, gate in zip(environments, gates, strict=True):
            live = registry.find_alias(client, model, environment.alias)
            champion = None if live in {None, number} else champions(live)
            log = None if machine.requests is None else _log(machine.requests, environment.name, model)
            own = replace(subject, champion=champion, positive=gate.get(POSITIVE), log=log)
            verdicts, seconds = apply_gate(gate, own)
            evidence = Evidence(
                model=model,
                version=number,
                environment=environment.name,
                model_digest=fetched.digest,
                data_digest=subject.data.digest,
                gate_digest=gate_digest(gate),
                verdicts=(*verdicts, *unasked),
                measured_at=time.time(),
                rows=len(subject.data),
                registered=registered,
                champion=0 if champion is None else champion.version,
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


def _log(requests: Path, environment: str, model: str) -> RequestLog:
    return RequestLog(slot_directory(requests, environment, model))


def _champion(cache: Cache, live: Artifacts, subject: Subject, limits: Limits) -> Champion:
    """Return the live version, with its answers or the reason why it has none. Its digest is not known yet."""
    try:
        fetched = _fetch(cache, live.model, live.version)
    except MlError as error:  # a live version with lost artifacts must not block its successor
        return Champion(live.name, (), "", None, incomparable(live.name, subject.name, str(error)), live.version)
    return load_champion(replace(live, digest=fetched.digest), fetched.path, subject, limits)
