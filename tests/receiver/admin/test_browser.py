"""The actions as a person submits them in a browser, and whether everybody can read and use the pages."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.admin.app import admin_config
from receiver.core.deployment import Cause, Draft
from receiver.core.state import Slot
from receiver.daemon.listener import Listener
from receiver.planning.status import SlotStatus, StatusReport
from tests.support.acting import PATH, TOKEN, Acting
from tests.support.axe import violations
from tests.support.chromium import Page, browser, find_browser

pytestmark = [pytest.mark.skipif(find_browser() is None, reason="needs Chromium"), pytest.mark.long]
FORMS = ("promote", "rollback", "hold", "retry", "fetch")


def submit(tab: Page, acting: Acting, name: str, **fields: str) -> str:
    """Go to the model's page, choose the action, fill its form in, send it; returns what is said then."""
    tab.open(f"{str(acting.client.base_url).rstrip('/')}{PATH}", 390)
    tab.follow(f"document.querySelector('.actions a[href$=\"/{name}\"]').click()")
    for field, value in {"who": "Ann", "token": TOKEN, **fields}.items():
        tab.run(f"document.querySelector('[name={field}]').value = {json.dumps(value)}")
    tab.follow("document.querySelector('.form button').click()")
    return str(tab.run("document.querySelector('main').innerText"))


def test_hold_resume_roll_back_and_retry_are_submitted_in_a_browser(acting: Acting) -> None:
    journal = acting.scenario.services.journal
    with browser(find_browser() or "") as tab:
        assert "Nothing was done." in submit(tab, acting, "hold", reason="audit", token="a guess")
        assert journal.frozen() == []
        assert "staging/churn-model is held" in submit(tab, acting, "hold", reason="audit")
        assert [freeze.reason for freeze in journal.frozen()] == ["audit"]
        assert "is not held any more" in submit(tab, acting, "resume")
        assert journal.frozen() == []
        assert "v2 is held, and the receiver restores v1" in submit(tab, acting, "rollback", reason="wrong answers")
        acting.scenario.run()
        assert acting.scenario.flow.serving()["staging"] == 1
        assert "lifted: staging/churn-model" in submit(tab, acting, "retry")
        assert journal.quarantined() == []
    assert [action for _, action in acting.recorded()] == ["retry", "roll back", "resume", "hold"]


def test_a_form_that_is_not_filled_in_is_not_sent(acting: Acting) -> None:
    with browser(find_browser() or "") as tab:
        tab.open(f"{str(acting.client.base_url).rstrip('/')}{PATH}/hold", 390)
        tab.run("document.querySelector('.form button').click()")
        assert tab.run("document.querySelector('[name=reason]').matches(':invalid')") is True
        assert tab.run("location.pathname") == f"{PATH}/hold"
    assert acting.recorded() == []


@pytest.fixture
def longest_names(tmp_path: Path) -> Iterator[str]:
    """The address of a dashboard of which every text is as long as it may be."""
    environment, model = "e" * 64, "m" * 64
    database = Database(tmp_path / "pinrail.db")
    draft = Draft(Slot(environment, model), 5, 6, None, "1f" * 20, Cause.read("push"), "w" * 300, [])
    SqliteJournal(database).open(draft)
    row = SlotStatus(environment, model, 123456789, 6, 6, 5, "waiting", "r" * 400, "http://127.0.0.1:8001", 0.0, None)
    report = StatusReport("1f" * 20, None, [replace(row, eligible="2026-11-28T14:32:00Z")])
    listener = Listener(admin_config(database, lambda: report, 0), "admin")
    listener.start()
    yield f"http://127.0.0.1:{listener.port}"
    listener.stop()
    database.close()


def test_the_longest_names_make_no_page_wider_than_the_window(longest_names: str) -> None:
    with browser(find_browser() or "") as tab:
        for path in (
            "/",
            f"/models/{'e' * 64}/{'m' * 64}",
            "/deployments",
            "/deployments/1",
            f"/versions/{'m' * 64}/6",
        ):
            for width in (390, 1280):
                tab.open(longest_names + path, width)
                assert tab.overflow() <= 0, (path, width)


def test_everybody_can_use_the_forms_at_any_width_in_light_and_dark(acting: Acting) -> None:
    with browser(find_browser() or "") as tab:
        for path in (PATH, *(f"{PATH}/{name}" for name in FORMS)):
            for width, dark in ((390, True), (768, False), (1280, False)):
                tab.open(f"{str(acting.client.base_url).rstrip('/')}{path}", width, dark=dark)
                assert tab.overflow() <= 0, (path, width)
                assert violations(tab) == [], (path, width)
