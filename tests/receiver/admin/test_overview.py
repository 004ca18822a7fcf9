"""The overview: what needs attention comes first, filters live in the URL, and months of history cost nothing."""

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from receiver.adapters.sqlite.queries import Event
from receiver.admin.app import admin_config
from receiver.admin.overview import Cell, OverviewFilter, overview, troubles
from receiver.admin.strip import DAY_SECONDS, DAYS, NOTHING, strip
from receiver.core.deployment import Outcome
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.daemon.listener import Listener
from receiver.planning.status import SlotStatus
from tests.support.chromium import browser, find_browser
from tests.support.journal_of_months import fill

NOW = 1_700_000_000.0


def status(place: str, state: str = "in sync", reason: str = "", **changes: Any) -> SlotStatus:
    environment, model = place.split("/")
    values = {"pinned": 6, "alias_version": 6, "stage_version": 6, "serving_version": 6, **changes}
    return SlotStatus(environment, model, **values, state=state, reason=reason, url=None, since=NOW, verified=None)


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """10,000 deployments in 200 slots."""
    database, report = fill(tmp_path_factory.mktemp("months") / "pinrail.db", 10_000, 100)
    listener = Listener(admin_config(database, lambda: report, 0, Redactor()), "admin")
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.port}") as client:
        yield client
    listener.stop()
    database.close()


def arranged(rows: list[SlotStatus], **wanted: Any) -> list[str]:
    found = overview(rows, OverviewFilter(**wanted), lambda row: Cell(row, None, NOTHING))
    return [line.model for line in found.models]


def test_broken_models_come_first_then_busy_ones_then_the_rest_by_name() -> None:
    rows = [
        status("staging/b"),
        status("staging/a"),
        status("staging/z", "deploying"),
        status("production/y", "rolled-back"),
        status("production/x", "needs-human"),
        status("staging/x"),
    ]
    assert arranged(rows) == ["x", "y", "z", "a", "b"]


def test_a_sentence_that_is_true_of_several_slots_is_said_once() -> None:
    rows = [status(f"staging/m{number}", "unknown", "MLflow cannot be reached\nmore") for number in range(3)]
    rows.append(status("staging/fine"))
    [trouble] = troubles(rows)
    assert trouble.sentence == "MLflow cannot be reached"
    assert trouble.slots == [Slot("staging", f"m{number}") for number in range(3)]


def events(*found: tuple[float, Outcome, int | None, str]) -> list[Event]:
    return [Event(NOW - days * DAY_SECONDS, state, version, cause) for days, state, version, cause in found]


def bars(paths: Any, tone: str) -> int:
    return dict(paths).get(tone, "").count("M")


def test_the_strip_has_a_bar_for_each_day_on_which_something_was_live() -> None:
    drawn = strip(None, events((9.5, Outcome.LIVE, 3, "push")), NOW)
    assert bars(drawn.paths, "good") == 10
    assert drawn.text == "30 days: 1 new version, 0 rollbacks, 0 restorations"
    assert bars(strip(3, [], NOW).paths, "good") == DAYS
    assert strip(None, [], NOW).paths == ()


def test_the_strip_shows_the_worst_of_each_day_and_nothing_after_a_removal() -> None:
    drawn = strip(
        3,
        events(
            (20.5, Outcome.ROLLED_BACK, 4, "push"),
            (20.4, Outcome.LIVE, 3, "drift"),
            (10.5, Outcome.LIVE, 3, "drift"),
            (5.5, Outcome.LIVE, None, "push"),
        ),
        NOW,
    )
    assert (bars(drawn.paths, "bad"), bars(drawn.paths, "warn")) == (1, 1)
    assert bars(drawn.paths, "good") == DAYS - 5 - 2


def test_a_search_and_a_state_in_the_url_choose_what_is_shown_and_stay_in_the_links(months: httpx.Client) -> None:
    page = months.get("/", params={"q": "churn", "state": "trouble"}).text
    shown = re.findall(r'<th scope="row">([^<]+)</th>', page)
    assert shown
    assert all("churn" in model for model in shown)
    assert 'value="churn"' in page
    assert 'href="/?q=churn&amp;state=busy"' in page
    healthy = re.search(r"healthy <b>(\d+)</b>", page)
    assert healthy is not None
    assert int(healthy[1]) > 0
    assert "Nothing fits" in months.get("/", params={"q": "no such model"}).text
    assert months.get("/", params={"state": "lost"}).status_code == 422


def test_the_first_byte_comes_at_once_with_10000_deployments_in_200_slots(months: httpx.Client) -> None:
    def seconds() -> float:
        begin = time.perf_counter()
        with months.stream("GET", "/") as response:
            taken = time.perf_counter() - begin
            assert len(re.findall(r'<th scope="row">', response.read().decode())) == 100
        return taken

    seconds()
    # The promise is 100 ms. On a machine that other tests load, the best of many still has to keep it.
    assert min(seconds() for _ in range(20)) < 0.1


@pytest.mark.skipif(find_browser() is None, reason="needs Chromium")
def test_no_page_is_wider_than_the_window_in_a_browser_at_any_width(months: httpx.Client) -> None:
    with browser(find_browser() or "") as page:
        for width in (390, 768, 1280):
            for path in ("/?q=fraud", "/deployments", "/deliveries"):
                for dark in (False, True):
                    page.open(f"{str(months.base_url).rstrip('/')}{path}", width, dark=dark, script=not dark)
                    assert page.overflow() <= 0, (path, width)
