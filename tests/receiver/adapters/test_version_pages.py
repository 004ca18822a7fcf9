"""What pages show of versions: downloaded beside everything else, and kept only where it is what evidence names."""

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ml.evidence import Evidence
from receiver.adapters.mlflow.fetched import FetchRecords, Registration
from receiver.adapters.version_pages import LONGEST_FACT, VersionPages, read_lineage, read_report
from receiver.core.errors import Rejected, Retryable
from serving.model.loader import Cache
from tests.support.evidence import EVIDENCE

PAGE = b"<!doctype html><title>report</title>"
NAMED = replace(EVIDENCE, report=f"sha256:{hashlib.sha256(PAGE).hexdigest()}")


@dataclass
class Source:
    failure: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def report(self, evidence: Evidence) -> bytes:
        self.asked.append(f"report {evidence.environment}")
        if self.failure is not None:
            raise self.failure
        return PAGE

    def lineage(self, model: str, version: int) -> Mapping[str, str]:
        self.asked.append(f"lineage {model} {version}")
        return {"data version": "telco-1", "param note": "x" * 10_000}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path)
    records = FetchRecords(cache)
    records.remember_version("m", 2, Registration(1, "runs:/x"), "sha256:" + "ab" * 32)
    records.remember_evidence("m", 2, "staging", NAMED.to_json())
    records.remember_evidence("m", 2, "production", replace(EVIDENCE, environment="production").to_json())
    return cache


def test_the_report_that_evidence_names_and_the_lineage_are_downloaded_once(cache: Cache) -> None:
    source, directory = Source(), cache.index("m", 2).parent
    pages = VersionPages(cache, source)
    assert pages.run(threading.Event()) > time.time()
    pages.run(threading.Event())
    assert source.asked == ["report staging", "lineage m 2"]  # production's evidence names none
    assert read_report(directory, NAMED) == PAGE
    assert read_report(directory, replace(NAMED, report="sha256:other")) is None
    lineage = read_lineage(directory, 2)
    assert lineage["data version"] == "telco-1"
    assert len(lineage["param note"]) == LONGEST_FACT


@pytest.mark.parametrize("failure", [Rejected("it is gone"), Retryable("no answer")])
def test_what_cannot_be_had_is_not_asked_for_every_minute(cache: Cache, failure: Exception) -> None:
    source = Source(failure)
    pages = VersionPages(cache, source)
    for _ in range(3):
        pages.run(threading.Event())
    assert source.asked.count("report staging") == 1
    assert read_report(cache.index("m", 2).parent, NAMED) is None


def test_a_receiver_that_stops_asks_for_nothing_more(cache: Cache) -> None:
    source, stop = Source(), threading.Event()
    stop.set()
    VersionPages(cache, source).run(stop)
    assert source.asked == []
