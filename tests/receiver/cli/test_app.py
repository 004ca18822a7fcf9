"""What the commands that need no registry say to a person, where there is little to say."""

import errno
import os
import sys
from pathlib import Path

import pytest

from receiver.__main__ import main
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.state_lock import exclusive
from receiver.core.deployment import Cause, Draft, Outcome
from receiver.core.quarantine import Quarantine
from receiver.core.state import Slot

SLOT = Slot("staging", "churn-model")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / ".pinrail"


@pytest.fixture
def journal(state: Path) -> SqliteJournal:
    """A record of one deployment that went live."""
    journal = SqliteJournal(Database(state / "pinrail.db"))
    number = journal.open(Draft(SLOT, None, 1, "sha256:" + "ab" * 32, "1f" * 20, Cause.read("push"), None, []))
    journal.close(number, Outcome.LIVE)
    return journal


def pinrail(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pinrail", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return code or 0


@pytest.mark.parametrize("command", ["history", "live"])
def test_where_nothing_is_on_record_the_place_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: Path, command: str
) -> None:
    assert pinrail(monkeypatch, command) == 0
    assert f"on record in {state}" in capsys.readouterr().out


def test_a_name_that_is_not_on_record_gets_the_one_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], journal: SqliteJournal
) -> None:
    assert journal.recent(1)
    assert pinrail(monkeypatch, "history", "stagin") == 0
    assert capsys.readouterr().out == (
        "nothing to show: no environment 'stagin' is on record: did you mean staging?\n"
    )
    assert pinrail(monkeypatch, "history", "staging", "churn") == 0
    assert "no model 'churn' is on record: did you mean churn-model?" in capsys.readouterr().out
    assert pinrail(monkeypatch, "retry", "stagin") == 1
    assert "no environment 'stagin' is on record: did you mean staging?" in capsys.readouterr().err


def test_what_will_be_live_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], journal: SqliteJournal
) -> None:
    assert journal.recent(1)
    assert pinrail(monkeypatch, "live", "--at", "2999-01-01") == 1
    assert "--at: 2999-01-01T00:00:00" in capsys.readouterr().err


@pytest.mark.usefixtures("journal")
def test_a_time_before_all_clocks_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pinrail(monkeypatch, "live", "--at", "0001-01-01") == 1
    assert "too long ago" in capsys.readouterr().err


def test_a_refusal_commands_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert pinrail(monkeypatch, "retry", "\x1b]0;mine\x07\x1b[31m", "\u202ereversed") == 1
    assert capsys.readouterr().err == "pinrail: /reversed is not in quarantine; in quarantine: nothing\n"


def test_retry_promises_no_look_where_no_receiver_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: Path, journal: SqliteJournal
) -> None:
    journal.quarantine(Quarantine(SLOT, 2, "1f" * 20, "it failed", needs_human=False, since=0.0))
    assert pinrail(monkeypatch, "retry", "staging") == 0
    assert capsys.readouterr().out == (
        f"lifted: staging/churn-model; no receiver runs on {state}: `pinrail up` starts it\n"
    )
    with exclusive(state):
        assert pinrail(monkeypatch, "retry") == 0
    assert capsys.readouterr().out == "nothing was in quarantine; the receiver tries again\n"


def test_a_state_directory_that_cannot_be_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PINRAIL_STATE_DIR", str(tmp_path / "file/state"))
    assert pinrail(monkeypatch, "down") == 1
    assert "PINRAIL_STATE_DIR" in capsys.readouterr().err


def test_the_list_of_commands_is_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert pinrail(monkeypatch, "--help") == 0
    assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


def test_a_bug_exits_with_3_and_asks_for_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SqliteJournal, "recent", lambda *_: 1 / 0)
    assert pinrail(monkeypatch, "history") == 3
    said = capsys.readouterr().err
    assert "ZeroDivisionError" in said
    assert "this is a bug in Pinrail; please report the lines above" in said


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "run this as the user"),
        (errno.EROFS, "make it writable"),
        (errno.ENOSPC, "free some disk space"),
    ],
)
def test_what_the_machine_refuses_is_no_bug(
    number: int, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/state/mirror.git.turn")

    monkeypatch.setattr(SqliteJournal, "recent", refuse)
    assert pinrail(monkeypatch, "history") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"pinrail: /state/mirror.git.turn: {os.strerror(number)}: ")
    assert advice in said
