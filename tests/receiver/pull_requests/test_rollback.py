"""``pinrail rollback``: where it goes, and with ``--now`` how fast."""

from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.errors import Rejected, Retryable
from receiver.pull_requests.rollback import await_serving, hold_newer, plan_rollback, propose_rollback
from tests.support.flow import MODEL
from tests.support.git_repos import Origin
from tests.support.github_server import FakeGitHub
from tests.support.github_spec import require_description
from tests.support.promotion_scenario import PRODUCTION, STAGING, PromotionScenario

require_description()


@pytest.fixture
def scenario(tmp_path: Path, github: FakeGitHub, url: str) -> PromotionScenario:
    """Versions 1, 2 and 3 were live in staging, one after another."""
    scenario = PromotionScenario(tmp_path, url, github)
    scenario.register("long", "long", "long")
    for version in (1, 2, 3):
        scenario.pin(version, 1)
        scenario.run()
    return scenario


def test_the_default_is_the_version_verified_before_the_pinned_one(scenario: PromotionScenario) -> None:
    assert plan_rollback(scenario.services, STAGING, None).target == 2
    assert plan_rollback(scenario.services, STAGING, 1).target == 1


def test_after_an_automatic_rollback_the_default_is_what_serves(scenario: PromotionScenario) -> None:
    scenario.register("long")
    scenario.flow.prober.failing_smoke.add(4)
    scenario.pin(4, 1)
    scenario.run()
    assert plan_rollback(scenario.services, STAGING, None).target == 3


def test_where_nothing_else_was_verified_one_has_to_say(scenario: PromotionScenario) -> None:
    with pytest.raises(Rejected, match=r"no version of production/churn-model but v1 .*--to"):
        plan_rollback(scenario.services, PRODUCTION, None)


def test_a_rollback_is_a_pull_request_that_needs_no_gate(scenario: PromotionScenario) -> None:
    scenario.flow.registry.models[MODEL][2].evidence.clear()
    rollback_plan = plan_rollback(scenario.services, STAGING, None)
    proposed = propose_rollback(scenario.services, scenario.upstream, rollback_plan, "answers are wrong, see @ops")
    assert proposed.pull is not None
    assert proposed.pull.title == "Roll churn-model back to v2 in staging (was v3)"
    assert proposed.pull.branch == "rollback/churn-model-v2-in-staging"
    assert "**Why**: answers are wrong, see @&#8203;ops" in proposed.pull.body
    assert (
        propose_rollback(scenario.services, scenario.upstream, rollback_plan, "answers are wrong, see @ops").pull
        == proposed.pull
    )
    assert scenario.upstream.pulls is not None
    scenario.upstream.pulls.merge(proposed.pull, proposed.pull.title)
    scenario.run()
    assert scenario.flow.serving()["staging"] == 2


def test_a_second_rollback_starts_at_the_head_though_the_branch_of_the_first_is_still_there(
    scenario: PromotionScenario,
) -> None:
    def rolled_back(reason: str) -> tuple[str, str]:
        plan = plan_rollback(scenario.services, STAGING, 2)
        proposed = propose_rollback(scenario.services, scenario.upstream, plan, reason)
        assert proposed.pull is not None
        assert f"**Why**: {reason}" in proposed.pull.body
        parent = scenario.origin.head(f"{proposed.promotion.branch}^")
        scenario.github.pulls[proposed.pull.number]["state"] = "closed"  # as a squash leaves it
        scenario.pin(2, 1)
        scenario.run()
        return parent, scenario.origin.head()

    rolled_back("too slow")
    head = scenario.pin(3, 1)
    scenario.run()
    assert rolled_back("wrong answers")[0] == head


def test_now_restores_first_holds_and_needs_no_github(scenario: PromotionScenario) -> None:
    rollback_plan = plan_rollback(scenario.services, STAGING, None)
    hold_newer(scenario.services, rollback_plan, "wrong answers")
    with pytest.raises(Retryable, match="v3 is held, and v2 does not answer"):
        await_serving(scenario.services, rollback_plan, 0.01)
    scenario.run("rollback")
    await_serving(scenario.services, rollback_plan, 0.01)
    assert scenario.flow.serving()["staging"] == 2
    assert scenario.flow.aliases()["staging"] == 2
    last = scenario.flow.journal.history(STAGING)[-1]
    assert (last.state, last.draft.from_version, last.draft.to_version) == (Outcome.LIVE, 3, 2)
    assert not scenario.run("timer").outcomes, "held"
    assert scenario.github.calls == []


def test_now_works_while_the_remote_is_away(scenario: PromotionScenario) -> None:
    scenario.origin.vanish()
    rollback_plan = plan_rollback(scenario.services, STAGING, None, now=True)
    hold_newer(scenario.services, rollback_plan, "wrong answers")
    scenario.run("rollback")
    assert scenario.flow.serving()["staging"] == 2
    with pytest.raises(Retryable):
        propose_rollback(scenario.services, scenario.upstream, rollback_plan, "wrong answers")


def test_now_holds_until_the_pull_request_is_merged_and_then_all_agree(scenario: PromotionScenario) -> None:
    rollback_plan = plan_rollback(scenario.services, STAGING, None)
    hold_newer(scenario.services, rollback_plan, "wrong answers")
    scenario.run("rollback")
    proposed = propose_rollback(scenario.services, scenario.upstream, rollback_plan, "wrong answers")
    assert proposed.pull is not None
    assert scenario.upstream.pulls is not None
    scenario.upstream.pulls.merge(proposed.pull, proposed.pull.title)
    report = scenario.run()
    assert not report.outcomes, "it serves already"
    assert scenario.flow.serving()["staging"] == 2


def test_a_retry_is_a_new_chance_and_another_commit_is_none(scenario: PromotionScenario) -> None:
    rollback_plan = plan_rollback(scenario.services, STAGING, None)
    hold_newer(scenario.services, rollback_plan, "wrong answers")
    scenario.run("rollback")
    scenario.origin.commit({"README.md": "nothing about pins"})
    scenario.run()
    assert scenario.flow.serving()["staging"] == 2
    scenario.services.journal.lift(STAGING)
    scenario.run("retry")
    assert scenario.flow.serving()["staging"] == 3


def test_going_back_further_passes_over_what_was_in_between(scenario: PromotionScenario) -> None:
    rollback_plan = plan_rollback(scenario.services, STAGING, 1)
    hold_newer(scenario.services, rollback_plan, "both are wrong")
    scenario.run("rollback")
    assert scenario.flow.serving()["staging"] == 1


def test_twice_in_a_row_it_goes_further_back_and_says_where_there_is_no_more(scenario: PromotionScenario) -> None:
    for expected in (2, 1):
        rollback_plan = plan_rollback(scenario.services, STAGING, None, now=True)
        hold_newer(scenario.services, rollback_plan, "wrong answers")
        scenario.run("rollback")
        assert scenario.flow.serving()["staging"] == expected
    assert scenario.flow.journal.history(STAGING)[-1].reason == "wrong answers"
    with pytest.raises(Rejected, match="no version of staging/churn-model but v1, v2, v3 was ever verified"):
        plan_rollback(scenario.services, STAGING, None, now=True)


def test_what_was_never_proven_here_cannot_be_restored_at_once(scenario: PromotionScenario) -> None:
    scenario.register("long")
    with pytest.raises(Rejected, match="v4 was never verified live here"):
        hold_newer(scenario.services, plan_rollback(scenario.services, STAGING, 4), "")
    assert scenario.services.journal.quarantined() == []


def test_a_slot_that_waits_for_a_human_takes_the_humans_word(scenario: PromotionScenario) -> None:
    rollback_plan = plan_rollback(scenario.services, STAGING, None)
    commit = rollback_plan.snapshot.commit
    hold_newer(scenario.services, rollback_plan, "first")
    (held,) = scenario.services.journal.quarantined(commit)
    scenario.services.journal.quarantine(replace(held, needs_human=True))
    assert not scenario.run().outcomes
    hold_newer(scenario.services, rollback_plan, "again")
    scenario.run("rollback")
    assert scenario.flow.serving()["staging"] == 2


@pytest.mark.parametrize("broken", ["environment: [", None], ids=["not YAML", "file gone"])
def test_now_works_while_the_pins_at_the_head_are_not_valid_and_says_how_to_go_on(
    scenario: PromotionScenario, broken: str | None
) -> None:
    scenario.origin.commit({"environments/staging.yaml": broken})
    with pytest.raises(Rejected, match=r"environments/staging.yaml(.|\n)*use --now"):
        plan_rollback(scenario.services, STAGING, None)
    rollback_plan = plan_rollback(scenario.services, STAGING, None, now=True)
    hold_newer(scenario.services, rollback_plan, "wrong answers")
    with pytest.raises(Rejected):
        scenario.run("rollback")
    await_serving(scenario.services, rollback_plan, 0.01)
    assert scenario.flow.serving() == {"staging": 2, "production": 1}
    assert scenario.flow.aliases()["staging"] == 2
    deployments = len(scenario.flow.journal.recent())
    with pytest.raises(Rejected):
        scenario.run("timer")
    assert len(scenario.flow.journal.recent()) == deployments, "held"
    with pytest.raises(Rejected) as caught:
        propose_rollback(scenario.services, scenario.upstream, rollback_plan, "wrong answers")
    said = str(caught.value).split("\n")
    assert said[1].startswith("environments/staging.yaml")
    assert said[-1] == (
        "Correct that and, in the same commit, set the version of churn-model in environments/staging.yaml to 2: "
        "else v3 may come back"
    )
    scenario.pin(2, 1)
    assert not scenario.run().outcomes
    assert scenario.flow.serving()["staging"] == 2


def test_now_works_with_healing_off_and_pins_that_are_not_valid(scenario: PromotionScenario) -> None:
    scenario.services = replace(scenario.services, heal=False)
    scenario.origin.commit({"environments/staging.yaml": "environment: ["})
    rollback_plan = plan_rollback(scenario.services, STAGING, None, now=True)
    hold_newer(scenario.services, rollback_plan, "wrong answers")
    with pytest.raises(Rejected):
        scenario.run("rollback")
    assert scenario.flow.serving()["staging"] == 2


def test_without_pins_that_were_ever_valid_there_is_nothing_to_go_by(tmp_path: Path) -> None:
    github = FakeGitHub(origin=Origin(tmp_path / "git"))
    scenario = PromotionScenario(tmp_path, "http://127.0.0.1:9", github)
    scenario.origin.commit({"environments/staging.yaml": "environment: ["})
    with pytest.raises(Rejected, match=r"environments/staging\.yaml"):
        plan_rollback(scenario.services, STAGING, 1, now=True)
