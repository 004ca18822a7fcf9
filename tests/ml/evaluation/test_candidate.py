import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.evaluation.candidate import Candidate, find_candidate
from tests.support.examples import examples

LINE = '{"run_id": "abc", "accuracy": 0.8013, "model_version": "6"}'


@pytest.mark.parametrize(
    "log",
    [
        LINE,
        f"Downloading…\n{LINE}\n🏃 View run at http://mlflow/#/runs/abc\n",
        f"2026-01-01T00:00:00Z train | {LINE} done",
        f'{{"level": "info"}}\n{{"event": {LINE}}}\n[1, 2]\n{{broken\n',
        f"{LINE}\r\n\x1b[0m\r\n",
        f"{'[' * 100_000}\n{LINE}\n{'{' * 3000}\n",
        f'{{"run_id": 5}}\n{LINE}\n{{"run_id": ""}}\n',
        LINE + "\n" + '{"x": ' + "1" * 5000 + "}",
    ],
)
def test_the_training_line_is_found_in_whatever_surrounds_it(log: str) -> None:
    assert find_candidate(log) == Candidate(model=None, version=6, run_id="abc")


def test_the_last_training_line_wins() -> None:
    assert find_candidate(f'{LINE}\n{{"run_id": "def", "model_version": 7, "model": "m"}}') == Candidate(
        "m", 7, "def"
    )


def test_a_line_without_a_version_is_a_candidate_that_its_run_identifies() -> None:
    assert find_candidate('{"run_id": "abc", "accuracy": 0.8}') == Candidate(None, None, "abc")


@pytest.mark.parametrize("version", ["true", '"6.0"', '"-1"', '"٣"', "null", "[6]", '"' + "9" * 30 + '"'])
def test_a_version_that_is_no_number_counts_as_none_given(version: str) -> None:
    assert find_candidate(f'{{"run_id": "abc", "model_version": {version}}}') == Candidate(None, None, "abc")


@pytest.mark.parametrize(
    "log", ["", "\n\n", "training failed", '{"accuracy": 0.9}', '["run_id"]', '{"run_id": null}']
)
def test_a_log_without_a_training_line_has_no_candidate(log: str) -> None:
    assert find_candidate(log) is None


@given(before=st.text(max_size=80), after=st.text(st.characters(exclude_characters="{"), max_size=80))
@settings(max_examples=examples(60), deadline=None)
def test_no_text_around_the_line_hides_it(before: str, after: str) -> None:
    line = json.dumps({"run_id": "abc", "model_version": "6"})
    assert find_candidate(f"{before}\n{line}\n{after}") == Candidate(None, 6, "abc")
