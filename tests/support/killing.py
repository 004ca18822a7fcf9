"""A journal, in this process, that dies at its n-th write: every boundary can be tried."""

from collections.abc import Callable

from receiver.adapters.sqlite.journal import SqliteJournal

WRITES = ("open", "intend", "result", "close", "quarantine", "publish")


class Killed(BaseException):
    """Stands for SIGKILL: nothing that the flow does can catch it and go on."""


def killing(journal: SqliteJournal, boundary: int) -> Callable[[], int]:
    """Make the journal die at its n-th write; returns a function that counts the writes so far."""
    count = 0

    def wrap(name: str) -> None:
        original = getattr(journal, name)

        def write(*arguments: object, **named: object) -> object:
            nonlocal count
            count += 1
            if count == 2 * boundary - 1:
                raise Killed
            result = original(*arguments, **named)
            if count == 2 * boundary:
                raise Killed
            count += 1
            return result

        setattr(journal, name, write)

    for name in WRITES:
        wrap(name)
    return lambda: count


def unwrap(journal: SqliteJournal) -> None:
    """The next life of the receiver."""
    for name in WRITES:
        journal.__dict__.pop(name, None)
