"""The admin listener over real HTTP, on a real state file."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml.live import drift_report
from ml.live.drift_report import ColumnDrift, SlotDrift
from ml.live.label_store import LabelStore
from ml.live.labels import Decision, Realised
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.deliveries import Inbox
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.adapters.sqlite.queue import Queue
from receiver.admin.app import admin_config
from receiver.core.delivery import Classification, Delivery, DeliveryKind
from receiver.core.deployment import Cause, Draft, Outcome
from receiver.core.errors import Rejected, Retryable
from receiver.core.messages import Announcement
from receiver.core.plan import Action, ActionKind
from receiver.core.quarantine import Quarantine
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.daemon.listener import Listener
from receiver.planning.status import SlotStatus, StatusReport

SLOT = Slot("production", "churn-model")
COMMIT = "1f" * 20
EVIL = "<script>alert(1)</script> & \"'\x1b[31m https://me:hunter2@host/r"
SHOWN = "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &#34;&#39; https://***@host/r"


@dataclass
class Admin:
    """A running admin listener, and what it reads."""

    database: Database
    rows: list[SlotStatus] = field(default_factory=list)
    error: Exception | None = None
    stale: str | None = None
    client: httpx.Client = field(default_factory=httpx.Client)

    def ask(self) -> StatusReport:
        if self.error is not None:
            raise self.error
        return StatusReport(COMMIT, self.stale, self.rows)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def json(self, path: str) -> Any:
        return self.get(path).json()

    def page(self, path: str = "/") -> str:
        response = self.get(path)
        assert response.status_code == 200
        return response.text

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics").text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def deploy(self, outcome: Outcome | None, reason: str = "", *, results: tuple[str | None, ...] = ()) -> int:
        journal = SqliteJournal(self.database)
        actions = [Action(ActionKind.SWITCH, f"v{place}", "v5", "v6") for place, _ in enumerate(results)]
        number = journal.open(Draft(SLOT, 5, 6, "sha256:" + "ab" * 32, COMMIT, Cause.read("push"), None, actions))
        for place, (action, result) in enumerate(zip(actions, results, strict=True)):
            journal.intend(number, place, action)
            if result is not None:
                journal.result(number, place, result)
        if outcome is not None:
            journal.close(number, outcome, reason)
        return number

    def deliver(self, name: str, note: str = "main moved", kind: DeliveryKind = DeliveryKind.ACCEPTED) -> None:
        inbox = Inbox(self.database, Queue(self.database))
        asyncio.run(inbox.accept(Delivery(name, "github", "push", b"{}", Classification(kind, note), "push")))
        inbox.close()


def status(state: str = "in sync", reason: str = "", **changes: Any) -> SlotStatus:
    values = {"pinned": 6, "alias_version": 6, "stage_version": 6, "serving_version": 6, **changes}
    return SlotStatus(
        "production",
        "churn-model",
        **values,
        state=state,
        reason=reason,
        url="http://127.0.0.1:8001",
        since=0.0,
        verified="1970-01-01T00:00:00Z",
    )


@contextmanager
def running_admin(directory: Path) -> Iterator[Admin]:
    admin = Admin(Database(directory / "pinrail.db"))
    listener = Listener(admin_config(admin.database, admin.ask, 0, Redactor(["hunter2hunter2"])), "admin")
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.port}") as admin.client:
        yield admin
    listener.stop()
    admin.database.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    with running_admin(tmp_path_factory.mktemp("admin")) as admin:
        yield admin


@pytest.fixture
def admin(running: Admin) -> Admin:
    """One server for all tests here; each finds it empty."""
    with running.database.transaction() as db:
        for table in ("deliveries", "jobs", "steps", "deployments", "quarantine", "outbox"):
            db.execute(f"DELETE FROM {table}")  # noqa: S608 - constants
    running.rows, running.error = [], None
    return running


def test_before_anything_has_happened_every_page_answers(admin: Admin) -> None:
    assert "nothing is pinned yet" in admin.page()
    for name in ("environments", "deployments", "deliveries"):
        assert admin.json(f"/api/{name}")[name] == []
    assert admin.json("/healthz") == {"status": "ok"}
    assert admin.get("/metrics").status_code == 200


def test_a_registry_that_cannot_be_asked_is_not_shown_as_empty_and_nothing_is_ready(admin: Admin) -> None:
    admin.rows = [status("unknown", "MLflow cannot be reached", alias_version=None, stage_version=None)]
    page = admin.page()
    assert "alias ?" in page
    assert "alias nothing" not in page
    answer = admin.get("/readyz")
    assert (answer.status_code, answer.json()["servers"]) == (503, "MLflow cannot be reached")


def test_the_three_way_truth_is_shown_and_announced(admin: Admin) -> None:
    admin.rows = [status("drift", "switch v6: v5 -> v6", serving_version=5)]
    page = admin.page()
    assert "1 of 1 not in sync" in page
    assert "switch v6: v5 -&gt; v6" in page
    answer = admin.json("/api/environments")
    assert answer["problem"] is None
    assert answer["environments"] == [
        {
            "environment": "production",
            "model": "churn-model",
            "pinned": 6,
            "alias_version": 6,
            "stage_version": 6,
            "serving_version": 5,
            "state": "drift",
            "reason": "switch v6: v5 -> v6",
            "url": "http://127.0.0.1:8001",
            "since": 0.0,
            "verified": "1970-01-01T00:00:00Z",
            "eligible": None,
            "replicas": 1,
            "replicas_up": 0,
        }
    ]
    assert (answer["commit"], answer["stale"]) == (COMMIT, None)


@pytest.mark.parametrize(
    ("states", "phrase"),
    [
        (["in sync", "in sync"], "everything is in sync"),
        (["in sync", "promote"], "1 of 2 not in sync"),
        (["drift", "needs-human"], "needs a human"),
    ],
)
def test_the_title_says_how_things_stand_the_worst_first(admin: Admin, states: list[str], phrase: str) -> None:
    admin.rows = [status(state) for state in states]
    assert f"<title>{phrase} · Pinrail</title>" in admin.page()


def test_nothing_is_called_in_sync_while_the_pins_at_the_branch_head_are_not_in_use(admin: Admin) -> None:
    admin.rows = [status()]
    admin.stale = "environments/staging.yaml:2: models.churn.version: found 010 of https://me:hunter2@host"
    page = admin.page()
    assert "<title>the pins at the branch head are not in use · Pinrail</title>" in page
    assert "environments/staging.yaml:2" in page
    assert "hunter2" not in page


def test_when_the_world_cannot_be_asked_the_last_answer_is_shown_with_the_reason(admin: Admin) -> None:
    admin.rows = [status()]
    admin.page()
    admin.error = Retryable("the servers do not answer: https://me:hunter2@host")
    page = admin.page()
    assert "the servers do not answer: https://***@host" in page
    assert "churn-model" in page
    response = admin.get("/api/environments")
    assert response.status_code == 503
    assert len(response.json()["environments"]) == 1
    assert admin.metric("pinrail_truth_known") == 0


def test_a_deployment_is_shown_with_its_steps_its_reason_and_what_was_not_written_down(admin: Admin) -> None:
    admin.deploy(Outcome.ROLLED_BACK, "the input example is refused", results=("done", "Rejected: 500"))
    admin.deploy(None, results=("done", None))
    page = admin.page()
    for text in ("rolled-back", "the input example is refused", "Rejected: 500", "running"):
        assert text in page
    running, ended = admin.json("/api/deployments")["deployments"]
    assert (running["outcome"], running["seconds"], running["steps"][1]["result"]) == ("running", None, None)
    assert (ended["id"], ended["commit"], ended["from_version"], ended["to_version"]) == (1, COMMIT, 5, 6)
    assert [step["result"] for step in ended["steps"]] == ["done", "Rejected: 500"]


def test_what_labels_say_of_a_version_stands_beside_it_and_in_the_metrics(admin: Admin) -> None:
    store = LabelStore(LogDirectories(admin.database.path.parent).root)
    problem = "2 labels cannot be compared with the answers"
    of = {"environment": "production", "model": "churn-model", "metric": "accuracy", "problem": problem}
    figures = {"value": 0.75, "low": 0.7, "high": 0.8, "labels": 400, "unfit": 2}
    store.publish("churn-model", [Realised(**of, **figures, version=version) for version in (5, 6)])
    admin.rows = [status()]
    admin.deploy(Outcome.LIVE)
    store.note_gate(("production", "churn-model"), 6, {"accuracy": 0.81})
    store.decide(Decision("production", "churn-model", 6, "accuracy", 0.7, "INCONCLUSIVE", 40, "it may be"))
    judged = {"gate": 0.81, "least": 0.7, "outcome": "INCONCLUSIVE", "more": 40}
    expected = [{**of, **figures, **judged, "version": 6}]
    assert admin.json("/api/environments")["realised"] == expected
    assert admin.json("/api/deployments")["deployments"][0]["realised"] == expected
    labels = '{environment="production",metric="accuracy",model="churn-model",version="5"}'
    assert f"pinrail_realised{labels} 0.75" in admin.get("/metrics").text
    assert f"pinrail_realised_labels{labels} 400.0" in admin.get("/metrics").text


def test_live_drift_stands_beside_the_version_and_in_the_metrics(admin: Admin) -> None:
    root = LogDirectories(admin.database.path.parent).root
    root.mkdir(exist_ok=True)
    column = ColumnDrift("tenure", 0.31, 0.2, 0.0, 0.0, drifted=True)
    of = ("production", "churn-model", 6, 900, 0.25, None)
    drift_report.write(root, [SlotDrift(*of, [column], 1, {"Yes": 0.4}, "", 0.0)])
    admin.rows = [status()]
    (found,) = admin.json("/api/environments")["drift"]
    assert (found["columns"][0]["column"], found["columns"][0]["psi"], found["rows"]) == ("tenure", 0.31, 900)
    shown = admin.get("/metrics").text
    labels = 'environment="production",model="churn-model",version="6"'
    assert f'pinrail_drift_psi{{column="tenure",{labels}}} 0.31' in shown
    assert f'pinrail_prediction_share{{answer="Yes",{labels}}} 0.4' in shown


def test_deployments_can_be_narrowed_down(admin: Admin) -> None:
    for _ in range(3):
        admin.deploy(Outcome.LIVE)
    found = [d["id"] for d in admin.json("/api/deployments?environment=production&limit=2")["deployments"]]
    assert found == [3, 2]
    assert admin.json("/api/deployments?model=other")["deployments"] == []
    assert admin.get("/api/deployments?limit=0").status_code == 422


def pages(admin: Admin, path: str, name: str) -> list[Any]:
    """All records, page by page."""
    found: list[Any] = []
    answer = admin.json(path)
    while True:
        assert 0 < len(answer[name]) <= 2
        found += answer[name]
        if answer["next"] is None:
            return found
        answer = admin.json(f"{path}&cursor={answer['next']}")


def test_what_was_done_is_read_page_by_page_and_nothing_twice_or_never(admin: Admin) -> None:
    numbers = [admin.deploy(Outcome.LIVE if place % 2 else Outcome.ROLLED_BACK) for place in range(7)]
    for place in range(5):
        admin.deliver(f"delivery-{place}")
    with admin.database.transaction() as db:
        db.execute("UPDATE deployments SET started_at = 1000 WHERE id IN (?, ?, ?)", numbers[1:4])  # equally old
        db.execute("UPDATE deliveries SET received_at = 1000 WHERE id IN ('delivery-1', 'delivery-2')")
    found = [one["id"] for one in pages(admin, "/api/deployments?limit=2", "deployments")]
    assert found == [one["id"] for one in admin.json("/api/deployments")["deployments"]]
    assert sorted(found) == numbers
    live = pages(admin, "/api/deployments?limit=2&outcome=live", "deployments")
    assert [one["outcome"] for one in live] == ["live"] * 3
    delivered = [one["id"] for one in pages(admin, "/api/deliveries?limit=2&verdict=accepted", "deliveries")]
    assert sorted(delivered) == [f"delivery-{place}" for place in range(5)]
    assert admin.json("/api/deliveries?verdict=ignored")["deliveries"] == []


@pytest.mark.parametrize(
    "query", ["cursor=1", "cursor=nan-1", "cursor=1e9-1", "cursor=%00", "outcome=lost", "limit=0"]
)
def test_what_no_answer_named_is_no_cursor(admin: Admin, query: str) -> None:
    assert admin.get(f"/api/deployments?{query}").status_code == 422


def test_the_description_has_every_question_of_programs_and_no_page(admin: Admin) -> None:
    described = admin.json("/api/openapi.json")
    assert set(described["paths"]) == {
        *("/api/environments", "/api/deployments", "/api/deliveries", "/api/labels"),
        *("/healthz", "/readyz", "/metrics"),
    }
    asked = described["paths"]["/api/deployments"]["get"]
    assert {one["name"] for one in asked["parameters"]} == {"limit", "environment", "model", "outcome", "cursor"}
    answered = asked["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "next" in described["components"]["schemas"][answered]["properties"]


def test_deliveries_are_found_by_the_job_that_they_joined(admin: Admin) -> None:
    admin.deliver("d-1")
    admin.deliver("d-2")
    admin.deliver("d-3", "push to refs/heads/x, which is not the watched branch", DeliveryKind.IGNORED)
    rows = admin.json("/api/deliveries")["deliveries"]
    assert [(row["id"], row["verdict"], row["job"], row["job_state"]) for row in rows] == [
        ("d-3", "ignored", None, None),
        ("d-2", "accepted", 1, "queued"),
        ("d-1", "accepted", 1, "queued"),
    ]
    assert len(admin.json("/api/deliveries?job=1")["deliveries"]) == 2


def test_a_buried_job_is_visible_until_a_later_one_ends_well(admin: Admin) -> None:
    queue = Queue(admin.database)
    for end in ("bury", "done"):
        queue.enqueue("push")
        job = queue.claim()
        assert job is not None
        getattr(queue, end)(job, "version: 010 is no version")
        assert ("The branch could not be read" in admin.page()) is (end == "bury")


def test_what_somebody_wrote_is_text_and_without_secrets_wherever_it_is_shown(admin: Admin) -> None:
    admin.rows = [status("drift", EVIL)]
    admin.deploy(Outcome.REFUSED, EVIL, results=(EVIL,))
    admin.deliver("d-1", EVIL)
    SqliteJournal(admin.database).quarantine(Quarantine(SLOT, 6, COMMIT, EVIL, needs_human=False, since=0.0))
    page = admin.page() + admin.page("/deployments") + admin.page("/deliveries")
    assert page.count(SHOWN) == 7
    everything = page + "".join(admin.get(f"/api/{n}").text for n in ("environments", "deployments", "deliveries"))
    assert "<script>alert" not in page
    assert "hunter2" not in everything
    assert "\x1b" not in everything
    assert "u001b" not in everything


def test_the_page_asks_nobody_else_for_anything(admin: Admin) -> None:
    admin.rows = [status()]
    response = admin.get("/")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    sources = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    outside = [s for s in sources if not s.startswith(("/", "#", "data:"))]
    assert outside == []
    for path in ("/static/dashboard.css", "/static/dashboard.js"):
        assert path in sources
        assert admin.get(path).status_code == 200
        assert "url(" not in admin.get(path).text


def test_a_foreign_name_for_this_machine_is_refused(admin: Admin) -> None:
    assert admin.client.get("/api/environments", headers={"Host": "evil.example:9001"}).status_code == 400
    assert admin.client.get("/healthz", headers={"Host": "localhost:9001"}).status_code == 200


def test_there_is_nothing_else_here(admin: Admin) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/webhooks/github"):
        assert admin.get(path).status_code == 404


def test_nothing_can_be_changed_here(admin: Admin) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/", "/deployments", "/deliveries", "/api/environments", "/api/deployments", "/api/deliveries"):
            assert admin.client.request(method, path).status_code == 405


def test_it_is_ready_once_the_branch_was_fetched(admin: Admin) -> None:
    response = admin.get("/readyz")
    assert response.status_code == 503
    assert "has not fetched" in response.json()["fetcher"]
    queue = Queue(admin.database)
    queue.enqueue("startup")
    job = queue.claim()
    assert job is not None
    queue.done(job)
    assert admin.get("/readyz").status_code == 200
    admin.error = Rejected("no servers")
    assert admin.json("/readyz")["servers"] == "no servers"


def test_it_is_not_ready_while_the_last_fetch_was_given_up(admin: Admin) -> None:
    queue = Queue(admin.database)
    for give_up in (True, False):
        queue.enqueue("push")
        job = queue.claim()
        assert job is not None
        if give_up:
            queue.bury(job, "staging.yaml:3: version: found 010")
            response = admin.get("/readyz")
            assert response.status_code == 503
            assert response.json()["fetcher"] == "the last fetch was given up: staging.yaml:3: version: found 010"
        else:
            queue.done(job)
            assert admin.get("/readyz").status_code == 200


def test_it_is_not_ready_when_nobody_works(admin: Admin) -> None:
    queue = Queue(admin.database)
    queue.enqueue("push")
    with admin.database.transaction() as db:
        db.execute("UPDATE jobs SET not_before = ?", (time.time() - 3600,))
    assert "is not started" in admin.json("/readyz")["fetcher"]
    assert admin.metric("pinrail_job_overdue_seconds") == pytest.approx(3600, abs=60)
    assert queue.claim() is not None
    assert admin.metric("pinrail_job_overdue_seconds") == 0


def test_metrics_count_what_is_recorded_and_name_each_source_of_truth(admin: Admin) -> None:
    admin.rows = [status("drift", serving_version=None)]
    admin.deploy(Outcome.LIVE)
    admin.deploy(Outcome.LIVE)
    admin.deploy(None)
    admin.deliver("d-1")
    SqliteOutbox(admin.database).put(Announcement("a", ""))
    slot = 'environment="production",model="churn-model"'
    assert admin.metric(f'pinrail_deployments_total{{{slot},outcome="live"}}') == 2
    assert "running" not in admin.get("/metrics").text
    assert admin.metric('pinrail_deliveries_total{sender="github",verdict="accepted"}') == 1
    assert admin.metric('pinrail_jobs{state="queued"}') == 1
    assert admin.metric("pinrail_outbox_unsent") == 1
    assert admin.metric(f'pinrail_version{{{slot},source="pin"}}') == 6
    assert admin.metric(f'pinrail_version{{{slot},source="server"}}') == 0
    assert admin.metric(f"pinrail_in_sync{{{slot}}}") == 0


def test_a_state_file_that_cannot_be_read_is_503_and_not_a_page_of_traces(tmp_path: Path) -> None:
    with running_admin(tmp_path) as admin:
        with admin.database.transaction() as db:
            db.execute("DROP TABLE deliveries")
        response = admin.get("/api/deliveries")
    assert response.status_code == 503
    assert "cannot be read" in json.loads(response.text)["detail"]


def test_a_port_that_is_taken_is_refused_by_its_name(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(Rejected, match="PINRAIL_ADMIN_PORT"):
            Listener(admin_config(database, StatusReport, other.getsockname()[1]), "admin")
    database.close()
