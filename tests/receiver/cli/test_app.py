"""What the commands that need no registry say to a person, where there is little to say."""

import errno
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.__main__ import main
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.state_lock import exclusive
from receiver.cli.completion import environments
from receiver.core.deployment import Cause, Draft, Outcome
from receiver.core.quarantine import Quarantine
from receiver.core.state import Slot
from tests.support.git_repos import FILES, Origin
from tests.support.ports import free_port

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


def test_a_deployment_whose_receiver_is_gone_is_not_shown_as_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: Path, journal: SqliteJournal
) -> None:
    journal.open(replace(journal.recent(1)[0].draft, to_version=3))
    cases: list[tuple[AbstractContextManager[None], str]] = [
        (nullcontext(), "interrupted"),
        (exclusive(state), "running"),
    ]
    for holds, outcome in cases:
        with holds:
            assert pinrail(monkeypatch, "history", "--json") == 0
        newest = json.loads(capsys.readouterr().out)[0]
        assert (newest["to_version"], newest["outcome"]) == (3, outcome)


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


def failure(printed: str) -> dict[str, str]:
    """What a program finds on standard output."""
    found: dict[str, str] = json.loads(printed)["error"]
    return found


def test_a_failure_is_json_for_a_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert pinrail(monkeypatch, "live", "--at", "2999-01-01", "--json") == 1
    said = failure(capsys.readouterr().out)
    assert (said["kind"], said["hint"]) == ("rejected", "")
    assert said["message"].startswith("--at: 2999-01-01T00:00:00")
    monkeypatch.setattr(SqliteJournal, "recent", lambda *_: 1 / 0)
    assert pinrail(monkeypatch, "history", "--json") == 3
    said = failure(capsys.readouterr().out)
    assert (said["kind"], said["message"]) == ("bug", "ZeroDivisionError: division by zero")
    assert "Traceback" in said["hint"]


def test_a_registry_that_is_away_is_worth_another_try(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    origin = Origin(tmp_path / "git")
    origin.commit(FILES)
    monkeypatch.setenv("PINRAIL_REPO_URL", origin.url)
    monkeypatch.setenv("PINRAIL_TARGET", "process")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    assert pinrail(monkeypatch, "promote", "staging", "churn-model", "--version", "2", "--json") == 1
    said = failure(capsys.readouterr().out)
    assert said["kind"] == "retryable"
    assert "cannot be reached" in said["message"]


def test_the_old_order_of_promote_works_with_a_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    origin = Origin(tmp_path / "git")
    origin.commit(FILES)
    monkeypatch.setenv("PINRAIL_REPO_URL", origin.url)
    monkeypatch.setenv("PINRAIL_TARGET", "process")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    new = ("promote", "stagin", "churn-model", "--version", "2")
    old = ("promote", "churn-model", "--version", "2", "--to", "stagin")
    assert pinrail(monkeypatch, *new) == 1
    said = capsys.readouterr().err
    assert "there is no environment 'stagin': did you mean staging?" in said
    assert pinrail(monkeypatch, *old) == 1
    note = "note: `pinrail promote stagin churn-model --version 2` is the order now\n"
    assert capsys.readouterr().err == note + said
    assert pinrail(monkeypatch, "promote", "churn-model", "--version", "2") == 2
    assert "pinrail promote ENVIRONMENT MODEL --version N" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pinrail(monkeypatch, "version") == 0
    assert capsys.readouterr().out.startswith(f"pinrail {importlib.metadata.version('pinrail')} (Python ")
    assert pinrail(monkeypatch, "version", "--json") == 0
    assert json.loads(capsys.readouterr().out)["python"] == platform.python_version()


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("pinrail roll", ["rollback"]),
        ("pinrail rollback ", ["production", "staging"]),
        ("pinrail rollback sta", ["staging"]),
        ("pinrail logs staging ", ["churn-model"]),
    ],
)
def test_the_shell_completes_commands_environments_and_models(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    line: str,
    completed: list[str],
) -> None:
    (tmp_path / "environments").mkdir()
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    words = line.split(" ")
    monkeypatch.setenv("_PINRAIL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    assert pinrail(monkeypatch) == 0
    assert sorted(capsys.readouterr().out.split()) == completed


def test_nothing_is_completed_where_there_are_no_valid_pins(tmp_path: Path) -> None:
    assert environments("") == []
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments/staging.yaml").write_text("environment: [")
    assert environments("") == []


def test_no_page_is_opened_where_nothing_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PINRAIL_TARGET", "process")
    monkeypatch.setenv("PINRAIL_ADMIN_PORT", str(free_port()))
    assert pinrail(monkeypatch, "open") == 1
    assert "no receiver answers at http://127.0.0.1:" in capsys.readouterr().err
    assert pinrail(monkeypatch, "open", "staging", "churn-model") == 1
    assert "no server of staging/churn-model runs; running are: none" in capsys.readouterr().err
    assert pinrail(monkeypatch, "open", "staging") == 1
    assert "name the model too" in capsys.readouterr().err


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


@pytest.mark.parametrize("command", ["status", "version", "watch", "history"])
def test_a_quick_command_imports_nothing_slow(command: str) -> None:
    code = (
        f"import sys, receiver.cli.commands.{command}\n"
        "print({'mlflow', 'fastapi', 'httpx', 'rich', 'pandas', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_a_wrong_command_line_is_json_too_where_json_is_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (("status", "--jsn"), ("watch", "staging"), ("promote", "staging", "churn-model")):
        assert pinrail(monkeypatch, *arguments, "--json") == 2
        error = json.loads(capsys.readouterr().out)["error"]
        assert error["kind"] == "usage"
        assert error["hint"].startswith(f"Usage: pinrail {arguments[0]}")


def test_time_that_is_up_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], journal: SqliteJournal
) -> None:
    assert journal.recent(1)
    monkeypatch.setattr("receiver.cli.following.program_began", time.time)  # not when pytest began
    assert pinrail(monkeypatch, "watch", "staging", "churn-model", "--timeout", "0") == 1
    said = capsys.readouterr()
    assert "nothing is being deployed: deployment 1 ended" in said.out
    assert "has ended within 0 s" in said.err
