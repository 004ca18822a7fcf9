import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.datasets.reference import describe
from ml.evidence import CheckOutcome, Evidence, Verdict
from ml.gates.subject import Champion, Subject
from ml.report.facts import collect
from ml.report.page import to_html, to_json
from tests.support.axe import violations
from tests.support.chromium import browser, find_browser
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
# Labels that reach out of their chart.
CUT = """[...document.querySelectorAll("svg text")].filter(text => {
const inner = text.getBoundingClientRect(), outer = text.closest("svg").getBoundingClientRect();
return inner.left < outer.left || inner.right > outer.right + 1 || inner.bottom > outer.bottom + 1
}).map(text => text.textContent)"""
# Badges with less contrast than 4.5:1.
FAINT = """[...document.querySelectorAll(".badge, .pill")].filter(badge => {
const [ink, ground] = ["color", "backgroundColor"].map(name => getComputedStyle(badge)[name].match(/\\d+/g)
.map(part => (part /= 255) <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)).map(([r, g, b]) =>
.2126 * r + .7152 * g + .0722 * b);
return (Math.max(ink, ground) + .05) / (Math.min(ink, ground) + .05) < 4.5}).map(badge => badge.className)"""


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


def test_each_chart_has_a_name_and_its_exact_numbers(classifier: Subject) -> None:
    page = to_html(facts_of(classifier))
    assert re.findall(r'role="img"><title>(.*?)</title>', page) == ["Ranking (ROC)", "Calibration: said and true"]
    assert re.findall(r'<table class="bars" aria-label="(.*?)"', page) == [
        "Drift from the training data (PSI)",
        "Right decisions per slice",
    ]
    facts = facts_of(classifier)
    exact = ", ".join(str(share) for share in facts["slices"][0]["accuracy"].values())
    assert f'title="{exact}"' in page


@pytest.mark.parametrize(
    ("value", "threshold", "shown"),
    [(0.0312345678, 0.05, "0.03123"), (1234567.891, 2e6, "1,235,000"), (0.79999999, 0.8, "0.79999999")],
)
def test_numbers_are_rounded_as_far_as_the_verdict_allows_and_exact_on_demand(
    classifier: Subject, value: float, threshold: float, shown: str
) -> None:
    verdict = Verdict("accuracy", CheckOutcome.FAIL, value, "<", threshold)
    page = to_html(facts_of(classifier, replace(JUDGED, verdicts=(verdict,))))
    assert f'<td class="number" title="{value}">{shown}</td>' in page
    assert f"<td>&lt;&nbsp;{threshold:,.12g}</td>" in page


@pytest.mark.skipif(find_browser() is None, reason="needs Chromium")
def test_the_page_fits_a_phone_cuts_no_label_and_can_be_read_in_light_and_dark(tmp_path: Path) -> None:
    name = "a_column_with_a_name_that_is_far_too_long_for_a_chart"
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {"p": random.random(60), name: ["Month to month, renewed by itself", "One year"] * 30}
    subject = make_subject(columns, [0, 1, 1, 0] * 15, Plain(lambda r: r["p"]))
    subject = replace(subject, reference=describe(subject.data.features, "sha256:" + "4" * 64))
    numbers = [n * 12345.678 for n in range(60)]
    regression = make_subject({"x": numbers}, numbers, Plain(lambda r: r["x"], regression=True))
    verdict = Verdict(f"fairness.{name}.equal_opportunity", CheckOutcome.FAIL, 0.4, ">", 0.3, "groups differ")
    evidence = replace(JUDGED, verdicts=(*JUDGED.verdicts, verdict))
    with browser(find_browser() or "") as page:
        for of in (subject, regression):
            file = tmp_path / "report.html"
            file.write_text(to_html(facts_of(of, evidence)))
            for width in (390, 1280):
                for dark in (False, True):
                    page.open(file.as_uri(), width, dark=dark)
                    assert page.overflow() <= 0
                    assert page.run(CUT) == []
                    assert page.run(FAINT) == []
                    assert violations(page) == []
