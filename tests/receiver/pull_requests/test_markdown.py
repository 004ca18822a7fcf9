"""What is shown on GitHub: text stays text, and tables say what was measured."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evidence import CheckOutcome, Verdict
from receiver.pull_requests.markdown import (
    MAX_BLOCK,
    MAX_LINES,
    MAX_TEXT,
    Measured,
    Signature,
    block,
    code,
    gate_table,
    metrics_table,
    signature_changes,
    text,
)
from serving.model.model_dir import Column
from tests.support.examples import examples


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert\\(1\\)&gt;"),
        ("thanks @octocat", "thanks @&#8203;octocat"),
        ("Fixes #12, closes GH-3", "Fixes #&#8203;12, closes GH-&#8203;3"),
        ("see https://evil.example/x", "see https://&#8203;evil.example/x"),
        ("see www.evil.example", "see www&#8203;.evil.example"),
        ("::set-output name=x::y", "\\: :set-output name=x::y"),
        ("a | b", "a \\| b"),
        ("`rm -rf` ![x](y)", "\\`rm -rf\\` !\\[x\\]\\(y\\)"),
        ("one\n\n# two", "one #&#8203; two"),
        ("1. first", "1\\. first"),
        ("- item", "\\- item"),
        ("--- ", "\\---"),
        ("\x1b[31mred\x1b[0m \u202eback", "red back"),
        ("&lt;b&gt;", "&amp;lt;b&amp;gt;"),
        ("a<!-- pinrail:plan -->", "a&lt;!-- pinrail:plan --&gt;"),
    ],
)
def test_text_that_means_something_to_github_is_shown_as_it_is(hostile: str, harmless: str) -> None:
    assert text(hostile) == harmless


@settings(max_examples=examples(200), deadline=None)
@given(st.text(alphabet=st.sampled_from("a1 <>&@#|`*_[]()\\\n:/w.-+=~$!\x1b\u202e"), max_size=60))
def test_no_text_opens_a_tag_a_cell_a_mention_or_a_line(given_text: str) -> None:
    shown = text(given_text)
    assert not re.search(r"[<>\n]", shown)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`]", shown.replace("\\\\", "").replace("\\|", "").replace("\\`", ""))
    assert not re.search(r"@\w|#\d|://\w", shown.replace("&#8203;", "\u200b"))


def test_a_text_has_an_end() -> None:
    assert len(text("a" * 10_000)) == MAX_TEXT


def test_code_cannot_be_left() -> None:
    assert code("x</code>`@me") == "<code>x&lt;/code&gt;\\`@&#8203;me</code>"


def test_a_block_cannot_be_left_and_keeps_its_last_lines() -> None:
    words = "\n".join([*map(str, range(100)), "````", "::error::boom", "the end"])
    shown = block(words).split("\n")
    assert (shown[0], shown[-1]) == ("`````text", "`````")
    assert shown[-2] == "the end"
    assert ": :error::boom" in shown
    assert len(shown) == MAX_LINES + 2
    assert len(block("x" * 100_000)) < MAX_BLOCK + 20


def test_metrics_of_both_are_compared() -> None:
    shown = metrics_table(
        Measured(4, {"accuracy": 0.8013, "f1": 0.5}),
        Measured(6, {"accuracy": 0.79, "auc": float("nan")}),
        {"accuracy": 0.01},
    )
    assert shown.split("\n") == [
        "| metric | v4 | v6 | change |",
        "| --- | --- | --- | --- |",
        "| accuracy | 0.8013 | 0.79 | -0.0113 ± 0.01 |",
        "| auc | - | no number | - |",
        "| f1 | 0.5 | - | - |",
    ]
    assert "has no metrics" in metrics_table(Measured(None, {}), Measured(6, {}))


def test_each_check_says_what_it_found_and_what_it_takes() -> None:
    verdicts = [
        Verdict("accuracy", CheckOutcome.PASS, 0.8013, ">=", 0.8, "1,128 of 1,408 rows are answered correctly"),
        Verdict("fairness.sex|x", CheckOutcome.FAIL, 0.2, ">", 0.1, "<b>women</b> are told no\n| more often"),
    ]
    open_, folded = gate_table(verdicts).split("\n\n<details><summary>1 of 2 checks pass</summary>\n\n")
    assert open_.split("\n")[2:] == [
        "| fairness.sex\\|x | ❌ **fail** | 0.2 | &gt; 0.1 | &lt;b&gt;women&lt;/b&gt; are told no \\| more often |",
    ]
    assert folded.split("\n")[2:] == [
        "| accuracy | ✅ pass | 0.8013 | &gt;= 0.8 | 1,128 of 1,408 rows are answered correctly |",
        "",
        "</details>",
    ]


def test_metrics_that_do_not_differ_are_counted_and_not_listed() -> None:
    old, new = Measured(4, {"a": 0.5, "b": 1.0}), Measured(6, {"a": 0.50000001, "b": 2.0})
    shown = metrics_table(old, new)
    assert "| b | 1 | 2 | +1 |" in shown
    assert "| a |" not in shown
    assert shown.endswith("\n\n1 metric is the same.")
    assert metrics_table(old, old) == "2 metrics are the same."


def test_a_signatures_changes_are_named_field_by_field() -> None:
    old = Signature((Column("tenure", "long"), Column("sex", "string"), Column("age", "long")), "int64 [-1]")
    new = Signature((Column("tenure", "double"), Column("age", "long"), Column("plan", "string", required=False)), "")
    assert signature_changes(old, new).split("\n") == [
        "- <code>sex</code> was removed",
        "- <code>plan</code> is new: string, optional",
        "- <code>tenure</code> was long, required, now double, required",
        "- answers were int64 \\[-1\\], now undescribed",
    ]


def test_a_signature_that_stays_is_said_to_stay_and_another_order_is_noticed() -> None:
    one = Signature((Column("a", "long"), Column("b", "long")))
    assert signature_changes(one, one) == "The same 2 fields and answers: nothing changes for callers."
    assert "another order" in signature_changes(one, Signature(one.columns[::-1]))
