"""What a person reads before merging: complete, honest about what is not known, and safe to show."""

import re

from ml.evidence import CheckOutcome, Evidence, Verdict
from receiver.core.state import Slot
from receiver.pull_requests.markdown import Signature
from receiver.pull_requests.promotion_body import VersionComparison, VersionFacts, promotion_body, rollback_body
from serving.model.model_dir import Column

PRODUCTION = Slot("production", "churn-model")
OLD = VersionFacts(
    4, {"accuracy": 0.79}, {"run": "r4", "data version": "telco-1"}, Signature((Column("tenure", "long"),))
)
NEW = VersionFacts(6, {"accuracy": 0.81}, {"run": "r6", "param C": "1.0"}, Signature((Column("tenure", "double"),)))
EVIDENCE = Evidence(
    "churn-model", 6, "production", "sha256:aa", "sha256:bb", "sha256:cc",
    (Verdict("accuracy", CheckOutcome.PASS, 0.81, ">=", 0.8, "of 1,408 rows"),), 0.0,
)  # fmt: skip


def test_a_promotion_shows_metrics_signature_gate_and_lineage_of_both() -> None:
    body = promotion_body(VersionComparison(PRODUCTION, OLD, NEW, EVIDENCE, ("live in staging since noon",)))
    assert "promotes **churn-model v6** to **production** (now: v4)" in body
    assert "> live in staging since noon" in body
    assert "| accuracy | 0.79 | 0.81 | +0.02 |" in body
    assert "- <code>tenure</code> was long, required, now double, required" in body
    assert "| accuracy | ✅ pass | 0.81 | &gt;= 0.8 | of 1,408 rows |" in body
    assert "Measured 1970-01-01 00:00 UTC, not signed." in body
    bound = body.partition("<details><summary>What it is bound to</summary>")[2].partition("</details>")[0]
    assert "Artifacts <code>sha256:aa</code>, rows <code>sha256:bb</code>, not signed." in bound
    assert "| run | <code>r4</code> | <code>r6</code> |" in body
    assert "| data version | <code>telco-1</code> | - |" in body


def test_digests_are_folded_and_names_are_not() -> None:
    digest = "sha256:" + "ab" * 32
    side = VersionFacts(6, {}, {"data.training": digest, "data version": "telco-1"})
    body = promotion_body(VersionComparison(PRODUCTION, side, side))
    shown, _, rest = body.partition("<details><summary>Digests</summary>")
    hidden = rest.partition("</details>")[0]
    assert "telco-1" in shown
    assert digest not in shown
    assert digest in hidden


def test_what_is_not_known_is_said_and_not_invented() -> None:
    body = promotion_body(VersionComparison(PRODUCTION, VersionFacts(4, unknown="MLflow has no_v4"), NEW))
    assert "No evidence is recorded for production." in body
    assert "Not known for both versions." in body
    assert "> v4: MLflow has no\\_v4" in body


def test_a_rollback_says_why_with_the_servers_log_tail() -> None:
    reason = "churn-model v6 answered 500\nTraceback ```\n::error::@octocat <b>boom</b>"
    body = rollback_body(VersionComparison(PRODUCTION, NEW, OLD), reason)
    assert "pins **churn-model v4** in **production** again, in place of v6" in body
    assert "**Why**: churn-model v6 answered 500" in body
    assert "````text\nTraceback ```\n: :error::@octocat <b>boom</b>\n````" in body


def test_nothing_from_outside_gets_out_of_its_place() -> None:
    hostile = "</code>| @octocat <img src=x> `x` fixes #1\n# Big"
    side = VersionFacts(4, {hostile: 1.0}, {hostile: hostile}, Signature((Column(hostile, "long"),)), hostile)
    verdicts = (Verdict(hostile, CheckOutcome.FAIL, 1.0, hostile, 2.0, hostile),)
    evidence = Evidence(hostile, 1, "x", hostile, hostile, "x", verdicts, 0.0)
    body = promotion_body(VersionComparison(Slot(hostile, hostile), side, side, evidence, (hostile,)))
    assert not re.search(r"<img|@octocat|#1|^# Big|(?<!\\)`x", body, re.MULTILINE)
    assert body.count("</code>") == body.count("<code>")
