"""Policy: what may be deployed, and the words in which it is refused."""

import math
from dataclasses import replace
from typing import Any

import pytest

from ml.environment.gate_schema import AtLeast
from ml.evidence import CheckOutcome, Evidence, Verdict, gate_digest
from receiver.core.deployment import Cause, Deployment, Draft, Outcome
from receiver.core.policy import HoldState, PromotionRequest, decide, duration, outdated
from receiver.core.state import Slot
from tests.support.evidence import KEY, OTHER_KEY

NOW = 10_000.0
GATE = {"accuracy": {"min": 0.8}}
STAGING, PRODUCTION = Slot("staging", "churn-model"), Slot("production", "churn-model")


def live(slot: Slot, version: int, at: float, digest: str = "sha256:six") -> Deployment:
    return Deployment(
        1, Draft(slot, None, version, digest, "c0ffee", Cause.read("push")), Outcome.LIVE, "", at - 1, at
    )


def accuracy(outcome: CheckOutcome = CheckOutcome.PASS) -> Verdict:
    passed = outcome is CheckOutcome.PASS
    return Verdict("accuracy", outcome, 0.81 if passed else 0.74, ">=" if passed else "<", 0.8)


EVIDENCE = Evidence(
    *("churn-model", 6, "production", "sha256:six", "sha256:rows", gate_digest(GATE)),
    verdicts=(accuracy(),),
    measured_at=1.0,
    registered=1_700_000_000_000,
)
ASKED = PromotionRequest(
    environment="production",
    model="churn-model",
    version=6,
    digest="sha256:six",
    registered=EVIDENCE.registered,
    gate=GATE,
    override=None,
    evidence=KEY.sign(EVIDENCE),
    trusted=[KEY.public],
    here=(),
    follows="staging",
    there=(live(STAGING, 6, NOW - 3600),),
    soak_seconds=1800,
    now=NOW,
)


def refusal(request: PromotionRequest) -> str:
    hold = decide(request)
    assert hold is not None
    assert hold.state is HoldState.REFUSED
    return hold.reason


def test_passed_and_soaked_goes() -> None:
    assert decide(ASKED) is None


def test_no_evidence_is_refused_with_the_command_that_makes_some() -> None:
    assert "python -m ml.evaluate --model churn-model --version 6 --environment production" in refusal(
        replace(ASKED, evidence=None)
    )


def test_evidence_of_other_artifacts_is_void_and_says_so() -> None:
    assert "void: the model has changed" in refusal(replace(ASKED, digest="sha256:other"))


def test_evidence_for_another_gate_is_void_and_says_so() -> None:
    assert "void: the gate of production has changed" in refusal(replace(ASKED, gate={"accuracy": {"min": 0.7}}))


def test_evidence_copied_from_another_version_is_void() -> None:
    assert "it was recorded for churn-model v5" in refusal(
        replace(ASKED, evidence=KEY.sign(replace(EVIDENCE, version=5)))
    )


@pytest.mark.parametrize("outcome", [CheckOutcome.FAIL, CheckOutcome.INCONCLUSIVE])
def test_a_check_that_does_not_pass_is_refused_with_its_verdict(outcome: CheckOutcome) -> None:
    reason = refusal(replace(ASKED, evidence=KEY.sign(replace(EVIDENCE, verdicts=(accuracy(outcome),)))))
    assert "accuracy=0.74 < 0.8" in reason


@pytest.mark.parametrize("other", [{"model": "fraud-model"}, {"environment": "staging"}], ids=str)
def test_evidence_copied_from_another_model_or_environment_is_void(other: dict[str, str]) -> None:
    assert "it was recorded for" in refusal(replace(ASKED, evidence=KEY.sign(replace(EVIDENCE, **other))))  # type: ignore[arg-type]


def test_evidence_that_nobody_signed_is_not_believed_and_says_what_to_do() -> None:
    reason = refusal(replace(ASKED, evidence=EVIDENCE))
    assert "is not believed: it is not signed: run `python -m ml.evaluate --model churn-model" in reason
    assert f"a key that production trusts: {KEY.public}" in reason


@pytest.mark.parametrize(
    "tampered",
    [
        *({"model": "fraud-model"}, {"version": 7}, {"environment": "staging"}, {"model_digest": "sha256:7"}),
        *({"data_digest": "sha256:7"}, {"gate_digest": "sha256:7"}, {"registered": 7}, {"measured_at": 7.0}),
        *({"rows": 7}, {"key": OTHER_KEY.public}, {"verdicts": (replace(accuracy(), value=0.99),)}),
    ],
    ids=" ".join,
)
def test_a_signature_holds_for_nothing_but_what_was_signed(tampered: dict[str, Any]) -> None:
    reason = refusal(replace(ASKED, evidence=replace(KEY.sign(EVIDENCE), **tampered)))
    assert "is not believed: its signature is not that of what it says" in reason


@pytest.mark.parametrize(
    "forged", [("", "ab"), ("ed25519:zz", "zz"), (KEY.public, "00" * 64), (KEY.public, "\u00e9")]
)
def test_what_is_no_signature_is_not_believed(forged: tuple[str, str]) -> None:
    key, signature = forged
    assert "is not believed" in refusal(replace(ASKED, evidence=replace(EVIDENCE, key=key, signature=signature)))


def test_the_signature_of_a_key_that_is_not_trusted_is_not_believed_and_names_both() -> None:
    reason = refusal(replace(ASKED, evidence=OTHER_KEY.sign(EVIDENCE)))
    assert f"is not believed: it is signed by {OTHER_KEY.public}: run" in reason
    assert f"a key that production trusts: {KEY.public}" in reason
    assert "is not believed" in refusal(replace(ASKED, trusted=()))


def test_a_machine_that_does_not_know_the_receivers_key_leaves_the_signature_to_the_receiver() -> None:
    assert decide(replace(ASKED, trusted=None, evidence=EVIDENCE)) is None
    assert "void" in refusal(replace(ASKED, trusted=None, digest="sha256:other"))


def test_while_a_key_is_replaced_both_are_believed_and_then_the_old_one_is_not() -> None:
    for key in (KEY, OTHER_KEY):
        assert decide(replace(ASKED, evidence=key.sign(EVIDENCE), trusted=[KEY.public, OTHER_KEY.public])) is None
    assert "is not believed" in refusal(replace(ASKED, trusted=[OTHER_KEY.public]))


def test_where_isolation_is_required_nothing_new_is_served_without_it() -> None:
    asked = replace(ASKED, unconfined="the kernel has no Landlock")
    assert "production requires isolation" in refusal(asked)
    assert "the kernel has no Landlock" in refusal(replace(asked, override="customer is waiting"))
    assert decide(replace(asked, here=(live(PRODUCTION, 6, NOW - 60),))) is None


def test_evidence_of_another_registration_of_the_same_number_is_void() -> None:
    assert "void: it was recorded for another registration" in refusal(replace(ASKED, registered=1))


@pytest.mark.parametrize(
    "verdict",
    [
        Verdict("accuracy", CheckOutcome.PASS, 0.01, ">=", 0.99),
        Verdict("accuracy", CheckOutcome.PASS, 0.5, ">=", 0.1),  # the gate asks for 0.8
        Verdict("accuracy", CheckOutcome.PASS, 0.9, "is about", 0.8),
        Verdict("accuracy", CheckOutcome.PASS, math.nan, ">=", 0.8),
    ],
    ids=str,
)
def test_a_pass_whose_numbers_say_otherwise_is_not_believed_whoever_signed_it(verdict: Verdict) -> None:
    gate = {"accuracy": AtLeast(min=0.8)}
    evidence = replace(EVIDENCE, gate_digest=gate_digest(gate), verdicts=(verdict,))
    assert "not true: PASS: accuracy=" in refusal(replace(ASKED, gate=gate, evidence=KEY.sign(evidence)))


def test_a_check_in_the_gate_that_was_not_measured_is_refused() -> None:
    gate = GATE | {"latency_p95_ms": {"max": 50}}
    evidence = KEY.sign(replace(EVIDENCE, gate_digest=gate_digest(gate)))
    assert "not measured: latency_p95_ms" in refusal(replace(ASKED, gate=gate, evidence=evidence))


def test_an_override_waives_gate_and_soak() -> None:
    assert decide(replace(ASKED, override="customer is waiting", evidence=None, there=())) is None


def test_a_version_never_live_in_staging_is_refused() -> None:
    assert "promote it to staging before production" in refusal(replace(ASKED, there=()))


def test_without_any_soak_it_must_have_been_live_in_staging_all_the_same() -> None:
    assert "promote it to staging before production" in refusal(replace(ASKED, there=(), soak_seconds=0))


def test_a_soak_is_over_at_the_very_second() -> None:
    assert decide(replace(ASKED, there=(live(STAGING, 6, NOW - 1800),))) is None
    assert decide(replace(ASKED, there=(live(STAGING, 6, NOW - 1799),))) is not None


def test_a_soak_that_is_not_over_waits_until_it_is() -> None:
    hold = decide(replace(ASKED, there=(live(STAGING, 6, NOW - 600),)))
    assert hold is not None
    assert (hold.state, hold.until) == (HoldState.WAITING, NOW + 1200)
    assert hold.reason == "churn-model v6 has to stay live in staging for 30m first"


@pytest.mark.parametrize(
    ("seconds", "answer"),
    [(0, "0s"), (1, "1s"), (45, "45s"), (0.5, "0.5s"), (60, "1m"), (5430, "1h30m30s"), (86_400, "24h")],
)
def test_durations_are_shown_as_environment_files_have_them(seconds: float, answer: str) -> None:
    assert duration(seconds) == answer


def test_a_soak_survives_healing_but_not_another_version_in_between() -> None:
    healed = (live(STAGING, 6, NOW - 2000), live(STAGING, 6, NOW - 100))
    assert decide(replace(ASKED, there=healed)) is None
    interrupted = (live(STAGING, 6, NOW - 2000), live(STAGING, 7, NOW - 1500), live(STAGING, 6, NOW - 100))
    assert decide(replace(ASKED, there=interrupted)) is not None


def test_other_bytes_under_the_same_number_have_not_soaked() -> None:
    """A model that was deleted and registered anew counts from 1 again."""
    assert "promote it to staging" in refusal(replace(ASKED, there=(live(STAGING, 6, NOW - 5000, "sha256:gone"),)))
    replaced = (live(STAGING, 6, NOW - 5000, "sha256:gone"), live(STAGING, 6, NOW - 600))
    hold = decide(replace(ASKED, there=replaced))
    assert hold is not None
    assert hold.until == NOW + 1200


def test_a_version_that_could_not_be_kept_alive_begins_its_soak_anew() -> None:
    failed = replace(live(STAGING, 6, NOW - 600), state=Outcome.NEEDS_HUMAN)
    hold = decide(replace(ASKED, there=(live(STAGING, 6, NOW - 2000), failed)))
    assert hold is not None
    assert (hold.state, hold.until) == (HoldState.WAITING, NOW + 1200)


def test_a_version_that_soaked_and_left_staging_may_still_be_promoted() -> None:
    assert decide(replace(ASKED, there=(live(STAGING, 6, NOW - 5000), live(STAGING, 7, NOW - 100)))) is None


def test_the_longest_stretch_counts_even_if_a_short_one_came_later() -> None:
    there = tuple(live(STAGING, version, NOW - ago) for version, ago in ((6, 9000), (7, 5000), (6, 1000), (7, 100)))
    assert decide(replace(ASKED, there=there)) is None


def test_going_back_to_what_was_live_here_needs_neither_gate_nor_soak() -> None:
    before = replace(ASKED, here=(live(PRODUCTION, 6, 1.0),), there=(), evidence=None)
    assert decide(before) is None
    assert decide(replace(before, digest="sha256:swapped")) is not None


@pytest.mark.parametrize(
    "here",
    [live(PRODUCTION, 5, 1.0), replace(live(PRODUCTION, 6, 1.0), state=Outcome.ROLLED_BACK)],
    ids=["another version of the same bytes", "rolled back"],
)
def test_what_was_never_live_here_itself_needs_gate_and_soak(here: Deployment) -> None:
    assert "no evidence" in refusal(replace(ASKED, here=(here,), evidence=None))


def test_an_environment_that_follows_none_has_no_soak() -> None:
    assert decide(replace(ASKED, follows=None, there=())) is None


@pytest.mark.parametrize(("champion", "compared"), [(0, "no version"), (5, "v5")])
def test_a_version_that_was_compared_with_what_is_not_live_any_more_is_named(champion: int, compared: str) -> None:
    evidence, gate = replace(EVIDENCE, champion=champion), {**GATE, "champion": {"require": "hold"}}
    said = outdated(evidence, gate, 7)
    assert said is not None
    assert said.startswith(
        f"the gate compared v6 with {compared}, and v7 is live in production now: measure it again"
    )
    for live in (None, 6, champion or None):  # nothing to compare with, itself, what it was compared with
        assert outdated(evidence, gate, live) is None
    assert outdated(evidence, GATE, 7) is None, "such a gate compares nothing"
