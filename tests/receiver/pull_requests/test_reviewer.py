"""Plans on pull requests: one comment and one status each, true at every look, and written only where they differ."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from ml.environment.file import parse_environment
from receiver.core.errors import Retryable
from receiver.github_wiring import public_redactor
from receiver.ports import Snapshot
from receiver.pull_requests.reviewer import Reviewer
from receiver.settings import Settings
from receiver.wiring import build_registry
from tests.support.flow import MODEL
from tests.support.git_repos import git
from tests.support.github_server import Fault
from tests.support.github_spec import require_description
from tests.support.ports import free_port
from tests.support.promotion_scenario import SIGNED
from tests.support.review import Review, reviewing

require_description()

STAGING_FILE, PRODUCTION_FILE = "environments/staging.yaml", "environments/production.yaml"


@pytest.fixture
def review(tmp_path: Path) -> Iterator[Review]:
    with reviewing(tmp_path) as review:
        yield review


def test_a_promotion_gets_a_plan_and_a_green_status(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.run_plans()
    said = review.comment(number)
    assert said.startswith("<!-- pinrail:plan -->\n### Pinrail plan: ✅ can be merged")
    assert "staging/churn-model v1 -&gt; v2" in said
    assert "v2 would start beside v1 and take over port 8000" in said
    assert "start v2: - -&gt; candidate" in said
    assert "production" not in said
    assert review.status(number) == ("success", "staging/churn-model v1 -> v2")
    assert review.flow.serving() == {"staging": 1, "production": 1}, "a plan deploys nothing"


def test_a_look_at_what_stayed_the_same_costs_one_call(review: Review) -> None:
    review.open(review.flow.files(2, 1))
    review.run_plans()
    before = len(review.hosted.calls)
    review.run_plans()
    assert review.hosted.calls[before:] == ["GET /repos/{owner}/{repo}/pulls"]


def test_a_version_that_a_plan_needs_is_downloaded_once(review: Review) -> None:
    before = list(review.flow.registry.fetches)
    review.open(review.flow.files(2, 1))
    review.open(review.flow.files(2, 2))
    for _ in range(2):
        review.run_plans()
        review.restart()
    assert review.flow.registry.fetches[len(before) :] == [(MODEL, 2)]


def test_a_pull_request_that_asks_for_many_versions_has_few_of_them_downloaded(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.pull_requests.plan_pull_request.MOST_VERSIONS", 1)
    before = list(review.flow.registry.fetches)
    number = review.open(review.flow.files(2, 3))
    review.run_plans()
    assert review.flow.registry.fetches[len(before) :] == [(MODEL, 2)]
    said = review.comment(number)
    assert "v2 would start beside v1" in said
    assert "not planned: a plan downloads at most 50 versions, and this one asks for more" in said
    assert review.status(number)[0] == "failure"


def test_a_receiver_that_starts_again_finds_its_comment_and_adds_none(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.run_plans()
    writes = len(review.hosted.writes())
    review.restart()
    review.run_plans()
    assert len(review.hosted.writes()) == writes
    assert len(review.comments(number)) == 1


def test_a_new_commit_is_planned_anew_in_the_same_comment(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.run_plans()
    review.push(number, review.flow.files(3, 1))
    review.run_plans()
    assert "v1 -&gt; v3" in review.comment(number)
    assert review.status(number) == ("success", "staging/churn-model v1 -> v3")


def test_evidence_that_comes_later_turns_red_into_green(review: Review) -> None:
    flow = review.flow
    version = flow.registry.register(MODEL, {"MLmodel": "v4"})
    number = review.open(flow.files(version, 1))
    review.run_plans()
    state, description = review.status(number)
    assert state == "failure"
    assert "has no evidence for staging" in description
    assert "❌ would be refused" in review.comment(number)
    flow.registry.record(flow.evidence(version, parse_environment(flow.files(1, 1)[STAGING_FILE], STAGING_FILE)))
    review.run_plans()
    assert review.status(number)[0] == "success"


def test_a_version_that_failed_the_gate_is_red_with_the_check(review: Review) -> None:
    review.flow.register(4, passing=False)
    number = review.open(review.flow.files(4, 1))
    review.run_plans()
    assert "does not pass the gate of staging" in review.status(number)[1]
    assert "| accuracy | ❌ **fail** | 0.7 |" in review.comment(number)


def test_a_base_that_moves_is_planned_against(review: Review) -> None:
    number = review.open(review.flow.files(1, 2))
    review.run_plans()
    assert review.status(number)[0] == "failure"
    assert "promote it to staging before production" in review.comment(number)
    review.merge(review.flow.files(2, 1))
    review.run_plans()
    assert review.status(number) == ("success", "production/churn-model v1 -> v2")
    assert "staging/churn-model" not in review.comment(number), "what main has already is no change"


def test_a_soak_is_pending_and_turns_green_by_itself(tmp_path: Path) -> None:
    with reviewing(tmp_path, soak="30m") as review:
        review.merge(review.flow.files(2, 1))
        number = review.open(review.flow.files(2, 2))
        until = review.run_plans()
        assert 0 < until - time.time() <= 1800
        state, description = review.status(number)
        assert state == "pending"
        assert "has to stay live in staging for 30m first; that is at" in description
        assert "Soak: live in staging since" in review.comment(number)
        writes = len(review.hosted.writes())
        assert review.run_plans() == until
        assert len(review.hosted.writes()) == writes, "the time that passes is no news"
        with review.flow.database.transaction() as db:
            db.execute("UPDATE deployments SET ended_at = ended_at - 1800")
        assert review.run_plans() == math.inf
        assert review.status(number)[0] == "success"
        assert "Soak: done" in review.comment(number)


def test_files_that_are_not_valid_are_red_with_file_and_line(review: Review) -> None:
    text = review.flow.files(2, 1)[STAGING_FILE].decode().replace("version: 2", "version: 010")
    number = review.open({STAGING_FILE: text})
    review.run_plans()
    state, description = review.status(number)
    assert state == "failure"
    assert description.startswith("environments/staging.yaml:5: models.churn-model.version: found")
    assert "❌ the files are not valid" in review.comment(number)
    assert "environments/staging.yaml:5:" in review.comment(number)


def test_a_removed_environment_is_red_and_a_removed_pin_says_what_ends(review: Review) -> None:
    gone = review.open({STAGING_FILE: None})
    emptied = review.open(review.flow.files(1, None))
    review.run_plans()
    assert "put the file back" in review.comment(gone)
    assert review.status(emptied) == ("success", "production/churn-model v1 -> nothing")
    assert "The server of v1 would stop" in review.comment(emptied)


def test_a_conflict_with_main_is_red(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.merge(review.flow.files(3, 1))
    review.run_plans()
    assert review.status(number)[0] == "failure"
    assert "changes on both sides" in review.comment(number)


def test_a_pull_request_that_repairs_main_is_planned(review: Review) -> None:
    good = review.flow.files(2, 1)
    review.origin.commit({STAGING_FILE: "environment: ["})
    number = review.open(good)
    review.run_plans()
    assert review.status(number) == (
        "success",
        "staging/churn-model v1 -> v2; production/churn-model v1, with other settings",
    )


def test_what_does_not_touch_the_environments_gets_a_green_status_and_no_comment(review: Review) -> None:
    number = review.open({"README.md": "hello", "environments/README.md": "more"})
    other = review.open(review.flow.files(2, 1))
    review.hosted.pulls[other]["base"] = "elsewhere"
    review.run_plans()
    assert review.status(number) == ("success", "changes no pins")
    assert review.comments(number) == []
    written = review.hosted.writes()
    assert len(written) == 1
    review.run_plans()
    review.restart()
    review.run_plans()
    assert review.hosted.writes() == written


def test_a_pull_request_that_drops_its_change_of_pins_shows_no_old_plan(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.run_plans()
    review.push(number, review.flow.files(1, 1))
    review.hosted.files[number] = [{"filename": "README.md"}]
    review.run_plans()
    assert review.status(number) == ("success", "changes no pins")
    assert "nothing would be started or stopped" in review.comment(number)


def test_comments_in_a_file_change_nothing_and_say_so(review: Review) -> None:
    text = review.flow.files(1, 1)[STAGING_FILE] + b"# a thought\n"
    number = review.open({STAGING_FILE: text})
    review.run_plans()
    assert review.status(number) == ("success", "changes no pins")
    assert "nothing would be started or stopped" in review.comment(number)


def test_another_port_restarts_the_same_version(review: Review) -> None:
    text = review.flow.files(1, 1)[STAGING_FILE].replace(b"port: 8000", b"port: 8005")
    number = review.open({STAGING_FILE: text})
    review.run_plans()
    assert review.status(number) == ("success", "staging/churn-model v1, with other settings")
    assert "replaced by one with the new settings, on port 8005" in review.comment(number)


def test_an_override_is_shown(review: Review) -> None:
    review.flow.register(4, passing=False)
    why = "the <b>old</b> one is down, @everyone"
    text = (
        review.flow.files(4, 1)[STAGING_FILE]
        .decode()
        .replace("8000}", f'8000, override: {{version: 4, reason: "{why}"}}}}')
    )
    number = review.open({STAGING_FILE: text})
    review.run_plans()
    assert review.status(number)[0] == "success"
    assert "⚠️ An override waives gate and soak: the &lt;b&gt;old&lt;/b&gt;" in review.comment(number)
    assert "@everyone" not in review.comment(number)


def test_a_forks_pull_request_is_read_and_planned_like_any_other(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.hosted.pulls[number]["fork"] = "stranger/pins"
    review.run_plans()
    assert review.status(number)[0] == "success"


def test_a_symbolic_link_in_a_fork_is_read_as_nothing(review: Review) -> None:
    number = review.open({"x": "x"})
    review.hosted.files[number] = [{"filename": STAGING_FILE}]
    start = review.origin.head()
    review.origin.branch = review.hosted.pulls[number]["head"]
    malformed = review.origin.commit_entry(STAGING_FILE, "120000", review.origin.blob(b"/etc/passwd"))
    git(review.origin.path, "update-ref", f"refs/pull/{number}/head", malformed)
    review.origin.branch = "main"
    assert review.origin.head() == start
    review.run_plans()
    assert "a symbolic link" in review.comment(number)
    assert "root:" not in review.comment(number)


@pytest.mark.parametrize(
    "secret",
    ["a-secret-of-the-receiver", "its_other*secret|x", "https://me:pw12345@host/x", "ghp_" + "aB_3" * 9],
)
def test_secrets_are_in_no_comment_and_no_status(review: Review, secret: str) -> None:
    review.flow.registry.models[MODEL][2].status = f"lost for {secret} {'and more' * 200}"
    number = review.open(review.flow.files(2, 1))
    review.run_plans()
    assert review.status(number)[0] == "failure"
    shown = (review.comment(number) + review.status(number)[1]).replace("\\", "").replace("&#8203;", "")
    assert "lost for " in shown
    assert secret not in shown
    assert "pw12345" not in shown


def test_a_head_that_cannot_be_fetched_yet_is_planned_once_it_can(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.run_plans()
    earlier = review.hosted.head_of(review.hosted.pulls[number]["head"])
    review.push(number, review.flow.files(3, 1))
    with review.lagging(number, earlier):
        assert review.run_plans() < time.time() + 60, "and soon again"
        assert "v1 -&gt; v2" in review.comment(number), "nothing is said of what nobody has seen"
    review.run_plans()
    assert review.status(number) == ("success", "staging/churn-model v1 -> v3")


def test_a_conflict_that_a_new_head_has_solved_is_not_held_against_it(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    earlier = review.hosted.head_of(review.hosted.pulls[number]["head"])
    review.merge(review.flow.files(3, 1))
    solved = review.origin.commit(dict(review.flow.files(2, 1)))
    git(review.origin.path, "update-ref", f"refs/heads/{review.hosted.pulls[number]['head']}", solved)
    review.origin.reset(f"{solved}^")
    with review.lagging(number, earlier):
        review.run_plans()
    review.run_plans()
    assert review.status(number) == ("success", "staging/churn-model v3 -> v2")


def test_a_pull_request_that_cannot_be_fetched_yet_is_not_called_wrong(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    with review.lagging(number, None):
        with pytest.raises(Retryable, match="no pull request"):
            review.run_plans()
        assert review.hosted.writes() == []
    review.run_plans()
    assert review.status(number)[0] == "success"


def test_a_registry_that_is_away_is_pending_and_not_red(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.flow.registry.reachable = False
    review.run_plans()
    assert review.status(number) == (
        "pending",
        "staging/churn-model v1 -> v2: the registry did not answer",
    )
    review.flow.registry.reachable = True
    review.run_plans()
    assert review.status(number)[0] == "success"


def test_what_github_did_not_take_is_published_at_the_next_reconciliation(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.hosted.faults += [None, None, Fault(503)]
    with pytest.raises(Retryable):
        review.run_plans()
    review.hosted.faults += [None, None, Fault(lost=True)]
    with pytest.raises(Retryable):
        review.run_plans()
    review.run_plans()
    assert len(review.comments(number)) == 1
    assert review.status(number)[0] == "success"


def test_one_pull_request_that_cannot_be_published_delays_none_of_the_others(review: Review) -> None:
    first, second = review.open(review.flow.files(2, 1)), review.open(review.flow.files(3, 1))
    review.hosted.faults += [None, None, None, Fault(422)]
    review.run_plans()
    assert (review.comments(first), len(review.comments(second))) == ([], 1)


@pytest.mark.parametrize("fault", [Fault(422), Fault(502)], ids=["a diff too large", "one that takes too long"])
def test_one_whose_files_github_cannot_list_delays_none_of_the_others(review: Review, fault: Fault) -> None:
    first, second = review.open(review.flow.files(2, 1)), review.open(review.flow.files(3, 1))
    review.hosted.faults += [None, fault]
    with suppress(Retryable):
        review.run_plans()
    assert bool(review.comments(first)) == (fault.status == 422), "git knows what it changes"
    assert review.status(second) == ("success", "staging/churn-model v1 -> v3")


def test_one_that_meets_a_bug_delays_none_of_the_others(review: Review, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = review.open(review.flow.files(2, 1)), review.open(review.flow.files(3, 1))
    real = review.source.pull_request

    def malformed(number: int) -> Snapshot:
        if number == first:
            raise KeyError(number)
        return real(number)

    monkeypatch.setattr(review.source, "pull_request", malformed)
    review.run_plans()
    assert review.status(second)[0] == "success"


def test_where_the_conversation_is_locked_the_status_is_reported_all_the_same(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    locked = Fault(403, body=b'{"message": "Unable to create comment because issue is locked."}')
    review.hosted.faults += [None, None, None, locked]
    review.run_plans()
    assert review.comments(number) == []
    assert review.status(number) == ("success", "staging/churn-model v1 -> v2")


def test_a_rate_limit_ends_the_look_with_the_time_to_come_back(review: Review) -> None:
    review.open(review.flow.files(2, 1))
    review.open(review.flow.files(3, 1))
    review.hosted.faults += [None, None, None, Fault(403, {"retry-after": "77"})]
    with pytest.raises(Retryable) as caught:
        review.run_plans()
    assert caught.value.after == 77
    assert review.hosted.writes() == []


def test_a_closed_pull_request_is_no_longer_planned(review: Review) -> None:
    number = review.open(review.flow.files(2, 1))
    review.hosted.pulls[number]["state"] = "closed"
    assert review.run_plans() == math.inf
    assert review.hosted.writes() == []


def test_a_plan_does_not_name_the_registrys_address(review: Review, tmp_path: Path) -> None:
    port = free_port()
    settings = Settings(mlflow_tracking_uri=f"http://user:pass@127.0.0.1:{port}/registry", pinrail_state_dir=tmp_path)
    github = replace(review.github, redact=public_redactor(settings))
    reviewer = Reviewer(replace(review.flow.services, registry=build_registry(settings)), github)
    number = review.open(review.flow.files(2, 1))
    reviewer.run(threading.Event())
    state, description = review.status(number)
    assert state == "pending"
    assert "MLflow at http://***@***/registry cannot be reached" in description
    for text in (description, review.comment(number)):
        assert str(port) not in text
        assert "127.0.0.1" not in text


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("log: {drop: [tenrue]}", "log.drop names tenrue, which this version does not have: did you mean tenure?"),
        ("log: {hash: [email]}", "log.hash names email, which this version does not have: check its spelling"),
        ("log: {hash: [tenure]}", None),
    ],
)
def test_a_private_column_that_the_version_does_not_have_is_named(review: Review, log: str, said: str | None) -> None:
    version = review.flow.registry.register(MODEL, {"MLmodel": SIGNED.format(kind="long", version=9)})
    review.flow.record(version)
    files = review.flow.files(version, 1)
    number = review.open({**files, STAGING_FILE: files[STAGING_FILE] + log.encode()})
    review.run_plans()
    comment = review.comment(number)
    assert ("⚠️" in comment) is (said is not None)
    assert said is None or said in comment.replace("\\", "")


@pytest.mark.parametrize(("answers", "named"), [("float64", True), ("int64", False)])
def test_labels_that_can_decide_nothing_about_a_version_are_named(review: Review, answers: str, named: bool) -> None:
    described = SIGNED.format(kind="long", version=9).replace("int64", answers)
    version = review.flow.registry.register(MODEL, {"MLmodel": described})
    review.flow.record(version)
    asks = b"policy: {live: {accuracy: {min: 0.8}}}\nlog: {}\n"
    files = review.flow.files(version, 1)
    number = review.open({**files, STAGING_FILE: files[STAGING_FILE] + asks})
    review.run_plans()
    said = "labels never decide for this version: it answers with double values"
    assert (said in review.comment(number).replace("\\", "")) is named


def test_a_change_of_the_log_is_a_change_of_the_server(review: Review) -> None:
    files = review.flow.files(1, 1)
    number = review.open({**files, STAGING_FILE: files[STAGING_FILE] + b"log: {}"})
    review.run_plans()
    assert "would be replaced by one with the new settings" in review.comment(number)
