"""What Prometheus and Grafana are given: rules and panels that ask for metrics which there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.queries import StateQueries
from receiver.admin.metrics import Exposition, StateCollector
from receiver.admin.queries import AdminQueries
from receiver.core.deployment import DRIFT, Cause, Draft, Outcome
from receiver.core.plan import Action, ActionKind
from receiver.core.policy import Hold, HoldState
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.planning.status import SlotStatus, StatusReport

MONITORING = Path(__file__).parents[3] / "compose/monitoring"
ALERTS, DASHBOARD = MONITORING / "alerts.yaml", MONITORING / "dashboard.json"
SLOT = Slot("production", "churn-model")
LABELS = 'environment="production",model="churn-model"'
COLUMNS = 24  # of a Grafana dashboard
GIVEN_BY_OTHERS = {"up"}


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "pinrail.db")
    yield database
    database.close()


def exposed(database: Database) -> str:
    row = SlotStatus("production", "churn-model", 6, 6, 6, 6, "in sync", "", None, None, None)
    queries = AdminQueries(database, lambda: StatusReport("1f" * 20, None, [row]), Redactor())
    return Exposition(StateCollector(StateQueries(database), queries))().decode()


def deploy(database: Database, seconds: float, cause: Cause, outcome: Outcome = Outcome.LIVE) -> None:
    journal = SqliteJournal(database)
    number = journal.open(Draft(SLOT, 5, 6, None, "1f" * 20, cause))
    journal.close(number, outcome)
    with database.transaction() as db:
        db.execute("UPDATE deployments SET started_at = 1000, ended_at = ? WHERE id = ?", (1000 + seconds, number))


def test_a_push_is_timed_from_its_delivery_until_its_commit_is_live_soaks_aside(database: Database) -> None:
    deploy(database, 4.0, Cause.read("push"))
    deploy(database, 9.0, DRIFT)
    with database.transaction() as db:
        db.execute(
            "INSERT INTO deliveries (id, sender, event, received_at, verdict, note, body) VALUES"
            " ('a', 'github', 'push', 998.5, 'accepted', ?, x''), ('b', 'github', 'push', 999, 'ignored', ?, x'')",
            (f"main moved to {'1f' * 6}",) * 2,
        )
    found = exposed(database)
    assert f"pinrail_push_to_live_seconds_sum{{{LABELS}}} 5.5" in found
    assert 'pinrail_push_to_live_seconds_bucket{environment="production",le="5.0",model="churn-model"} 0.0' in found
    assert 'pinrail_push_to_live_seconds_bucket{environment="production",le="10.0",model="churn-model"} 1.0' in found
    deploy(database, 0.0, Cause.read("policy"), Outcome.WAITING)
    assert "pinrail_push_to_live_seconds_sum{" not in exposed(database), "it waited for a soak"


def test_the_steps_of_deployments_are_timed_by_their_kind(database: Database) -> None:
    journal = SqliteJournal(database)
    number = journal.open(Draft(SLOT, 5, 6, None, "1f" * 20, Cause.read("push")))
    for place, (kind, result) in enumerate([(ActionKind.START, "done"), (ActionKind.START, "it failed")]):
        journal.intend(number, place, Action(kind, "v6", None, "candidate"))
        journal.result(number, place, result)
    with database.transaction() as db:
        db.execute("UPDATE steps SET started_at = 1000, ended_at = 1000.2")
    found = exposed(database)
    assert 'pinrail_step_seconds_bucket{kind="start",le="0.1"} 0.0' in found
    assert 'pinrail_step_seconds_bucket{kind="start",le="0.25"} 1.0' in found
    assert 'pinrail_step_seconds_count{kind="start"} 1.0' in found


def expressions() -> list[str]:
    rules = [rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    return rules + [target["expr"] for panel in panels() for target in panel["targets"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def test_how_long_deployments_took_is_a_histogram_without_healing_and_failures(database: Database) -> None:
    for seconds in (1.5, 4.0, 700.0):
        deploy(database, seconds, Cause.read("push"))
    deploy(database, 3.0, DRIFT)
    deploy(database, 3.0, Cause.read("push"), Outcome.ROLLED_BACK)
    text = exposed(database)
    for bound, count in (("1.0", 0), ("2.0", 1), ("5.0", 2), ("600.0", 2), ("+Inf", 3)):
        labels = f'environment="production",le="{bound}",model="churn-model"'
        assert f"pinrail_deployment_seconds_bucket{{{labels}}} {count}.0" in text
    assert f"pinrail_deployment_seconds_sum{{{LABELS}}} 705.5" in text


def test_refusals_are_counted_by_the_check_that_stopped_them(database: Database) -> None:
    journal = SqliteJournal(database)
    for version, reason in (
        (6, "v6 does not pass the gate: FAIL: accuracy=0.7 < 0.8; INCONCLUSIVE: fairness.sex=0.1 <= 0.2"),
        (7, "v7 does not pass the gate: FAIL: accuracy=0.6 < 0.8; FAIL: accuracy=0.6 < 0.8"),
        (8, "v8 has no evidence"),
    ):
        draft = Draft(SLOT, 5, version, None, "1f" * 20, Cause.read("policy"))
        journal.hold(draft, Hold(HoldState.REFUSED, reason))
    text = exposed(database)
    for check, count in (("accuracy", 2), ("fairness.sex", 1), ("policy", 1)):
        assert f'pinrail_refusals_total{{check="{check}",{LABELS}}} {count}.0' in text


def test_rules_and_panels_ask_for_metrics_and_labels_that_there_are(database: Database) -> None:
    deploy(database, 2.0, Cause.read("push"))
    text = exposed(database)
    families = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
    asked = {name for expr in expressions() for name in re.findall(r"\b(?:pinrail_\w+|up)\b", expr)}
    assert {name.removesuffix("_bucket") for name in asked} - GIVEN_BY_OTHERS <= families
    assert asked >= {"pinrail_version", "pinrail_deployments_total", "pinrail_deployment_seconds_bucket"}


def test_panels_lie_side_by_side_and_each_has_a_name_and_a_source() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= COLUMNS
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in panels()}) == len({panel["title"] for panel in panels()}) == len(panels())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: Debian's prometheus")
def test_prometheus_itself_accepts_the_rules_and_the_panels_queries(tmp_path: Path) -> None:
    plain = [re.sub(r"\$(environment|model)", ".*", expr) for expr in expressions()]
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(plain)]
    queries = tmp_path / "queries.yaml"
    queries.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", ALERTS, queries], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
