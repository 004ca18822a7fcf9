import threading
import time
from collections.abc import Iterator

import pytest

from receiver.cli.doctor.check import Check, Question, answer
from receiver.cli.doctor.report import report
from receiver.core.errors import Retryable


def test_answers_come_in_the_order_of_the_questions_whatever_hangs_or_raises() -> None:
    never = threading.Event()

    def hangs() -> Check:
        never.wait()
        raise AssertionError

    def refuses() -> Check:
        raise Retryable("not now")

    def breaks() -> Check:
        raise KeyError("a bug")

    well = Check("well", ok=True, found="fine")
    questions = [
        Question("hangs", hangs, "wait"),
        Question("refuses", refuses, "ask later"),
        Question("breaks", breaks, "tell us"),
        Question("well", lambda: well, ""),
    ]
    assert list(answer(questions, 0.2)) == [
        Check("hangs", ok=False, found="no answer within 0.2 s", todo="wait"),
        Check("refuses", ok=False, found="not now", todo="ask later"),
        Check("breaks", ok=False, found="KeyError: 'a bug'", todo="tell us"),
        well,
    ]
    never.set()


def test_one_failed_check_fails_the_report() -> None:
    well, ill = Check("a", ok=True, found="fine"), Check("b", ok=False, found="gone", todo="bring it back")
    assert report([well], as_json=False) == 0
    assert report([well, ill], as_json=True) == 1


def test_whatever_hangs_shares_one_deadline() -> None:
    never = threading.Event()

    def hangs() -> Check:
        never.wait()
        raise AssertionError

    questions = [Question(f"hangs {number}", hangs, "wait") for number in range(20)]
    began = time.monotonic()
    assert not any(check.ok for check in answer(questions, 0.3))
    assert time.monotonic() - began < 3
    never.set()


def test_a_line_is_printed_before_the_next_check_has_ended(capsys: pytest.CaptureFixture[str]) -> None:
    def checks() -> Iterator[Check]:
        yield Check("first", ok=True, found="fine")
        assert "ok      first" in capsys.readouterr().out
        yield Check("second", ok=True, found="fine")

    assert report(checks(), as_json=False) == 0
    assert "ok      second" in capsys.readouterr().out
