"""What this machine knows about a version: read from the cache alone, so it is there while the registry is not."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ml.evidence import Evidence
from receiver.adapters.mlflow.fetched import FetchRecords
from receiver.adapters.version_pages import read_lineage, read_report
from serving.errors import ServingError
from serving.model.loader import Cache
from serving.model.model_dir import Column, describe_outputs, read
from serving.model.small_files import EVIDENCE, REQUIREMENTS, read_small

MOST_REQUIREMENTS = 500


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """One version as of its last download."""

    digest: str
    fetched_at: float  # seconds since the epoch
    metrics: Mapping[str, float]
    evidence: Mapping[str, Evidence]  # by environment
    run_id: str | None = None
    columns: Sequence[Column] = ()
    outputs: str = ""
    requirements: Sequence[str] = ()
    lineage: Mapping[str, str] = field(default_factory=dict)
    reports: Mapping[str, bytes] = field(default_factory=dict)  # by environment: the pages that evidence names


class KnownVersions:
    """Reads the cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._records = FetchRecords(cache)

    def __call__(self, model: str, version: int) -> KnownVersion | None:
        """None: it was never downloaded here, or its artifacts were removed since."""
        try:
            fetched = self._records.last(model, version)
            if fetched is None:
                return None
            path = self._cache.path_of(fetched.digest)
            evidence = self._evidence(model, version)
        except ServingError:  # no model has such a name
            return None
        directory = self._cache.index(model, version).parent
        known = KnownVersion(
            fetched.digest,
            fetched.at,
            self._cache.metrics_of(model, version),
            evidence,
            lineage=read_lineage(directory, version),
            reports={
                name: found for name, one in evidence.items() if (found := read_report(directory, one)) is not None
            },
        )
        return _with_artifacts(known, path) if path.is_dir() else known

    def _evidence(self, model: str, version: int) -> Mapping[str, Evidence]:
        found = {}
        for path in sorted(self._cache.index(model, version).parent.glob(f"{version:d}.*.evidence.json")):
            with suppress(OSError, ValueError, ServingError):
                evidence = Evidence.from_json(read_small(path, EVIDENCE).decode())
                found[evidence.environment] = evidence
        return found


def _with_artifacts(known: KnownVersion, path: Path) -> KnownVersion:
    with suppress(ServingError):
        described = read(path)
        known = replace(known, run_id=described.run_id, columns=described.columns, outputs=describe_outputs(path))
    with suppress(OSError, ServingError):
        lines = read_small(path / "requirements.txt", REQUIREMENTS).decode(errors="replace").splitlines()
        known = replace(known, requirements=[line for line in lines[:MOST_REQUIREMENTS] if line.strip()])
    return known
