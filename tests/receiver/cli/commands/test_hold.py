"""``pinrail hold`` and ``pinrail resume``: what they record, and what they refuse."""

from pathlib import Path

import pytest

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.cli.commands.hold import hold, resume
from receiver.core.errors import Rejected
from receiver.ports import Snapshot
from tests.support.git_repos import FILES


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteJournal:
    """A state directory whose receiver has seen valid pins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PINRAIL_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    journal = SqliteJournal(Database(tmp_path / "state" / "pinrail.db"))
    files = {path: text.encode() for path, text in FILES.items() if path.startswith("environments/")}
    journal.remember_pins(Snapshot("c" * 40, files, rewritten=False))
    return journal


def test_a_hold_is_recorded_with_its_reason_until_it_is_resumed(journal: SqliteJournal) -> None:
    assert hold("production", None, "an audit").startswith("production is held")
    assert hold("staging", "churn-model", "too slow").startswith("staging/churn-model is held")
    held = {(freeze.environment, freeze.model, freeze.reason) for freeze in journal.frozen()}
    assert held == {("production", None, "an audit"), ("staging", "churn-model", "too slow")}
    assert resume("production", None).startswith("production is not held any more")
    assert [freeze.environment for freeze in journal.frozen()] == ["staging"]


@pytest.mark.parametrize(("environment", "model"), [("prodution", None), ("production", "churn")])
def test_a_name_that_is_not_pinned_is_refused_and_nothing_is_held(
    journal: SqliteJournal, environment: str, model: str | None
) -> None:
    with pytest.raises(Rejected, match=r"production|churn-model"):
        hold(environment, model, "an audit")
    assert journal.frozen() == []


def test_resuming_what_is_not_held_says_what_is(journal: SqliteJournal) -> None:
    hold("staging", None, "an audit")
    with pytest.raises(Rejected, match="production is not held; held: staging"):
        resume("production", None)
