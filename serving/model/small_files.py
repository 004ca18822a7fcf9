"""The small files of a version: what each may hold is bounded before it is read, and before it is parsed.

Anybody who may register a version writes these files, and the receiver, the gate and model servers read them. A few
kilobytes of YAML can stand for gigabytes of objects, and a long number can take a minute to be understood.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from serving.errors import UnsupportedModelError

MOST_NODES = 20_000  # of a YAML file, each counted as often as aliases repeat it
MOST_DEPTH = 50
LONGEST_NUMBER = 1000  # characters: as base 60, which YAML 1.1 has, a megabyte of them takes a minute
NUMERIC = "0123456789abcdefxoABCDEFXO:_+-."

# libyaml where PyYAML was built with it, as MLflow itself reads these files: some fifteen times as fast.
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class SmallFile:
    """A kind of file, and what it may hold."""

    what: str
    most: int  # bytes
    advice: str  # to whom it belongs


# All that Pinrail parses of a version; everything else is the model's own.
MLMODEL = SmallFile("model description", 4 << 20, "log the model with a smaller signature and less metadata")
REQUIREMENTS = SmallFile("list of requirements", 1 << 20, "list only what it needs (pip_requirements=)")
ENVIRONMENT = SmallFile("description of its Python", 256 << 10, "register it again with pip_requirements=")
INPUT_EXAMPLE = SmallFile("input example", 4 << 20, "log it with a few rows, as in input_example=rows.head()")
REFERENCE = SmallFile("summary of its training data", 8 << 20, "leave columns of free texts out of it")
EVIDENCE = SmallFile("evidence", 4 << 20, "run ml.evaluate again")
REPORT = SmallFile("report", 4 << 20, "run ml.evaluate again")


def read_small(file: Path, kind: SmallFile) -> bytes:
    """The whole file. UnsupportedModelError: it is larger than such a file may be. OSError: it cannot be read."""
    with file.open("rb") as opened:
        raw = opened.read(kind.most + 1)
    if len(raw) > kind.most:
        size = file.stat().st_size
        raise UnsupportedModelError(
            f"its {kind.what} is too large: found {size:,} bytes in {file.name}, allowed {kind.most:,}: {kind.advice}"
        )
    return raw


def parse_json(raw: bytes | str, constant: Callable[[str], Any] | None = None) -> Any:
    """What the JSON says; ``constant`` is given NaN and the infinities. ValueError: none, or nested too deeply."""
    try:
        return json.loads(raw, parse_constant=constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_yaml(raw: bytes) -> Any:
    """What the YAML says, as plain data. ValueError: it is none, or stands for more than a small file may."""
    try:
        _require_simple(raw)
        return yaml.load(raw, Loader)  # noqa: S506 - a safe loader, in C
    except (yaml.YAMLError, RecursionError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())[:300]) from error


def _require_simple(raw: bytes) -> None:
    """Go through the events, which costs little and stops early: nothing is built of what is refused."""
    if raw.startswith(b"%") or b"\n%" in raw or b"\r%" in raw:  # libyaml compares all of them with each other
        raise ValueError("it has a % directive")
    extent = _Extent()
    for event in yaml.parse(raw, Loader):
        extent.take(event)
        if extent.values > MOST_NODES:
            raise ValueError(f"it stands for more than {MOST_NODES:,} values, aliases written out")
        if len(extent.begun) > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} levels deep")


class _Extent:
    """How much the events so far stand for."""

    def __init__(self) -> None:
        self.values = 0
        self.begun: list[tuple[str | None, int]] = []  # anchor of each list or mapping around, and values before it
        self._named: dict[str | None, int] = {}  # how many values each anchor stands for

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._named:
                raise ValueError(f"the alias *{str(event.anchor)[:60]} stands for nothing, or for what it is in")
            self.values += self._named[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > LONGEST_NUMBER and not event.value.strip(NUMERIC):
                raise ValueError(f"it has a number of {len(event.value):,} characters")
            self.values += 1
            self._named[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            self.begun.append((event.anchor, self.values))
            self.values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self.begun.pop()
            self._named[anchor] = self.values - before
