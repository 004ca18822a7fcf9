"""``pinrail promote``: what it refuses, what it proposes, and that asking again changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import Journal
from receiver.core.errors import Rejected, Retryable
from receiver.pull_requests.advance import advance
from receiver.pull_requests.promotion import Change
from tests.support.flow import MODEL
from tests.support.github_server import FakeGitHub
from tests.support.github_spec import require_description
from tests.support.road import Road

require_description()

SIX = Change(MODEL, 2, "production")


@pytest.fixture
def road(tmp_path: Path, github: FakeGitHub, url: str) -> Road:
    """Version 1 is live everywhere, version 2 in staging."""
    road = Road(tmp_path, url, github)
    road.register("long", "double")
    road.pin(1, 1)
    road.run()
    road.pin(2, 1)
    road.run()
    return road


def test_a_promotion_is_opened_with_everything_that_speaks_for_or_against_it(road: Road) -> None:
    proposed = advance(road.services, road.forge, SIX)
    assert proposed.pull is not None
    assert proposed.pull.title == "Promote churn-model v2 to production (was v1)"
    assert proposed.pull.branch == "promote/churn-model-v2-to-production"
    body = proposed.pull.body
    assert "| accuracy | 0.79 | 0.8 | +0.01 |" in body
    assert "<code>tenure</code> was long, required, now double, required" in body
    assert "| accuracy | ✅ pass | 0.81 | &gt;= 0.8 |" in body
    assert "| run | <code>run-1</code> | <code>run-2</code> |" in body


def test_asking_again_changes_nothing(road: Road) -> None:
    first = advance(road.services, road.forge, SIX)
    writes = len(road.github.writes())
    second = advance(road.services, road.forge, SIX)
    assert second.pull == first.pull
    assert second.promotion.existing
    assert len(road.github.writes()) == writes


def test_merging_it_is_the_promotion(road: Road) -> None:
    proposed = advance(road.services, road.forge, SIX)
    assert proposed.pull is not None
    assert road.forge.pulls is not None
    road.forge.pulls.merge(proposed.pull, proposed.pull.title)
    road.run()
    assert road.flow.serving() == {"staging": 2, "production": 2}


def test_a_newer_promotion_closes_the_older_one_with_a_comment(road: Road) -> None:
    older = advance(road.services, road.forge, SIX)
    road.register("double")
    road.pin(3, 1)
    road.run()
    newer = advance(road.services, road.forge, Change(MODEL, 3, "production"))
    assert older.pull is not None
    assert newer.pull is not None
    assert road.github.pulls[older.pull.number]["state"] == "closed"
    (comment,) = road.github.comments.values()
    assert comment["shown"]["body"].endswith(f"\nSuperseded by #{newer.pull.number}.")


def test_a_version_that_fails_the_gate_is_refused_before_anything_is_pushed(road: Road) -> None:
    road.register("double", passing=False)
    with pytest.raises(Rejected, match=r"does not pass the gate of staging: FAIL.*`override: \{version: 3, reason"):
        advance(road.services, road.forge, Change(MODEL, 3, "staging"))
    assert road.origin.branches() == ["main"]
    assert road.github.calls == []


def test_a_version_without_evidence_is_refused_with_what_to_run(road: Road) -> None:
    road.flow.registry.models[MODEL][2].evidence.clear()
    with pytest.raises(Rejected, match=r"has no evidence for production: run `python -m ml\.evaluate"):
        advance(road.services, road.forge, SIX)


def test_a_version_that_is_not_ready_or_not_there_is_refused(road: Road) -> None:
    with pytest.raises(Rejected, match="has no version 9") as refused:
        advance(road.services, road.forge, Change(MODEL, 9, "staging"))
    assert "override" not in str(refused.value)
    road.flow.registry.models[MODEL][2].status = "PENDING_REGISTRATION"
    with pytest.raises(Rejected, match="PENDING_REGISTRATION"):
        advance(road.services, road.forge, SIX)


def test_an_override_in_the_file_is_the_way_past_the_gate(road: Road) -> None:
    road.register("double", passing=False)
    files = road.flow.files(2, 1)
    path = "environments/staging.yaml"
    pin = b"{version: 2, port: 8000}"
    assert pin in files[path]
    files[path] = files[path].replace(pin, b'{version: 2, port: 8000, override: {version: 3, reason: "incident 7"}}')
    road.origin.commit(dict(files))
    proposed = advance(road.services, road.forge, Change(MODEL, 3, "staging"))
    assert proposed.notes == ["gate and soak are waived by an override: incident 7"]
    assert proposed.pull is not None
    assert "> gate and soak are waived by an override: incident 7" in proposed.pull.body


def test_a_version_that_only_soaks_is_proposed_and_says_until_when(
    tmp_path: Path, github: FakeGitHub, url: str
) -> None:
    road = Road(tmp_path, url, github, soak="30m")
    road.register("long", "long")
    road.pin(1, 1)
    road.run()
    road.pin(2, 1)
    road.run()
    proposed = advance(road.services, road.forge, SIX)
    (note,) = proposed.notes
    assert note.startswith(
        "churn-model v2 has to stay live in staging for 30m first; merged sooner, it waits until 20"
    )
    assert proposed.pull is not None
    assert advance(road.services, road.forge, SIX).pull == proposed.pull


def test_a_version_that_was_never_in_staging_is_refused_for_production(road: Road) -> None:
    road.register("double")
    with pytest.raises(Rejected, match="promote it to staging before production"):
        advance(road.services, road.forge, Change(MODEL, 3, "production"))


def test_where_no_receiver_ever_worked_the_soak_is_left_to_the_one_that_does(road: Road, tmp_path: Path) -> None:
    elsewhere = replace(road.services, journal=Journal(Database(tmp_path / "ci" / "pinrail.db")))
    proposed = advance(elsewhere, road.forge, SIX)
    assert "the receiver judges that before it deploys" in proposed.notes[0]
    road.flow.registry.models[MODEL][2].evidence.clear()
    with pytest.raises(Rejected, match="has no evidence"):
        advance(elsewhere, road.forge, SIX)


def test_what_failed_here_before_is_said(road: Road) -> None:
    road.register("double")
    road.flow.prober.rude.add(3)
    road.pin(3, 1)
    road.run()
    road.pin(2, 1)
    road.run()
    proposed = advance(road.services, road.forge, Change(MODEL, 3, "staging"))
    assert "v3 was rolled back here on " in proposed.notes[0]
    assert "v3 answered 500" in proposed.notes[0]


def test_without_a_token_the_branch_is_pushed_and_nobody_else_asked(road: Road) -> None:
    proposed = advance(road.services, replace(road.forge, pulls=None), SIX)
    assert proposed.pull is None
    assert road.origin.head(proposed.promotion.branch) == proposed.promotion.commit
    assert road.github.calls == []


def test_what_cannot_be_asked_now_is_worth_another_try(road: Road) -> None:
    road.flow.registry.reachable = False
    with pytest.raises(Retryable, match="registry did not answer"):
        advance(road.services, road.forge, SIX)
    road.flow.registry.reachable = True
    road.origin.vanish()
    with pytest.raises(Retryable):
        advance(road.services, road.forge, SIX)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Change(MODEL, 1, "production"), "production pins churn-model v1 already"),
        (Change(MODEL, 2, "prod"), "no environment 'prod': known are"),
        (Change("churn", 2, "production"), "no pin for 'churn': did you mean churn-model"),
    ],
)
def test_what_is_wrong_with_the_question_is_said(road: Road, change: Change, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        advance(road.services, road.forge, change)
