"""What clients cause again and again is logged a few times, and then counted."""

import logging

import pytest

from serving.http import quiet
from serving.http.quiet import RepeatLimit, WithoutValues


def test_the_same_message_is_logged_so_often_a_window_and_then_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, now = logging.getLogger("tests.quiet"), [100.0]
    monkeypatch.setattr(quiet.time, "monotonic", lambda: now[0])
    only = RepeatLimit(3, 60.0)
    log.addFilter(only)
    for number in range(10):
        log.error("failed at %d", number)
    log.error("another")
    assert caplog.messages == ["failed at 0", "failed at 1", "failed at 2", "another"]
    now[0] += 61
    log.error("failed at %d", 10)
    log.error("failed at %d", 11)
    assert caplog.messages[4:] == ["failed at 10 (7 more like it were not logged before)", "failed at 11"]
    log.removeFilter(only)


def test_what_an_exception_says_is_left_out_and_its_type_and_place_stay(caplog: pytest.LogCaptureFixture) -> None:
    log, without = logging.getLogger("tests.values"), WithoutValues()
    log.addFilter(without)
    try:
        int("private")
    except ValueError:
        log.exception("the model failed")
    log.removeFilter(without)
    assert "private" not in caplog.text.replace('int("private")', "")
    assert "ValueError (its text may hold input)" in caplog.text
    assert "test_quiet.py" in caplog.text
