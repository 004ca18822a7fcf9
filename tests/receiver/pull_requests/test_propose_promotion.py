"""``pinrail promote``: what it refuses, what it proposes, and that asking again changes nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.core.errors import Rejected, Retryable
from receiver.pull_requests.promotion import PinChange
from receiver.pull_requests.propose_promotion import propose_promotion
from tests.support.flow import MODEL
from tests.support.github_server import FakeGitHub
from tests.support.github_spec import require_description
from tests.support.promotion_scenario import PromotionScenario

require_description()

SIX = PinChange(MODEL, 2, "production")


@pytest.fixture
def scenario(tmp_path: Path, github: FakeGitHub, url: str) -> PromotionScenario:
    """Version 1 is live everywhere, version 2 in staging."""
    scenario = PromotionScenario(tmp_path, url, github)
    scenario.register("long", "double")
    scenario.pin(1, 1)
    scenario.run()
    scenario.pin(2, 1)
    scenario.run()
    return scenario


def test_a_promotion_is_opened_with_everything_that_speaks_for_or_against_it(scenario: PromotionScenario) -> None:
    proposed = propose_promotion(scenario.services, scenario.upstream, SIX)
    assert proposed.pull is not None
    assert proposed.pull.title == "Promote churn-model v2 to production (was v1)"
    assert proposed.pull.branch == "promote/churn-model-v2-to-production"
    body = proposed.pull.body
    assert "| accuracy | 0.79 | 0.8 | +0.01 |" in body
    assert "<code>tenure</code> was long, required, now double, required" in body
    assert "| accuracy | ✅ pass | 0.81 | &gt;= 0.8 |" in body
    assert "| run | <code>run-1</code> | <code>run-2</code> |" in body


def test_asking_again_changes_nothing(scenario: PromotionScenario) -> None:
    first = propose_promotion(scenario.services, scenario.upstream, SIX)
    writes = len(scenario.github.writes())
    second = propose_promotion(scenario.services, scenario.upstream, SIX)
    assert second.pull == first.pull
    assert second.promotion.existing
    assert len(scenario.github.writes()) == writes


def test_merging_it_is_the_promotion(scenario: PromotionScenario) -> None:
    proposed = propose_promotion(scenario.services, scenario.upstream, SIX)
    assert proposed.pull is not None
    assert scenario.upstream.pulls is not None
    scenario.upstream.pulls.merge(proposed.pull, proposed.pull.title)
    scenario.run()
    assert scenario.flow.serving() == {"staging": 2, "production": 2}


def test_a_newer_promotion_closes_the_older_one_with_a_comment(scenario: PromotionScenario) -> None:
    older = propose_promotion(scenario.services, scenario.upstream, SIX)
    scenario.register("double")
    scenario.pin(3, 1)
    scenario.run()
    newer = propose_promotion(scenario.services, scenario.upstream, PinChange(MODEL, 3, "production"))
    assert older.pull is not None
    assert newer.pull is not None
    assert scenario.github.pulls[older.pull.number]["state"] == "closed"
    (comment,) = scenario.github.comments.values()
    assert comment["shown"]["body"].endswith(f"\nSuperseded by #{newer.pull.number}.")


def test_a_version_that_fails_the_gate_is_refused_before_anything_is_pushed(scenario: PromotionScenario) -> None:
    scenario.register("double", passing=False)
    with pytest.raises(Rejected, match=r"does not pass the gate of staging: FAIL.*`override: \{version: 3, reason"):
        propose_promotion(scenario.services, scenario.upstream, PinChange(MODEL, 3, "staging"))
    assert scenario.origin.branches() == ["main"]
    assert scenario.github.calls == []


def test_a_version_without_evidence_is_refused_with_what_to_run(scenario: PromotionScenario) -> None:
    scenario.flow.registry.models[MODEL][2].evidence.clear()
    with pytest.raises(Rejected, match=r"has no evidence for production: run `python -m ml\.evaluate"):
        propose_promotion(scenario.services, scenario.upstream, SIX)


def test_a_version_that_is_not_ready_or_not_there_is_refused(scenario: PromotionScenario) -> None:
    with pytest.raises(Rejected, match="has no version 9") as refused:
        propose_promotion(scenario.services, scenario.upstream, PinChange(MODEL, 9, "staging"))
    assert "override" not in str(refused.value)
    scenario.flow.registry.models[MODEL][2].status = "PENDING_REGISTRATION"
    with pytest.raises(Rejected, match="PENDING_REGISTRATION"):
        propose_promotion(scenario.services, scenario.upstream, SIX)


def test_an_override_in_the_file_is_the_way_past_the_gate(scenario: PromotionScenario) -> None:
    scenario.register("double", passing=False)
    files = scenario.flow.files(2, 1)
    path = "environments/staging.yaml"
    pin = b"{version: 2, port: 8000}"
    assert pin in files[path]
    files[path] = files[path].replace(pin, b'{version: 2, port: 8000, override: {version: 3, reason: "incident 7"}}')
    scenario.origin.commit(dict(files))
    proposed = propose_promotion(scenario.services, scenario.upstream, PinChange(MODEL, 3, "staging"))
    assert proposed.notes == ["gate and soak are waived by an override: incident 7"]
    assert proposed.pull is not None
    assert "> gate and soak are waived by an override: incident 7" in proposed.pull.body


def test_a_version_that_only_soaks_is_proposed_and_says_until_when(
    tmp_path: Path, github: FakeGitHub, url: str
) -> None:
    scenario = PromotionScenario(tmp_path, url, github, soak="30m")
    scenario.register("long", "long")
    scenario.pin(1, 1)
    scenario.run()
    scenario.pin(2, 1)
    scenario.run()
    proposed = propose_promotion(scenario.services, scenario.upstream, SIX)
    (note,) = proposed.notes
    assert note.startswith(
        "churn-model v2 has to stay live in staging for 30m first; merged sooner, it waits until 20"
    )
    assert proposed.pull is not None
    assert propose_promotion(scenario.services, scenario.upstream, SIX).pull == proposed.pull


def test_a_version_that_was_never_in_staging_is_refused_for_production(scenario: PromotionScenario) -> None:
    scenario.register("double")
    with pytest.raises(Rejected, match="promote it to staging before production"):
        propose_promotion(scenario.services, scenario.upstream, PinChange(MODEL, 3, "production"))


def test_where_no_receiver_ever_worked_the_soak_is_left_to_the_one_that_does(
    scenario: PromotionScenario, tmp_path: Path
) -> None:
    elsewhere = replace(scenario.services, journal=SqliteJournal(Database(tmp_path / "ci" / "pinrail.db")))
    proposed = propose_promotion(elsewhere, scenario.upstream, SIX)
    assert "the receiver judges that before it deploys" in proposed.notes[0]
    scenario.flow.registry.models[MODEL][2].evidence.clear()
    with pytest.raises(Rejected, match="has no evidence"):
        propose_promotion(elsewhere, scenario.upstream, SIX)


def test_what_failed_here_before_is_said(scenario: PromotionScenario) -> None:
    scenario.register("double")
    scenario.flow.prober.failing_smoke.add(3)
    scenario.pin(3, 1)
    scenario.run()
    scenario.pin(2, 1)
    scenario.run()
    proposed = propose_promotion(scenario.services, scenario.upstream, PinChange(MODEL, 3, "staging"))
    assert "v3 was rolled back here on " in proposed.notes[0]
    assert "v3 answered 500" in proposed.notes[0]


def test_without_a_token_the_branch_is_pushed_and_nobody_else_asked(scenario: PromotionScenario) -> None:
    proposed = propose_promotion(scenario.services, replace(scenario.upstream, pulls=None), SIX)
    assert proposed.pull is None
    assert scenario.origin.head(proposed.promotion.branch) == proposed.promotion.commit
    assert scenario.github.calls == []


def test_what_cannot_be_asked_now_is_worth_another_try(scenario: PromotionScenario) -> None:
    scenario.flow.registry.reachable = False
    with pytest.raises(Retryable, match="registry did not answer"):
        propose_promotion(scenario.services, scenario.upstream, SIX)
    scenario.flow.registry.reachable = True
    scenario.origin.vanish()
    with pytest.raises(Retryable):
        propose_promotion(scenario.services, scenario.upstream, SIX)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (PinChange(MODEL, 1, "production"), "production pins churn-model v1 already"),
        (PinChange(MODEL, 2, "prod"), "no environment 'prod': known are"),
        (PinChange("churn", 2, "production"), "no pin for 'churn': did you mean churn-model"),
    ],
)
def test_what_is_wrong_with_the_question_is_said(scenario: PromotionScenario, change: PinChange, said: str) -> None:
    with pytest.raises(Rejected, match=said):
        propose_promotion(scenario.services, scenario.upstream, change)
