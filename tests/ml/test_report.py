import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ml.evidence import CheckOutcome, Evidence, Verdict
from ml.gates.subject import Champion, Subject
from ml.reference import describe
from ml.report.facts import collect
from ml.report.page import to_html, to_json
from tests.support.evidence import EVIDENCE
from tests.support.subjects import Plain, make_subject

HOSTILE = "</td><script>alert(1)</script>"
JUDGED = replace(
    EVIDENCE,
    verdicts=(
        *EVIDENCE.verdicts,
        Verdict("drift.psi", CheckOutcome.INCONCLUSIVE, math.nan, "not known to be <=", 0.2, "nothing is recorded"),
        Verdict("fairness.plan.demographic_parity", CheckOutcome.FAIL, 0.4, ">", 0.3, HOSTILE),
    ),
)


@pytest.fixture
def classifier() -> Subject:
    random = np.random.default_rng(0)
    columns = {"p": random.random(200), "plan": ["a", HOSTILE] * 100}
    subject = make_subject(columns, (random.random(200) < 0.5).astype(int), Plain(lambda r: r["p"]))
    champion = Plain(lambda r: 1 - r["p"]).predict_records(subject.records)
    reference = describe(subject.data.features, "sha256:4")
    return replace(subject, champion=Champion("m v1", subject.columns, "", champion), reference=reference)


def facts_of(subject: Subject, evidence: Evidence = JUDGED) -> dict[str, Any]:
    return collect(subject, evidence, {"accuracy": 0.1, "fairness": 0.2}, {"run": "abc"})


def test_the_report_holds_what_was_measured_of_both_versions(classifier: Subject) -> None:
    facts = json.loads(to_json(facts_of(classifier)))
    assert facts["outcome"] == "FAIL"
    assert facts["champion"] == "m v1"
    assert facts["digests"]["training data"] == "sha256:4"
    assert facts["verdicts"][0]["line"] == "PASS: accuracy=0.81 >= 0.8"
    assert facts["verdicts"][2]["seconds"] == 0.2
    for name in ("roc", "calibration", "confusion"):
        assert set(facts[name]) == {"challenger", "champion"}
    assert sum(map(sum, facts["confusion"]["champion"]["counts"])) == 200
    assert {s["column"] for s in facts["slices"]} == {"plan"}
    assert {d["column"] for d in facts["drift"]} == {"p", "plan"}


def test_the_page_needs_nothing_from_elsewhere_and_runs_nothing(classifier: Subject) -> None:
    page = to_html(facts_of(classifier))
    assert "<script" not in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_texts_from_models_and_data_are_shown_as_text(classifier: Subject) -> None:
    page = to_html(facts_of(classifier))
    assert "&lt;script&gt;alert(1)" in page
    assert HOSTILE not in page


def test_a_regression_shows_measured_against_answered() -> None:
    subject = make_subject(
        {"x": [float(n) for n in range(50)]}, [n * 1.1 for n in range(50)], Plain(lambda r: r["x"], regression=True)
    )
    facts = facts_of(subject)
    assert len(facts["scatter"]["challenger"]) == 50
    assert "roc" not in facts
    assert "Measured and answered" in to_html(facts)


def test_a_gate_without_checks_has_a_page_too() -> None:
    subject = make_subject({"p": [0.1, 0.9]}, [0, 1], Plain(lambda r: r["p"]))
    page = to_html(facts_of(subject, replace(JUDGED, verdicts=())))
    assert "asks for no checks" in page
    assert "no other version live" in page
