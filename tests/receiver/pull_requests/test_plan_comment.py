"""The plan in words: what changes for whom, how sure that is, and what stands in the way."""

import math

from ml.evidence import CheckOutcome, Evidence, Verdict
from receiver.core.deployment import WayBack
from receiver.core.policy import Hold, HoldState
from receiver.core.state import Slot
from receiver.pull_requests.markdown import Signature
from receiver.pull_requests.plan_comment import (
    DetailedComparison,
    PlannedChange,
    PullRequestPlan,
    Soak,
    dependency_changes,
    margins,
)
from receiver.pull_requests.promotion_body import VersionComparison, VersionFacts
from serving.model.model_dir import Column

SLOT = Slot("production", "churn-model")


def evidence(version: int, accuracy: float, rows: int = 1000, data: str = "sha256:rows") -> Evidence:
    verdict = Verdict("accuracy", CheckOutcome.PASS, accuracy, ">=", 0.7)
    return Evidence("churn-model", version, "production", "sha256:m", data, "sha256:g", (verdict,), 1.0, rows)


def change(**fields: object) -> PlannedChange:
    given = {"slot": SLOT, "port": 8001, "old": 4, "new": 6, "actions": ("start v6: - -> candidate",), **fields}
    return PlannedChange(**given)  # type: ignore[arg-type]


def compared(was: Evidence | None, now: Evidence | None) -> DetailedComparison:
    old = VersionFacts(4, {"accuracy": 0.1, "f1": 0.5}, {}, Signature((Column("tenure", "long"),), "int64"))
    new = VersionFacts(6, {"accuracy": 0.2, "f1": 0.6}, {}, Signature((Column("tenure", "double"),), "int64"))
    packages = ({"scikit-learn": "scikit-learn==1.6.1"}, {"scikit-learn": "scikit-learn==1.7.0", "onnx": "onnx==1"})
    return DetailedComparison(VersionComparison(SLOT, old, new, now), (was, now), packages)


def test_uncertainty_is_the_binomial_standard_error_and_says_so() -> None:
    spread = margins(evidence(4, 0.8), evidence(6, 0.82))
    by_hand = 1.96 * math.sqrt(0.8 * 0.2 / 1000 + 0.82 * 0.18 / 1000)
    assert spread == {"accuracy": by_hand}
    said = PullRequestPlan("c" * 40, (change(comparison=compared(evidence(4, 0.8), evidence(6, 0.82))),)).comment()
    assert f"| accuracy | 0.8 | 0.82 | +0.02 ± {by_hand:.4g} |" in said
    assert "| f1 | 0.5 | 0.6 | +0.1 |" in said
    assert "1.96 binomial standard errors of the change over 1,000 evaluation rows" in said


def test_there_is_no_uncertainty_where_rows_differ_or_were_not_counted() -> None:
    assert margins(evidence(4, 0.8, data="sha256:other"), evidence(6, 0.82)) == {}
    assert margins(evidence(4, 0.8), evidence(6, 0.82, rows=0)) == {}
    assert margins(None, evidence(6, 0.82)) == {}
    assert "±" not in PullRequestPlan("c" * 40, (change(comparison=compared(None, evidence(6, 0.82))),)).comment()


def test_signature_and_dependencies_are_compared() -> None:
    said = PullRequestPlan("c" * 40, (change(comparison=compared(None, None)),)).comment()
    assert "- <code>tenure</code> was long, required, now double, required" in said
    assert "- <code>onnx==1</code> is new" in said
    assert "- <code>scikit-learn==1.6.1</code> changes to <code>scikit-learn==1.7.0</code>" in said
    assert dependency_changes({"a": "a==1"}, {"a": "a==1"}) == "The same packages in the same versions."
    assert dependency_changes({"a": "a==1"}, {}) == "- <code>a==1</code> is no longer needed"


def test_the_worst_change_decides() -> None:
    fine = change()
    waits = change(hold=Hold(HoldState.WAITING, "soaks", 100.0))
    refused = change(hold=Hold(HoldState.REFUSED, "no evidence"))
    unknown = change(retry="the registry did not answer")
    assert PullRequestPlan("c", (fine, fine)).state == "success"
    assert PullRequestPlan("c", (fine, waits)).state == "pending"
    assert PullRequestPlan("c", (fine, unknown)).state == "pending"
    assert PullRequestPlan("c", (waits, refused, fine)).state == "failure"
    assert PullRequestPlan("c", (waits, refused)).summary == "production/churn-model v4 -> v6: no evidence"
    assert PullRequestPlan("c", (waits, fine)).next_check_at == 100.0
    assert PullRequestPlan("c", (fine,)).next_check_at == math.inf


def test_a_comment_begins_with_what_becomes_of_how_many_changes() -> None:
    waits = change(hold=Hold(HoldState.WAITING, "soaks", 1_800_000_000.0))
    refused = change(hold=Hold(HoldState.REFUSED, "no evidence"))
    said = PullRequestPlan("c", (change(), waits, refused)).comment().split("\n\n")
    assert said[1] == "3 changes, 1 refused, 1 waits until 2027-01-15 08:00:00 UTC; needs a review."
    assert (
        PullRequestPlan("c", (change(),)).comment().split("\n\n")[1] == "1 change, 0 refused, 0 wait; needs a review."
    )
    by_policy = PullRequestPlan("c", (waits,), by_policy=True)
    assert by_policy.counts == "1 change, 0 refused, 1 waits until 2027-01-15 08:00:00 UTC; merged by policy"
    assert "refused," not in PullRequestPlan("c", (), "not valid").comment()


def test_a_refused_change_is_not_said_to_start_anything() -> None:
    said = PullRequestPlan("c", (change(hold=Hold(HoldState.REFUSED, "no evidence")),)).comment()
    assert "would start" not in said
    assert "v4 goes on serving; nothing would be started." in said


def test_a_wait_is_shown_as_a_point_in_time() -> None:
    waits = change(
        hold=Hold(HoldState.WAITING, "soaks", 1_800_000_000.0),
        soak=Soak("staging", 1800, 1_799_998_200.0, done=False),
    )
    assert "2027-01-15 08:00:00 UTC" in PullRequestPlan("c", (waits,)).summary
    said = PullRequestPlan("c", (waits,)).comment()
    assert (
        "Soak: live in staging since 2027-01-15 07:30:00 UTC, required 30m; done at 2027-01-15 08:00:00 UTC." in said
    )
    assert "start v6" not in said, "nothing would be done now"
    not_there = PullRequestPlan("c", (change(soak=Soak("staging", 1800, None, done=False)),)).comment()
    assert "Soak: not started, not live in staging." in not_there


def test_the_way_back_is_said_as_far_as_it_was_measured() -> None:
    ready = WayBack("production", "churn-model", 4, True, "2026-11-26T20:00:00Z", 0.42, "")
    said = PullRequestPlan("c" * 40, (change(way_back=ready),)).comment()
    assert "Way back: v4 in about 0.4 s, as it started here last; its files are here, verified 2026-11-26" in said
    missing = WayBack("production", "churn-model", 4, False, None, None, "MLflow does not answer")
    said = PullRequestPlan("c" * 40, (change(way_back=missing),)).comment()
    assert "Way back: v4 is not ready: MLflow does not answer." in said


def test_strangers_text_stays_text() -> None:
    hostile = "`</code>@everyone fixes #1 <img src=x>\n# big\n::set-output name=x::y"
    plan = PullRequestPlan("c", (change(hold=Hold(HoldState.REFUSED, hostile), override=hostile),))
    for forbidden in ("@everyone", "#1", "<img", "\n# big", "\n::set"):
        assert forbidden not in plan.comment()
    fenced = PullRequestPlan("c", problem="environments/x.yaml:1: found '```\n@everyone'").comment()
    assert "````text\nenvironments/x.yaml" in fenced
