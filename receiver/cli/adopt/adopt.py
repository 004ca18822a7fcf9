"""Choosing what to pin, and writing it."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml.datasets.own_rows import own_rows
from ml.gates.model_kind import Kind, ModelKind, kind_of
from receiver.cli.adopt.rows import write_rows
from receiver.cli.commands.check import read_files
from receiver.cli.progress import progress
from receiver.core.edit import NewPin, add_pin
from receiver.core.errors import Rejected
from receiver.core.pins import Desired, path_of, read_pins
from receiver.ports import Registry
from receiver.settings import Settings
from receiver.wiring import build_registry
from serving.errors import ServingError
from serving.model.model_dir import read

FIRST_PORT, LAST_PORT = 8000, 65535
# Floors that hold for any model of that kind; better limits only those know who know the model. A regression is not
# compared with the live version: the margin would be in the label's unit, squared.
GATES: Mapping[Kind, str] = {
    Kind.CLASSIFICATION: "{champion: {require: hold, margin: 0.05}, schema: {max: 0}}",
    Kind.REGRESSION: "{r2: {min: 0}, schema: {max: 0}}",
    Kind.NONE: "{}",
}
LIMITS: Mapping[Kind, str] = {
    Kind.CLASSIFICATION: "only the live version is compared with; add a limit, such as accuracy: {min: 0.8}",
    Kind.REGRESSION: "it asks for no more than the mean of the answers does; raise r2 to what is good enough",
}


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was asked for; None: to be chosen."""

    environment: str
    model: str
    version: int | None = None
    port: int | None = None
    kind: str | None = None


def adopt_model(settings: Settings, asked: Adoption, directory: Path = Path()) -> str:
    """Write the pin into the work tree at ``directory``. Returns what was written, and the next command.

    Rejected: no such environment, model or version; the model is pinned there already; or the port is taken. Then
    nothing was written. Retryable: the registry does not answer.
    """
    files = read_files(directory)
    desired = read_pins(files, own_ports=settings.own_ports)
    environment = desired.environment(asked.environment)
    path = path_of(environment.name)
    add_pin(files[path], NewPin(asked.model, 1, 1, "{}"), path)  # refuses what needs no registry to be refused
    registry = build_registry(settings)
    version = asked.version or _version(registry, asked.model, environment.alias)
    with progress(f"fetching {asked.model} v{version} ..."):
        fetched = registry.fetch(asked.model, version).path
    try:
        read(fetched)  # refuses what no server would load
        kind = kind_of(fetched) if asked.kind is None else ModelKind(Kind(asked.kind), "--kind says so")
        port = asked.port or _free_port(desired, settings)
        edited = add_pin(files[path], NewPin(asked.model, version, port, GATES[kind.kind]), path)
        read_pins({**files, path: edited}, own_ports=settings.own_ports)
        rows = directory / own_rows(asked.model)
        written = kind.kind is not Kind.NONE and write_rows(rows, fetched)
    except ServingError as error:
        raise Rejected(f"{asked.model} v{version} cannot be served: {error}") from error
    _replace(directory / path, edited)
    return "\n".join(_said(asked, NewPin(asked.model, version, port, ""), kind, written=written))


def _version(registry: Registry, model: str, alias: str) -> int:
    """The version that the environment's alias points at, else the newest that is READY."""
    view = registry.observe({model: ()})[model]
    if view is not None and alias in view.aliases:
        return view.aliases[alias]
    ready = registry.versions(model)
    if not ready:
        registry.fetch(model, 1)  # Rejected, with what the registry has
        raise Rejected(f"{model} has no version that is READY: register one")
    return ready[-1]


def _free_port(desired: Desired, settings: Settings) -> int:
    pins = (pin for environment in desired.environments for pin in environment.models.values())
    taken = {pin.port for pin in pins} | set(settings.own_ports)
    return next(port for port in range(FIRST_PORT, LAST_PORT) if port not in taken)


def _replace(path: Path, content: bytes) -> None:
    """The old file or the new one, whatever happens meanwhile; with the old one's mode."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(content)
    Path(file.name).chmod(path.stat().st_mode & 0o777)
    Path(file.name).replace(path)


def _said(asked: Adoption, pin: NewPin, kind: ModelKind, *, written: bool) -> list[str]:
    path, rows = path_of(asked.environment), own_rows(pin.model)
    what = "for which no check is known" if kind.kind is Kind.NONE else f"as a {kind.kind}"
    lines = [f"{path}: pins {pin.model} v{pin.version} on port {pin.port}, {what}: {kind.because}"]
    if kind.kind is Kind.NONE:
        return [
            *lines,
            "  Its gate is empty, so every version passes. --kind classification or regression writes another",
            f"next: `pinrail check`, then commit {path} and merge it",
        ]
    lines.append(f"  Its gate is a floor: {LIMITS[kind.kind]}")
    if written:
        lines.append(f"{rows}: put rows with answers here that it was not trained on, in place of the examples")
    else:
        lines.append(f"{rows}: is there already, and was left as it is")
    gate = f" --environment {asked.environment}" if asked.environment != "staging" else ""
    return [
        *lines,
        f"next: python -m ml.evaluate --model {pin.model} --version {pin.version}{gate}",
        f"then: commit {path} and merge it",
    ]
