"""What the journal writes down; that it does so at the right moments is for the tests of the flow."""

from pathlib import Path

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.core.deployment import Cause, Draft, Outcome
from receiver.core.plan import Action, ActionKind
from receiver.core.policy import Hold, HoldState
from receiver.core.quarantine import Quarantine
from receiver.core.redact import Redactor
from receiver.core.state import Slot

SLOT = Slot("staging", "churn-model")
LOG_TAIL = "it ended.\n  the password is hunter2hunter2\x1b[31m"


def test_a_secret_in_a_servers_log_tail_is_in_no_row(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")
    journal = SqliteJournal(database, Redactor(["hunter2hunter2"]))
    draft = Draft(SLOT, 1, 2, None, "c" * 40, Cause.read("push"))
    number = journal.open(draft)
    journal.intend(number, 1, Action(ActionKind.START, "v2", None, "candidate"))
    journal.result(number, 1, LOG_TAIL)
    journal.quarantine(Quarantine(SLOT, 2, "c" * 40, LOG_TAIL, needs_human=False, since=1.0))
    journal.close(number, Outcome.ROLLED_BACK, LOG_TAIL)
    journal.hold(draft, Hold(HoldState.REFUSED, LOG_TAIL))
    assert journal.hold(draft, Hold(HoldState.REFUSED, LOG_TAIL)) is None, "the same reason is the same still"
    written = [d.reason for d in journal.recent()] + [str(journal.steps(number)[0].result)]
    written += [q.reason for q in journal.quarantined()]
    assert set(written) == {"it ended.\n  the password is ***"}
    database.close()
