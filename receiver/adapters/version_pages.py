"""Downloads what only pages show of the versions in the cache: reports of gates, and lineage.

On a thread of its own, so that no deployment and no page waits for it.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol

from ml.evidence import Evidence
from receiver.core.errors import Rejected, Retryable
from serving.errors import ServingError
from serving.model.loader import Cache, write_whole
from serving.model.small_files import EVIDENCE, REPORT, read_small

log = logging.getLogger(__name__)

CHECK_SECONDS = 60.0
AGAIN_SECONDS = 3600.0  # where the registry does not have it
EVIDENCE_FILE, LINEAGE_FILE = ".evidence.json", ".lineage.json"
MOST_FACTS, LONGEST_FACT = 100, 500  # of a version's lineage


class VersionSource(Protocol):
    """The registry, as far as it is asked here."""

    def report(self, evidence: Evidence) -> bytes:
        """The page that evidence names. Rejected: there is none like it."""
        ...

    def lineage(self, model: str, version: int) -> Mapping[str, str]:
        """Data, code and parameters of a version."""
        ...


class VersionPages:
    """Goes through the versions that were downloaded."""

    def __init__(self, cache: Cache, registry: VersionSource) -> None:
        self._index = cache.root / "index"
        self._registry = registry
        self._not_before: dict[Path, float] = {}  # monotonic

    def run(self, stop: threading.Event) -> float:
        """Download what is missing. Returns when to check again, in seconds since the epoch."""
        for evidence, path in self._missing_reports():
            if not stop.is_set():
                self._try(path, partial(self._report, evidence))
        for model, version, path in self._missing_lineages():
            if not stop.is_set():
                self._try(path, partial(self._lineage, model, version))
        return time.time() + CHECK_SECONDS

    def _report(self, evidence: Evidence) -> str:
        return self._registry.report(evidence).decode()

    def _lineage(self, model: str, version: int) -> str:
        """Anybody who may register a version writes these texts."""
        found = list(self._registry.lineage(model, version).items())[:MOST_FACTS]
        return json.dumps({name[:LONGEST_FACT]: value[:LONGEST_FACT] for name, value in found})

    def _try(self, path: Path, text: Callable[[], str]) -> None:
        if time.monotonic() < self._not_before.get(path, 0.0):
            return
        try:
            write_whole(path, text())
        except (Rejected, Retryable, UnicodeDecodeError) as error:
            self._not_before[path] = time.monotonic() + AGAIN_SECONDS
            log.info("%s: %s", path.name, error)

    def _missing_reports(self) -> Iterator[tuple[Evidence, Path]]:
        for file in sorted(self._index.glob(f"*/*{EVIDENCE_FILE}")):
            with suppress(OSError, ValueError, ServingError):
                evidence = Evidence.from_json(read_small(file, EVIDENCE).decode())
                path = report_path(file.parent, evidence)
                if evidence.report and _is_older(path, file):
                    yield evidence, path

    def _missing_lineages(self) -> Iterator[tuple[str, int, Path]]:
        for file in sorted(self._index.glob("*/*.fetched.json")):
            version = file.name.partition(".")[0]
            path = file.with_name(f"{version}{LINEAGE_FILE}")
            if version.isdecimal() and _is_older(path, file):
                yield file.parent.name, int(version), path


def _is_older(path: Path, source: Path) -> bool:
    return not path.exists() or path.stat().st_mtime < source.stat().st_mtime


def report_path(directory: Path, evidence: Evidence) -> Path:
    """Where the report is kept; ``directory``: that of the model in the cache's index."""
    return directory / f"{evidence.version:d}.{evidence.environment}.report.html"


def read_report(directory: Path, evidence: Evidence) -> bytes | None:
    """The report that the evidence names; None: it is not here, or other bytes are."""
    try:
        raw = read_small(report_path(directory, evidence), REPORT)
    except (OSError, ServingError):
        return None
    return raw if f"sha256:{hashlib.sha256(raw).hexdigest()}" == evidence.report else None


def read_lineage(directory: Path, version: int) -> Mapping[str, str]:
    """What is kept of a version's lineage; empty: nothing."""
    try:
        found = json.loads((directory / f"{version:d}{LINEAGE_FILE}").read_bytes())
        return {str(name): str(value) for name, value in found.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
