"""``pinrail rollback``: where it goes, and with ``--now`` how fast."""

from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.errors import Rejected, Retryable
from receiver.pull_requests.rollback import await_restored, find_way, propose_rollback, restore
from tests.support.flow import MODEL
from tests.support.git_repos import Origin
from tests.support.github_server import FakeGitHub
from tests.support.github_spec import require_description
from tests.support.road import PRODUCTION, STAGING, Road

require_description()


@pytest.fixture
def road(tmp_path: Path, github: FakeGitHub, url: str) -> Road:
    """Versions 1, 2 and 3 were live in staging, one after another."""
    road = Road(tmp_path, url, github)
    road.register("long", "long", "long")
    for version in (1, 2, 3):
        road.pin(version, 1)
        road.run()
    return road


def test_the_default_is_the_version_verified_before_the_pinned_one(road: Road) -> None:
    assert find_way(road.services, STAGING, None).target == 2
    assert find_way(road.services, STAGING, 1).target == 1


def test_after_an_automatic_rollback_the_default_is_what_serves(road: Road) -> None:
    road.register("long")
    road.flow.prober.rude.add(4)
    road.pin(4, 1)
    road.run()
    assert find_way(road.services, STAGING, None).target == 3


def test_where_nothing_else_was_verified_one_has_to_say(road: Road) -> None:
    with pytest.raises(Rejected, match=r"no version of production/churn-model but v1 .*--to"):
        find_way(road.services, PRODUCTION, None)


def test_a_rollback_is_a_pull_request_that_needs_no_gate(road: Road) -> None:
    road.flow.registry.models[MODEL][2].evidence.clear()
    way = find_way(road.services, STAGING, None)
    proposed = propose_rollback(road.services, road.forge, way, "answers are wrong, see @ops")
    assert proposed.pull is not None
    assert proposed.pull.title == "Roll churn-model back to v2 in staging (was v3)"
    assert proposed.pull.branch == "rollback/churn-model-v2-in-staging"
    assert "**Why**: answers are wrong, see @&#8203;ops" in proposed.pull.body
    assert propose_rollback(road.services, road.forge, way, "answers are wrong, see @ops").pull == proposed.pull
    assert road.forge.pulls is not None
    road.forge.pulls.merge(proposed.pull, proposed.pull.title)
    road.run()
    assert road.flow.serving()["staging"] == 2


def test_now_restores_first_holds_and_needs_no_github(road: Road) -> None:
    way = find_way(road.services, STAGING, None)
    restore(road.services, road.queue, way, "wrong answers")
    job = road.queue.claim()
    assert job is not None
    assert job.cause == "rollback"
    assert not await_restored(road.services, way, 0.01)
    road.run(job.cause)
    assert await_restored(road.services, way, 0.01)
    assert road.flow.serving()["staging"] == 2
    assert road.flow.aliases()["staging"] == 2
    last = road.flow.journal.history(STAGING)[-1]
    assert (last.state, last.draft.from_version, last.draft.to_version) == (Outcome.LIVE, 3, 2)
    assert not road.run("timer").outcomes, "held"
    assert road.github.calls == []


def test_now_works_while_the_remote_is_away(road: Road) -> None:
    road.origin.vanish()
    way = find_way(road.services, STAGING, None)
    restore(road.services, road.queue, way, "wrong answers")
    road.run("rollback")
    assert road.flow.serving()["staging"] == 2
    with pytest.raises(Retryable):
        propose_rollback(road.services, road.forge, way, "wrong answers")


def test_now_holds_until_the_pull_request_is_merged_and_then_all_agree(road: Road) -> None:
    way = find_way(road.services, STAGING, None)
    restore(road.services, road.queue, way, "wrong answers")
    road.run("rollback")
    proposed = propose_rollback(road.services, road.forge, way, "wrong answers")
    assert proposed.pull is not None
    assert road.forge.pulls is not None
    road.forge.pulls.merge(proposed.pull, proposed.pull.title)
    report = road.run()
    assert not report.outcomes, "it serves already"
    assert road.flow.serving()["staging"] == 2


def test_a_new_commit_is_a_new_chance_and_so_is_a_retry(road: Road) -> None:
    way = find_way(road.services, STAGING, None)
    restore(road.services, road.queue, way, "wrong answers")
    road.run("rollback")
    road.services.journal.lift(STAGING)
    road.run("retry")
    assert road.flow.serving()["staging"] == 3


def test_going_back_further_passes_over_what_was_in_between(road: Road) -> None:
    way = find_way(road.services, STAGING, 1)
    restore(road.services, road.queue, way, "both are wrong")
    road.run("rollback")
    assert road.flow.serving()["staging"] == 1


def test_what_was_never_proven_here_cannot_be_restored_at_once(road: Road) -> None:
    road.register("long")
    with pytest.raises(Rejected, match="v4 was never verified live here"):
        restore(road.services, road.queue, find_way(road.services, STAGING, 4), "")
    assert road.queue.claim() is None


def test_a_slot_that_waits_for_a_human_takes_the_humans_word(road: Road) -> None:
    way = find_way(road.services, STAGING, None)
    commit = way.snapshot.commit
    restore(road.services, road.queue, way, "first")
    (held,) = road.services.journal.quarantined(commit)
    road.services.journal.quarantine(replace(held, needs_human=True))
    assert not road.run().outcomes
    restore(road.services, road.queue, way, "again")
    road.run("rollback")
    assert road.flow.serving()["staging"] == 2


@pytest.mark.parametrize("broken", ["environment: [", None], ids=["not YAML", "file gone"])
def test_now_works_while_the_pins_at_the_head_are_not_valid_and_says_how_to_go_on(
    road: Road, broken: str | None
) -> None:
    road.origin.commit({"environments/staging.yaml": broken})
    with pytest.raises(Rejected, match=r"environments/staging.yaml(.|\n)*say --now"):
        find_way(road.services, STAGING, None)
    way = find_way(road.services, STAGING, None, now=True)
    restore(road.services, road.queue, way, "wrong answers")
    with pytest.raises(Rejected):
        road.run("rollback")
    assert await_restored(road.services, way, 0.01)
    assert road.flow.serving() == {"staging": 2, "production": 1}
    assert road.flow.aliases()["staging"] == 2
    deployments = len(road.flow.journal.recent())
    with pytest.raises(Rejected):
        road.run("timer")
    assert len(road.flow.journal.recent()) == deployments, "held"
    with pytest.raises(Rejected) as caught:
        propose_rollback(road.services, road.forge, way, "wrong answers")
    said = str(caught.value).split("\n")
    assert said[1].startswith("environments/staging.yaml")
    assert said[-1] == (
        "Mend that and, in the same commit, set the version of churn-model in environments/staging.yaml to 2: "
        "a commit that pins v3 brings it back"
    )
    road.pin(2, 1)
    assert not road.run().outcomes
    assert road.flow.serving()["staging"] == 2


def test_now_works_with_healing_off_and_pins_that_are_not_valid(road: Road) -> None:
    road.services = replace(road.services, heal=False)
    road.origin.commit({"environments/staging.yaml": "environment: ["})
    way = find_way(road.services, STAGING, None, now=True)
    restore(road.services, road.queue, way, "wrong answers")
    with pytest.raises(Rejected):
        road.run("rollback")
    assert road.flow.serving()["staging"] == 2


def test_without_pins_that_were_ever_valid_there_is_nothing_to_go_by(tmp_path: Path) -> None:
    github = FakeGitHub(origin=Origin(tmp_path / "git"))
    road = Road(tmp_path, "http://127.0.0.1:9", github)
    road.origin.commit({"environments/staging.yaml": "environment: ["})
    with pytest.raises(Rejected, match=r"environments/staging\.yaml"):
        find_way(road.services, STAGING, 1, now=True)
