"""The pages about one model, one deployment and one version, over real HTTP."""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml.evidence import CheckOutcome, Evidence, Verdict
from ml.live import drift_report
from ml.live.drift_report import ColumnDrift, SlotDrift
from receiver.adapters.git.commit_log import CommitNote
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.known_versions import KnownVersions
from receiver.adapters.mlflow.fetched import FetchRecords, Registration
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.version_pages import report_path
from receiver.admin.app import admin_config
from receiver.admin.details import Sources
from receiver.admin.timeline import timeline
from receiver.core.deployment import DRIFT, Cause, Deployment, Draft, Outcome, WayBack
from receiver.core.links import Links
from receiver.core.plan import Action, ActionKind
from receiver.core.quarantine import Freeze
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.daemon.listener import Listener
from receiver.planning.status import SlotStatus, StatusReport
from serving.model.loader import Cache
from tests.support.evidence import KEY, OTHER_KEY

SLOT = Slot("production", "churn-model")
COMMIT = "1f" * 20
DIGEST = "sha256:" + "ab" * 32
EVIL = "<img src=x onerror=alert(1)> hunter2hunter2"
NOW = 1_700_000_000.0
ROW = SlotStatus(
    "production", "churn-model", 6, 6, 6, 6, "in sync", "", "http://127.0.0.1:8001", NOW, "2023-11-14T22:13:20Z"
)


def known_cache(directory: Path) -> Cache:
    """A cache that holds v6 with its record, metrics, evidence and packages."""
    cache = Cache(directory)
    records = FetchRecords(cache)
    cache.path_of(DIGEST).mkdir(parents=True)
    (cache.path_of(DIGEST) / "requirements.txt").write_text("scikit-learn==1.6\n\nnumpy\n")
    records.remember_version("churn-model", 6, Registration(1, "runs:/x"), DIGEST)
    cache.metrics_path("churn-model", 6).write_text(json.dumps({"accuracy": 0.81234567}))
    cache.metrics_path("churn-model", 5).write_text(json.dumps({"accuracy": 0.79}))
    verdict = Verdict("accuracy", CheckOutcome.PASS, 0.81234567, ">=", 0.8, EVIL)
    evidence = Evidence("churn-model", 6, "production", DIGEST, "sha256:" + "cd" * 32, "sha256:" + "ef" * 32,
                        [verdict], NOW, 1000)  # fmt: skip
    page = f"<!doctype html><title>report</title><script>alert(1)</script> {EVIL}"
    named = replace(evidence, report=f"sha256:{hashlib.sha256(page.encode()).hexdigest()}")
    for environment, key in (("production", KEY), ("staging", OTHER_KEY)):
        signed = key.sign(replace(named, environment=environment))
        records.remember_evidence("churn-model", 6, environment, signed.to_json())
        report_path(cache.index("churn-model", 6).parent, signed).write_text(page)
    lineage = cache.index("churn-model", 6).parent / "6.lineage.json"
    lineage.write_text(json.dumps({"data version": EVIL}))
    return cache


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    directory = tmp_path_factory.mktemp("pages")
    database = Database(directory / "pinrail.db")
    journal = SqliteJournal(database)
    for before, after, outcome in ((None, 5, Outcome.LIVE), (5, 6, Outcome.ROLLED_BACK), (5, 6, Outcome.LIVE)):
        number = journal.open(Draft(SLOT, before, after, DIGEST, COMMIT, Cause.read("push"), "because " + EVIL))
        journal.close(number, outcome, EVIL if outcome is Outcome.ROLLED_BACK else "")
    journal.freeze(Freeze("production", None, "audit " + EVIL, time.time()))
    gone = WayBack("production", "churn-model", 5, False, None, None, f"its files are gone {EVIL}")
    journal.note_ways_back([gone])
    watched = journal.open(Draft(Slot("staging", "churn-model"), 5, 6, DIGEST, COMMIT, Cause.read("push")))
    journal.intend(watched, 0, Action(ActionKind.WATCH, "v6", None, "stable"))
    root = LogDirectories(directory).root
    root.mkdir(parents=True)
    column = ColumnDrift("tenure", 0.31, None, 0.125, 0.0, drifted=True)
    drift_report.write(
        root, [SlotDrift("production", "churn-model", 6, 700, 0.2, None, [column], 1, {"0": 0.75}, "", NOW)]
    )

    def commits(_: Any) -> Mapping[str, CommitNote]:
        return {COMMIT: CommitNote(f"Ann {EVIL}", f"Promote {EVIL} (#12)", 12)}

    versions = KnownVersions(known_cache(directory / "cache"))
    links = Links("https://github.com/o/r", "http://mlflow")
    sources = Sources(
        commits, versions, links, stabilise_seconds=3600.0, poll_seconds=60.0, trusted=lambda _: [KEY.public]
    )
    waiting = replace(ROW, environment="staging", state="waiting", eligible="2023-11-14T22:43:20Z")
    report = StatusReport(COMMIT, None, [ROW, waiting])
    listener = Listener(admin_config(database, lambda: report, 0, Redactor(["hunter2hunter2"]), sources), "admin")
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.port}") as client:
        yield client
    listener.stop()
    database.close()


def page(pages: httpx.Client, path: str) -> str:
    answer = pages.get(path)
    assert answer.status_code == 200
    assert "<img" not in answer.text
    assert "hunter2" not in answer.text
    return answer.text


def test_a_model_page_says_what_was_live_when_by_which_commit_and_person(pages: httpx.Client) -> None:
    text = page(pages, "/models/production/churn-model")
    assert re.search(r'<a href="/deployments/3" aria-label="production/churn-model v5 → v6: live, .*#12', text)
    assert 'class="mark rolled-back"' in text
    assert "The whole environment is held" in text
    assert 'href="https://github.com/o/r/commit/1f1f' in text
    assert 'href="https://github.com/o/r/pull/12"' in text
    assert 'href="/models/staging/churn-model"' in text


def test_a_model_page_compares_the_metrics_of_the_pinned_version_and_of_the_one_before(pages: httpx.Client) -> None:
    text = page(pages, "/models/production/churn-model?days=7")
    assert "v6 (pinned)" in text
    assert '<td title="0.81234567" data-name="v6">0.8123</td>' in text


def test_what_is_going_to_happen_has_its_time_also_without_javascript(pages: httpx.Client) -> None:
    text = page(pages, "/models/staging/churn-model")
    assert (
        '<strong>Eligible</strong> <time class="until" datetime="2023-11-14T22:43:20Z">2023-11-14 22:43:20 UTC</time>'
        in text
    )
    assert "<strong>Watched until</strong>" in text
    assert "<strong>Watched until</strong>" in page(pages, "/deployments/4")
    assert "Watched until" not in page(pages, "/models/production/churn-model")


def test_a_model_page_shows_the_way_back_and_what_has_drifted(pages: httpx.Client) -> None:
    text = page(pages, "/models/production/churn-model")
    assert "Way back" in text
    assert "not ready" in text
    assert "700 rows that v6 was asked" in text
    assert re.search(r'tenure</th><td><span class="badge warn">drifted</span></td><td title="0.31"', text)
    assert "12.5 %" in text


def test_a_deployment_page_says_what_was_waived_and_who_it_was(pages: httpx.Client) -> None:
    text = page(pages, "/deployments/2")
    assert "Gate and soak were waived" in text
    assert "What stood against it" not in text  # the evidence has passed
    assert "by Ann" in text
    assert DIGEST in text


def test_a_version_page_shows_each_verdict_with_value_and_limit_and_serves_the_evidence(pages: httpx.Client) -> None:
    text = page(pages, "/versions/churn-model/6")
    assert '<td title="0.81234567" data-name="value">0.8123</td>' in text
    assert "&gt;= 0.8" in text
    assert "1000 rows" in text
    assert "numpy" in text
    assert 'href="http://mlflow/#/models/churn-model/versions/6"' in text
    record = pages.get("/versions/churn-model/6/evidence/production").json()
    assert (record["rows"], record["verdicts"][0]["value"]) == (1000, 0.81234567)
    assert "hunter2" not in json.dumps(record)


def test_a_report_whose_evidence_is_signed_by_who_is_trusted_is_served_and_may_do_nothing(
    pages: httpx.Client,
) -> None:
    text = page(pages, "/versions/churn-model/6")
    assert 'href="/versions/churn-model/6/report/production"' in text
    assert "Where it comes from" in text
    answer = pages.get("/versions/churn-model/6/report/production")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "hunter2" not in answer.text
    assert "/report/staging" not in text  # signed by another key
    assert pages.get("/versions/churn-model/6/report/staging").status_code == 404


def test_a_version_that_is_not_on_this_machine_has_a_page_with_what_is_known(pages: httpx.Client) -> None:
    assert "is not on this machine" in page(pages, "/versions/churn-model/5")


@pytest.mark.parametrize(
    "path",
    [
        "/models/production/other",
        "/deployments/99",
        "/versions/churn-model/99",
        "/versions/..%2F..%2Fetc/6",
        "/versions/churn-model/6/evidence/other",
        "/versions/churn-model/6/report/other",
        "/versions/churn-model/5/report/production",
    ],
)
def test_what_is_not_on_record_is_not_found(pages: httpx.Client, path: str) -> None:
    answer = pages.get(path)
    assert answer.status_code == 404
    assert "Nothing is on record" in answer.text or answer.json() == {"detail": "Not Found"}


def deployment(
    number: int, days_ago: float, outcome: Outcome, version: int | None, *, drift: bool = False
) -> Deployment:
    at = NOW - days_ago * 86_400
    cause = DRIFT if drift else Cause.read("push")
    return Deployment(number, Draft(SLOT, None, version, DIGEST, COMMIT, cause), outcome, "", at, at)


def test_a_timeline_has_a_span_for_each_time_that_a_version_was_live_and_a_mark_for_each_event() -> None:
    history = [
        deployment(1, 40, Outcome.LIVE, 5),
        deployment(2, 20, Outcome.ROLLED_BACK, 6),
        deployment(3, 15, Outcome.LIVE, 6),
        deployment(4, 12, Outcome.LIVE, 6, drift=True),
        deployment(5, 3, Outcome.LIVE, None),
    ]
    [lane] = timeline({"production": history}, 30, NOW, lambda found: str(found.id)).lanes
    assert [(span.version, span.left, span.width) for span in lane.spans] == [(5, 0.0, 50.0), (6, 50.0, 40.0)]
    assert [(mark.kind, mark.deployment) for mark in lane.marks] == [("rolled-back", 2), ("restored", 4)]
