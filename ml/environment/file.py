"""An environment file as a value: bytes in, a frozen :class:`Environment` or every error at once out. Pure.

``python -m ml.environment.file --schema`` prints ``environments/schema.json``.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ml.environment.log_schema import LogFields
from ml.environment.schema import SHAPE, EnvironmentFile, LiveFields, ResourceFields, fields_at, schema_text
from ml.environment.strict_yaml import MAX_PROBLEMS, Document, Path, Problem, read_yaml, show, show_key
from ml.errors import MlError
from serving.inference_log.settings import LogSettings

DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(frozen=True, slots=True)
class Override:
    """Waives gate and soak for exactly one version."""

    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class LogPolicy:
    """What of the requests to a model server is recorded, and how much of that is kept."""

    settings: LogSettings = field(default_factory=LogSettings)
    keep_days: int = 30
    max_mb: int = 2048
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class LivePolicy:
    """What labels must say of a version that serves, and what follows if they do not."""

    accuracy: float
    labels: int = 100  # not decided before so many
    reverts: bool = False


@dataclass(frozen=True, slots=True)
class Resources:
    """What each replica of a pin may use at most; 0: nothing is said."""

    cpus: float = 0.0
    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Pin:
    """One model's line in an environment."""

    model: str
    version: int
    port: int
    override: Override | None = None
    gate: Mapping[str, Any] | None = None  # in place of the environment's
    egress: bool = False  # the model server may reach the internet
    log: LogPolicy | None = None  # in place of the environment's
    replicas: int = 1  # model servers that share its requests
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True, slots=True)
class Environment:
    """A place that serves models. Durations are seconds."""

    name: str
    stage: str | None
    alias: str
    after: str | None
    soak_seconds: float
    gate: Mapping[str, Any]  # check -> its limits, as ml/environment/gate_schema.py has them
    models: Mapping[str, Pin]
    auto_merge: bool = False  # promotions here are merged when their checks pass
    locked_packages: bool = False  # no version with packages of its own but by hash
    log: LogPolicy | None = None
    live: LivePolicy | None = None
    needs_isolation: bool = False  # nothing new is served where a model has the receiver's rights
    evidence_keys: tuple[str, ...] = ()  # whose evidence counts; none: the receiver's own
    lines: Mapping[Path, int] = field(default_factory=dict, compare=False, repr=False)  # for messages

    def gate_for(self, model: str) -> Mapping[str, Any]:
        """The gate for a version of ``model``: its pin's own, or the environment's."""
        pin = self.models.get(model)
        return self.gate if pin is None or pin.gate is None else pin.gate

    def log_for(self, model: str) -> LogPolicy | None:
        """The inference log of ``model``: its pin's own, or the environment's; None where nothing is recorded."""
        pin = self.models.get(model)
        log = self.log if pin is None or pin.log is None else pin.log
        return log if log is not None and log.enabled else None


SUFFIX = ".yaml"


class EnvironmentInvalid(MlError):  # noqa: N818 - it names what was refused
    """The file is not what the schema says: one line per problem, each ``file:line: field: found ...``."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        found = sorted(problems, key=lambda problem: (problem.line, str(problem)))
        self.problems = tuple(found[:MAX_PROBLEMS])
        if len(found) > MAX_PROBLEMS:
            last = self.problems[-1]
            self.problems = (*self.problems[:-1], replace(last, advice=f"{last.advice}; more is wrong after this"))
        super().__init__("\n".join(f"{file}:{problem}" for problem in self.problems))


def parse_environment(raw: bytes, file: str) -> Environment:
    """Read one environment file; ``file`` is its path for messages. EnvironmentInvalid lists every problem."""
    document = read_yaml(raw)
    if document.value is None:
        raise EnvironmentInvalid(file, document.problems)
    try:
        found = SHAPE.validate_python(document.value)
    except ValidationError as error:
        broken = [problem.path for problem in document.problems]
        explained = [_explain(details, document) for details in error.errors(include_url=False)[: MAX_PROBLEMS + 1]]
        fresh = [p for p in explained if not any(p.path[: len(path)] == path for path in broken)]
        raise EnvironmentInvalid(file, [*document.problems, *fresh]) from None
    problems = [*document.problems, *_soak_without_after(found, document), *_live_without_log(found, document)]
    if problems:
        raise EnvironmentInvalid(file, problems)
    return _build(found, {path: span.line for path, span in document.spans.items()})


def is_yaml(name: str) -> bool:
    """A file of this name is an environment file, or its author takes it for one, such as ``qa.YML``."""
    return name.lower().endswith((".yaml", ".yml"))


def wrong_suffix(file: str) -> str | None:
    """Say what is wrong with the ending of a YAML file's name; None: nothing."""
    if file.endswith(SUFFIX):
        return None
    found = file[file.rindex(".") :]
    renamed = file.removesuffix(found) + SUFFIX
    return f"{file}: found the ending {found}, allowed {SUFFIX}, for no other is read: rename it to {renamed}"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Suggest a similar name, as the end of a sentence; without one, list all known names."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"


def _build(found: EnvironmentFile, lines: Mapping[Path, int]) -> Environment:
    policy = found.get("policy", {})
    pins = {}
    for model, entry in found["models"].items():
        override = Override(**entry["override"]) if "override" in entry else None
        own: dict[str, Any] | None = {**entry["gate"]} if "gate" in entry else None
        log = _log(entry["log"]) if "log" in entry else None
        pins[model] = Pin(
            model,
            entry["version"],
            entry["port"],
            override,
            own,
            egress=entry.get("egress", False),
            log=log,
            replicas=entry.get("replicas", 1),
            resources=_resources(entry.get("resources", {})),
        )
    gate: dict[str, Any] = {**found["gate"]}
    return Environment(
        name=found["environment"],
        stage=found["registry"].get("stage"),
        alias=found["registry"]["alias"],
        after=policy.get("after"),
        soak_seconds=_seconds(policy.get("soak", "0s")),
        gate=gate,
        models=pins,
        auto_merge=policy.get("auto") == "merge",
        locked_packages="packages" in policy,
        log=_log(found["log"]) if "log" in found else None,
        live=_live(policy["live"]) if "live" in policy else None,
        needs_isolation=policy.get("isolation") == "required",
        evidence_keys=tuple(policy["evidence"]["keys"]) if "evidence" in policy else (),
        lines=lines,
    )


def _resources(found: ResourceFields) -> Resources:
    memory = found.get("memory", "0m")
    return Resources(float(found.get("cpus", 0)), int(memory[:-1]) * {"m": 1, "g": 1024}[memory[-1]])


def _log(found: LogFields) -> LogPolicy:
    default = LogPolicy()
    return LogPolicy(
        LogSettings(
            sample=found.get("sample", default.settings.sample),
            caller=found.get("caller", default.settings.caller),
            drop=found.get("drop", ()),
            hash=found.get("hash", ()),
        ),
        keep_days=int(found["keep"][:-1]) if "keep" in found else default.keep_days,
        max_mb=found.get("max_mb", default.max_mb),
        enabled=found.get("enabled", True),
    )


def _live(found: LiveFields) -> LivePolicy:
    accuracy = found["accuracy"]
    return LivePolicy(
        accuracy["min"], accuracy.get("labels", LivePolicy(0.0).labels), found.get("on_fail") == "revert"
    )


def _seconds(duration: str) -> float:
    match = DURATION.fullmatch(duration)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    return float(hours * 3600 + minutes * 60 + seconds)


def _soak_without_after(found: EnvironmentFile, document: Document) -> Iterator[Problem]:
    policy = found.get("policy", {})
    if "soak" in policy and "after" not in policy:
        path = ("policy", "soak")
        yield Problem(document.line(path), path, "soak without after", "both", "name the environment to soak in")


def _live_without_log(found: EnvironmentFile, document: Document) -> Iterator[Problem]:
    logs = [found.get("log"), *(pin.get("log") for pin in found["models"].values())]
    if "live" in found.get("policy", {}) and not any(log is not None and log.get("enabled", True) for log in logs):
        path = ("policy", "live")
        yield Problem(document.line(path), path, "live without a log", "both", "add `log: {}`: labels need answers")


def _explain(error: ErrorDetails, document: Document) -> Problem:
    """Turn one of pydantic's errors into found, allowed and what to do, at its line."""
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    line = document.line(path)
    words = error.get("ctx", {})
    name = str(path[-1]) if path else ""
    siblings = fields_at(path[:-1])
    match error["type"]:
        case "missing":
            return Problem(line, path, "nothing", "no file without it", f"add `{name}:`")
        case "extra_forbidden" | "unexpected_keyword_argument":
            found = f"the unknown field {show_key(name)}"
            return Problem(line, path, found, ", ".join(siblings), did_you_mean(name, siblings))
        case "says" if error["loc"][-1] == "[key]":
            return Problem(line, path, f"the name {show(name)}", words["allowed"], words["advice"])
        case "says":
            return Problem(line, path, _found(error["input"], path, document), words["allowed"], words["advice"])
        case _:
            found = _found(error["input"], path, document)
            inside = ", ".join(fields_at(path)) or "model names"
            return Problem(line, path, found, f"a mapping of {inside}", "write `field: value` lines, or `{}`")


def _found(value: Any, path: Path, document: Document) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    span = document.spans.get(path)
    return show(span.written) if span and span.written else "nothing"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the JSON Schema, or the problems of the named files; exit 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m ml.environment.file", description=main.__doc__)
    parser.add_argument("--schema", action="store_true", help="print the content of environments/schema.json")
    parser.add_argument("files", nargs="*", help="environment files to read")
    options = parser.parse_args(arguments)
    if options.schema:
        sys.stdout.write(schema_text())
    bad = 0
    for file in options.files:
        try:
            with open(file, "rb") as stream:  # noqa: PTH123 - the name is shown as it was given
                parse_environment(stream.read(), file)
        except (EnvironmentInvalid, OSError) as error:
            bad += 1
            sys.stderr.write(f"{error}\n")
    return 1 if bad else 0


__all__ = [
    "Environment",
    "EnvironmentInvalid",
    "LivePolicy",
    "LogPolicy",
    "Override",
    "Pin",
    "Resources",
    "did_you_mean",
    "is_yaml",
    "parse_environment",
    "wrong_suffix",
]
