"""What can be done from the pages: with the token, from a page of ours, recorded, and as the command line does it."""

from pathlib import Path

import httpx
import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.queue import Queue
from receiver.admin.app import admin_config
from receiver.core.quarantine import Freeze
from receiver.daemon.listener import Listener
from receiver.planning.status import StatusReport
from tests.support.acting import PATH, ROW, TOKEN, Acting

ACTIONS = ("promote", "rollback", "hold", "retry", "fetch")


def test_each_action_asks_once_and_says_what_it_will_do(acting: Acting) -> None:
    assert f'href="{PATH}/promote"' in acting.client.get(PATH).text
    for name in ACTIONS:
        answer = acting.client.get(f"{PATH}/{name}")
        assert answer.status_code == 200
        assert 'type="password"' in answer.text
        assert "dashboard.js" not in answer.text  # a refresh would empty the form
    assert "restores v1 at once and holds v2" in acting.client.get(f"{PATH}/rollback").text
    assert acting.recorded() == []


def test_a_hold_and_its_end_are_recorded_with_who_asked(acting: Acting) -> None:
    answer = acting.post("hold", reason="audit <b>")
    assert "staging/churn-model is held" in answer.text
    [freeze] = acting.scenario.services.journal.frozen()
    assert (freeze.environment, freeze.model, freeze.reason) == ("staging", "churn-model", "audit <b>")
    page = acting.client.get(PATH).text
    assert "Ann (page)" in page
    assert "audit &lt;b&gt;" in page
    assert f'href="{PATH}/resume"' in page
    assert acting.post("resume").status_code == 200
    assert acting.scenario.services.journal.frozen() == []
    assert acting.recorded() == [("Ann (page)", "resume"), ("Ann (page)", "hold")]


def test_the_hold_of_a_whole_environment_is_ended_from_the_page_of_any_of_its_models(acting: Acting) -> None:
    acting.scenario.services.journal.freeze(Freeze("staging", None, "audit", 0.0))
    page = acting.client.get(PATH).text
    assert "The whole environment is held" in page
    assert f'href="{PATH}/resume-environment"' in page
    assert f'href="{PATH}/resume"' not in page
    assert "staging, the whole environment: new versions are deployed again. It is held for: audit" in (
        acting.client.get(f"{PATH}/resume-environment").text
    )
    assert acting.post("resume-environment").status_code == 200
    assert acting.scenario.services.journal.frozen() == []
    answer = acting.client.get(f"{PATH}/resume-environment").text
    assert "staging is not held" in answer
    assert 'type="password"' not in answer


def test_a_promotion_opens_the_pull_request_that_the_command_line_would(acting: Acting) -> None:
    answer = acting.post("promote", version="3")
    assert answer.status_code == 200, answer.text
    assert "its pull request is open" in answer.text
    assert [pull["title"] for pull in acting.scenario.github.pulls.values()] == [
        "Promote churn-model v3 to staging (was v2)"
    ]
    assert acting.recorded() == [("Ann (page)", "promote")]


def test_a_promotion_that_policy_refuses_says_why_and_leaves_nothing(acting: Acting) -> None:
    acting.scenario.register("long", passing=False)
    answer = acting.post("promote", version="4")
    assert answer.status_code == 409
    assert "does not pass the gate of staging" in answer.text
    assert acting.recorded() == []


def test_a_rollback_holds_the_pinned_version_and_leaves_the_rest_to_the_receiver(acting: Acting) -> None:
    answer = acting.post("rollback", reason="wrong answers")
    assert "v2 is held, and the receiver restores v1" in answer.text
    acting.scenario.run()
    assert acting.scenario.flow.serving()["staging"] == 1
    [held] = acting.scenario.services.journal.quarantined()
    assert (held.version, held.manual, held.reason) == (2, True, "wrong answers")
    assert acting.post("retry").status_code == 200
    assert acting.scenario.services.journal.quarantined() == []


def test_a_fetch_is_a_job_of_the_queue(acting: Acting) -> None:
    assert "fetches the branch head" in acting.post("fetch").text
    job = Queue(acting.scenario.flow.database).claim()
    assert job is not None
    assert job.cause == "request"


def test_without_the_token_nothing_is_done(acting: Acting) -> None:
    for token in ("", "wrong", TOKEN.upper()):
        answer = acting.post("hold", reason="x", token=token)
        assert answer.status_code == 401
    assert acting.scenario.services.journal.frozen() == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8001"},  # a model server's page, on another port of this machine
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_of_another_page_does_nothing_even_with_the_token(acting: Acting, headers: dict[str, str]) -> None:
    assert acting.post("hold", headers, reason="x").status_code == 403
    assert acting.scenario.services.journal.frozen() == []


def test_a_foreign_name_for_this_machine_does_nothing(acting: Acting) -> None:
    assert acting.post("hold", {"Host": "evil.example:9001"}, reason="x").status_code == 400


@pytest.mark.parametrize(
    ("name", "fields", "status"),
    [
        ("hold", {"reason": " "}, 400),
        ("hold", {"reason": "x", "who": "\x1b[31m"}, 400),
        ("promote", {"version": "0"}, 400),
        ("promote", {"version": "3; rm"}, 400),
        ("hold", {"reason": "x" * 20_000}, 413),
        ("resume", {}, 409),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_reason(
    acting: Acting, name: str, fields: dict[str, str], status: int
) -> None:
    answer = acting.post(name, None, **fields)
    assert answer.status_code == status
    assert "Nothing was done." in answer.text


def test_an_unknown_slot_or_action_is_not_found(acting: Acting) -> None:
    assert acting.client.get(f"{PATH}/destroy").status_code == 404
    assert acting.client.post(f"{PATH}/destroy", data={"token": TOKEN}).status_code == 404
    assert acting.client.post("/models/staging/other/hold", data={"token": TOKEN}).status_code == 404


def test_without_a_token_in_the_settings_there_are_no_actions(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")
    listener = Listener(admin_config(database, lambda: StatusReport("1f" * 20, None, [ROW]), 0), "admin")
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.port}") as client:
        assert "/hold" not in client.get(PATH).text
        assert client.post(f"{PATH}/hold", data={"reason": "x"}).status_code == 404
    listener.stop()
    database.close()
