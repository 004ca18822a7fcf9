"""How a commit's pins stand: the worst model decides, what is held is held, and healing says nothing of the pin."""

import pytest

from receiver.core.commit_status import PinStatus, aggregate, pin_statuses, superseded
from receiver.core.deployment import DRIFT, Cause, Deployment, Draft, Outcome
from receiver.core.state import Slot

CHURN, FRAUD = Slot("production", "churn"), Slot("production", "fraud")
NOW = "c" * 40

PUSH = Cause.read("push")


def deployment(
    outcome: Outcome,
    version: int | None = 6,
    slot: Slot = CHURN,
    cause: Cause = PUSH,
    revision: str = NOW,
) -> Deployment:
    return Deployment(1, Draft(slot, 4, version, None, revision, cause), outcome, "because\nof this", 0.0, 1.0)


@pytest.mark.parametrize(
    ("outcome", "state", "said"),
    [
        (Outcome.LIVE, "success", "churn v6 is live"),
        (Outcome.RUNNING, "pending", "churn v6 is being deployed"),
        (Outcome.WAITING, "pending", "churn v6 waits: because"),
        (Outcome.REFUSED, "failure", "churn v6 was refused: because"),
        (Outcome.ROLLED_BACK, "failure", "churn v6 was rolled back: because"),
        (Outcome.NEEDS_HUMAN, "error", "churn v6 NEEDS A HUMAN: because"),
    ],
)
def test_each_outcome_is_a_state_and_a_sentence(outcome: Outcome, state: str, said: str) -> None:
    assert aggregate(pin_statuses([deployment(outcome)], {})) == (state, said)


def test_every_outcome_has_a_state_and_a_sentence() -> None:
    for outcome in Outcome:
        assert aggregate([PinStatus(CHURN, 6, outcome)])


def test_one_model_that_is_live_hides_no_other_that_failed() -> None:
    found = pin_statuses([deployment(Outcome.ROLLED_BACK), deployment(Outcome.LIVE, 2, FRAUD)], {})
    assert aggregate(found) == ("failure", "churn v6 was rolled back: because; fraud v2 is live")


def test_the_last_attempt_counts() -> None:
    attempts = [deployment(Outcome.INTERRUPTED), deployment(Outcome.RUNNING), deployment(Outcome.LIVE)]
    assert aggregate(pin_statuses(attempts, {}))[0] == "success"


def test_what_is_held_is_never_a_success() -> None:
    held = {CHURN: PinStatus(CHURN, 6, Outcome.ROLLED_BACK, "500")}
    assert aggregate(pin_statuses([deployment(Outcome.LIVE, 4)], held)) == (
        "failure",
        "churn v6 was rolled back: 500",
    )


def test_healing_the_version_before_says_nothing_about_the_pin_unless_it_fails() -> None:
    refused, healed = deployment(Outcome.REFUSED), deployment(Outcome.LIVE, 4, cause=DRIFT)
    lost = deployment(Outcome.NEEDS_HUMAN, 4, cause=DRIFT)
    assert aggregate(pin_statuses([refused, healed], {}))[0] == "failure"
    assert aggregate(pin_statuses([refused, lost], {}))[0] == "error"
    assert aggregate(pin_statuses([refused, lost, healed], {}))[0] == "failure"
    assert aggregate(pin_statuses([healed], {})) == ("success", "churn v4 is live")


def test_a_pin_that_was_removed_is_a_success() -> None:
    assert aggregate(pin_statuses([deployment(Outcome.LIVE, None)], {})) == ("success", "churn is served no more")


def test_no_reason_acts_on_who_reads_it() -> None:
    hostile = PinStatus(CHURN, 6, Outcome.REFUSED, "\x1b[31m::set-output name=x::y\u202e")
    assert aggregate([hostile])[1] == "churn v6 was refused: : :set-output name=x::y"


def test_unfinished_attempts_at_earlier_commits_are_found_once_each_up_to_one_that_ended() -> None:
    history = [
        deployment(Outcome.WAITING, 3, revision="a"),
        deployment(Outcome.LIVE, 4, revision="b"),
        deployment(Outcome.INTERRUPTED, 5, revision="d"),
        deployment(Outcome.WAITING, 6, revision="e"),
        deployment(Outcome.WAITING, 6, revision="e"),
        deployment(Outcome.RUNNING, 6),
    ]
    assert [d.draft.revision for d in superseded(history, NOW)] == ["e", "d"]


@pytest.mark.parametrize("text", ["drift", "policy", "push", "push,timer (history rewritten)"])
def test_a_cause_is_read_as_it_was_written(text: str) -> None:
    assert str(Cause.read(text)) == text
    assert (Cause.read(text) == DRIFT) is (text == "drift")


def test_of_many_pins_the_worst_are_named_and_the_others_counted() -> None:
    live = [PinStatus(Slot("staging", f"model-{n:04}"), 1, Outcome.LIVE) for n in range(1000)]
    state, said = aggregate([*live, PinStatus(CHURN, 6, Outcome.REFUSED, "because")])
    assert state == "failure"
    assert said.startswith("churn v6 was refused: because; model-0000 v1 is live; ")
    assert said.endswith("; and 991 more")
    assert len(said) < 500
