"""One slot's trouble stays in its slot, whatever call to the outside it comes from, and whatever it is.

Which calls there are is not listed here: each scenario is run once without errors, and every call of the slot that
was made then fails in a run of its own.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from ml.environment.file import parse_environment
from ml.evidence import CheckOutcome, Evidence, Verdict, gate_digest
from receiver.admin.app import admin_app
from receiver.cli.commands.plan import plan_view
from receiver.core.backoff import Backoff
from receiver.core.errors import Retryable
from receiver.core.quarantine import Freeze
from receiver.core.redact import Redactor
from receiver.core.state import Role, Slot
from receiver.planning.observe import observe_head
from receiver.planning.status import status_report
from tests.support.evidence import KEY
from tests.support.flow import Flow
from tests.support.running_controller import Running, running
from tests.support.slot_faults import MESSAGE, PORTS, Call, SlotFaults, methods
from tests.support.waiting import eventually

VICTIM, OTHER, ABOVE = Slot("staging", "victim"), Slot("staging", "other"), Slot("production", "other")
NEEDS_PACKAGES, FAILS = 3, 4  # versions of the victim
ERRORS = (RuntimeError, OverflowError, RecursionError, MemoryError)

# What no slot calls for itself alone, or not in these scenarios. A new method of a port has its place here, or above.
SHARED = {
    "source": {"snapshot"},
    "registry": {"versions", "metrics", "lineage"},  # for pull requests and pages
    "target": {"exchange", "unverified_packages"},  # of several slots; where an environment locks packages
    "prober": set[str](),
    "outbox": {"put", "put_once"},  # messages travel with the journal's entries
    "journal": {
        *("running", "recent", "remember_pins", "remembered_pins", "published", "publish", "holds_version"),
        *("keep", "kept", "note_ways_back", "ways_back", "last_start"),  # of checks beside the flow
        *("touched", "taken_out", "lift", "freeze", "unfreeze"),  # of people, and of slots with nothing verified
    },
}


class TwoModels(Flow):
    """Two models, of which the other one is in production too. Version 1 of each is live."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        for model, count in (("victim", 4), ("other", 2)):
            for version in range(1, count + 1):
                self.registry.register(model, {"MLmodel": f"{model} {version}"})
                for path, raw in self.pins({"victim": 1}, 1).items():
                    environment = parse_environment(raw, path)
                    found = self.registry.models[model][version]
                    verdict = Verdict("accuracy", CheckOutcome.PASS, 0.81, ">=", 0.8)
                    about = model, version, environment.name, found.digest, "sha256:rows"
                    evidence = Evidence(
                        *about, gate_digest(environment.gate), (verdict,), time.time(), registered=found.created
                    )
                    self.registry.record(KEY.sign(evidence))
        self.target.packages[NEEDS_PACKAGES] = "xgboost"
        self.prober.failing_smoke.add(FAILS)
        self.source.commit(self.pins({"victim": 1}, 1))
        self.run()

    def pins(self, victim: Mapping[str, int], other: int, port: int = 8000) -> dict[str, bytes]:
        def text(name: str, models: str) -> bytes:
            gate = "gate: {accuracy: {min: 0.8}}"
            registry = f"registry: {{stage: {name.title()}, alias: {name}}}"
            return f"environment: {name}\n{registry}\n{gate}\nmodels:\n{models}".encode()

        pinned = "".join(f"  {model}: {{version: {version}, port: {port}}}\n" for model, version in victim.items())
        staging = text("staging", f"{pinned}  other: {{version: {other}, port: 8001}}\n")
        production = text("production", "  other: {version: 1, port: 8002}\n")
        return {"environments/staging.yaml": staging, "environments/production.yaml": production}

    def kill(self, slot: Slot) -> None:
        for server in self.target.observe():
            if server.spec.slot == slot and server.role is Role.LIVE:
                self.target.die(server)


def promoted(flow: TwoModels) -> None:
    flow.source.commit(flow.pins({"victim": NEEDS_PACKAGES}, 2))


def failing(flow: TwoModels) -> None:
    flow.source.commit(flow.pins({"victim": FAILS}, 2))


def died(flow: TwoModels) -> None:
    flow.source.commit(flow.pins({"victim": 1}, 2))
    flow.kill(VICTIM)


def removed(flow: TwoModels) -> None:
    flow.source.commit(flow.pins({}, 2))


def moved(flow: TwoModels) -> None:
    flow.source.commit(flow.pins({"victim": 1}, 2, port=8009))


def held(flow: TwoModels) -> None:
    flow.journal.freeze(Freeze("staging", "victim", "not now", time.time()))
    flow.source.commit(flow.pins({"victim": 2}, 2))


def released(flow: TwoModels) -> None:
    flow.source.commit(flow.pins({"victim": FAILS}, 1))
    flow.run()
    assert flow.journal.quarantined()
    flow.source.commit(flow.pins({"victim": 2}, 2))


SCENARIOS: Mapping[str, Callable[[TwoModels], None]] = {
    each.__name__: each for each in (promoted, failing, died, removed, moved, held, released)
}


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    soon = Backoff(first=0.02, longest=0.05)
    for name, value in {"TURN_SECONDS": 0.05, "START_OVER_SECONDS": 0.05, "CHECK_SECONDS": 0.01}.items():
        monkeypatch.setattr(f"receiver.reconciler.controller.{name}", value)
    for name in ("BACKOFF", "AGAIN", "CRASH_BACKOFF"):
        monkeypatch.setattr(f"receiver.reconciler.controller.{name}", soon)


END = {  # state and serving version
    "promoted": ("in sync", NEEDS_PACKAGES),
    "failing": ("rolled-back", 1),
    "died": ("in sync", 1),
    "removed": ("gone", None),
    "moved": ("in sync", 1),
    "held": ("held", 1),
    "released": ("in sync", 2),
}


@dataclass
class Trial:
    """One scenario at work."""

    flow: TwoModels
    faults: SlotFaults
    work: Running

    def row(self, slot: Slot) -> tuple[str, str, int | None]:
        """State, reason and serving version."""
        found = {(r.environment, r.model): r for r in self.work.status_board.report().slots}
        row = found.get((slot.environment, slot.model))
        return (row.state, row.reason, row.serving_version) if row is not None else ("gone", "", None)

    def others_are_well(self) -> bool:
        return self.row(OTHER)[0::2] == ("in sync", 2) and self.row(ABOVE)[0::2] == ("in sync", 1)

    def is_settled(self, end: tuple[str, int | None]) -> bool:
        state, _, serving = self.row(VICTIM)
        state = "in sync" if state == "degraded" else state  # it was started anew again and again, which is true
        return (state, serving) == end and not self.flow.journal.running()


@contextmanager
def trial(
    state: Path, scenario: str, failing_call: Call | None = None, error: type[Exception] = Exception
) -> Iterator[Trial]:
    flow = TwoModels(state)
    SCENARIOS[scenario](flow)
    faults = SlotFaults(VICTIM, (OTHER, ABOVE), failing_call, error)
    flow.services = faults.around(flow.services)
    with running(flow) as work:
        yield Trial(flow, faults, work)


def own_calls(state: Path, scenario: str) -> list[Call]:
    """What the slot asks the outside where nothing fails."""
    with trial(state, scenario) as found:
        eventually(found.others_are_well)
        eventually(lambda: found.is_settled(END[scenario]))
        return sorted(found.faults.seen)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_call_of_one_slot_fails_the_others_go_on_and_it_comes_back(tmp_path: Path, scenario: str) -> None:
    for number, call in enumerate(own_calls(tmp_path / "without", scenario)):
        error = ERRORS[number % len(ERRORS)]
        with trial(tmp_path / str(number), scenario, call, error) as found:
            try:
                _stays_alone(found, END[scenario])
                _pages_answer(found)
                _comes_back(found, END[scenario])
            except AssertionError as lost:
                rows = found.work.status_board.report().slots
                raise AssertionError(f"{error.__name__} at {'.'.join(call)}: {rows}") from lost


def _stays_alone(found: Trial, end: tuple[str, int | None]) -> None:
    eventually(lambda: found.faults.raised)
    eventually(found.others_are_well)
    found.flow.kill(ABOVE)
    eventually(lambda: found.flow.target.public_version(8002) == 1)
    eventually(found.others_are_well)
    eventually(lambda: MESSAGE in found.row(VICTIM)[1] or found.is_settled(end))


def _comes_back(found: Trial, end: tuple[str, int | None]) -> None:
    found.faults.failing = None
    if found.row(VICTIM)[0] in {"rolled-back", "needs-human"} - {end[0]}:  # what it answered could not be judged
        found.flow.journal.lift(VICTIM)  # as `pinrail retry` does
    eventually(lambda: found.is_settled(end))


def _pages_answer(found: Trial) -> None:
    services, seen = found.flow.services, observe_head(found.flow.services)
    slots = {(slot.environment, slot.model) for slot in seen.slots()}
    assert {(row.environment, row.model) for row in status_report(services, seen).slots} == slots
    assert {(row.environment, row.model) for row in plan_view(services).plan} == slots
    app = admin_app(found.flow.database, found.work.status_board.report, Redactor())
    asyncio.run(_open_pages(app))


async def _open_pages(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as admin:
        for page in ("/", "/models/staging/victim", "/api/environments", "/metrics"):
            assert (await admin.get(page)).status_code == 200
        assert (await admin.get("/readyz")).status_code in (200, 503)


def test_the_scenarios_reach_what_the_ports_can_do_for_a_slot(tmp_path: Path) -> None:
    reached = {call for scenario in SCENARIOS for call in own_calls(tmp_path / scenario, scenario)}
    for port in PORTS:
        assert {name for of, name in reached if of == port} | SHARED[port] >= set(methods(port)), port


def test_a_machine_without_a_thread_for_a_slot_gets_to_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = threading.Thread.start, []

    def no_thread(self: threading.Thread) -> None:
        if self.name == str(VICTIM) and len(refused) < 3:
            refused.append(self)
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with trial(tmp_path, "promoted") as found:
        eventually(found.others_are_well)
        eventually(lambda: found.is_settled(END["promoted"]))
    assert len(refused) == 3


def test_a_controller_that_cannot_take_a_turn_shows_no_old_status_as_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trial(tmp_path, "promoted") as found:
        eventually(found.others_are_well)
        broken = RuntimeError("no such table: quarantine")
        monkeypatch.setattr(found.flow.journal, "quarantined", lambda: (_ for _ in ()).throw(broken))
        eventually(lambda: _problem(found) == "the controller starts over: RuntimeError: no such table: quarantine")
        monkeypatch.undo()
        eventually(lambda: not _problem(found))
        monkeypatch.setattr("receiver.planning.status.SILENT_SECONDS", -1.0)
        assert "has not said anything" in _problem(found)


def _problem(found: Trial) -> str:
    try:
        found.work.status_board.report()
    except Retryable as error:
        return str(error)
    return ""
