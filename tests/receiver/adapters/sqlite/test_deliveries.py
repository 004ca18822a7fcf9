"""The inbox without HTTP: what is written together, and what fails apart."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from receiver.adapters.sqlite import deliveries as module
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.deliveries import Inbox
from receiver.adapters.sqlite.queue import Queue
from receiver.core.delivery import Classification, Delivery, DeliveryKind
from receiver.core.errors import Retryable


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "pinrail.db")
    yield database
    database.close()


def delivery(name: str, kind: DeliveryKind = DeliveryKind.ACCEPTED, note: str = "main moved") -> Delivery:
    return Delivery(name, "github", "push", b"{}", Classification(kind, note), "push")


async def accept_all(inbox: Inbox, deliveries: list[Delivery]) -> list[object]:
    return await asyncio.gather(*(inbox.accept(each) for each in deliveries), return_exceptions=True)


def test_many_at_once_share_one_job_and_are_found_by_it(database: Database) -> None:
    queue = Queue(database)
    inbox = Inbox(database, queue)
    assert asyncio.run(accept_all(inbox, [delivery(f"d-{n}") for n in range(600)])) == [None] * 600
    inbox.close()
    job = queue.claim()
    assert job is not None
    joined = database.connection().execute("SELECT count(*) FROM deliveries WHERE job = ?", (job.id,)).fetchone()[0]
    assert joined == 600


def test_many_at_once_cost_few_commits(database: Database) -> None:
    inbox = Inbox(database, Queue(database))
    commits = 0
    transaction = database.transaction

    def counted() -> object:
        nonlocal commits
        commits += 1
        return transaction()

    database.transaction = counted  # type: ignore[method-assign, assignment]
    asyncio.run(accept_all(inbox, [delivery(f"d-{n}") for n in range(500)]))
    inbox.close()
    assert commits < 100


def test_an_ignored_delivery_asks_for_no_job(database: Database) -> None:
    queue = Queue(database)
    inbox = Inbox(database, queue)
    asyncio.run(accept_all(inbox, [delivery("d-1", DeliveryKind.IGNORED)]))
    inbox.close()
    assert queue.claim() is None


def test_one_that_cannot_be_stored_takes_no_other_with_it(database: Database) -> None:
    inbox = Inbox(database, Queue(database))
    many = [delivery(f"d-{n}", note="\ud800" if n == 7 else "main moved") for n in range(20)]
    results = asyncio.run(accept_all(inbox, many))
    inbox.close()
    assert [type(result) for result in results] == [Retryable if n == 7 else type(None) for n in range(20)]
    assert database.connection().execute("SELECT count(*) FROM deliveries").fetchone()[0] == 19


def test_a_database_that_stays_locked_is_an_error_in_time_for_the_sender_to_hear(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.adapters.sqlite.deliveries.ACCEPT_SECONDS", 0.1)
    inbox = Inbox(database, Queue(database))
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    [result] = asyncio.run(accept_all(inbox, [delivery("d-1")]))
    assert isinstance(result, Retryable)
    other.close()
    inbox.close()


def test_closing_writes_what_has_come_in(database: Database) -> None:
    inbox = Inbox(database, Queue(database))

    async def accept_and_close() -> None:
        pending = [asyncio.ensure_future(inbox.accept(delivery(f"d-{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        await asyncio.to_thread(inbox.close)
        await asyncio.gather(*pending)

    asyncio.run(accept_and_close())
    assert database.connection().execute("SELECT count(*) FROM deliveries").fetchone()[0] == 50


def test_deliveries_of_long_ago_are_forgotten(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox(database, Queue(database))
    asyncio.run(accept_all(inbox, [delivery("old")]))
    monkeypatch.setattr(module, "KEEP_SECONDS", -1.0)
    asyncio.run(accept_all(inbox, [delivery("new", DeliveryKind.IGNORED)]))
    inbox.close()
    assert database.connection().execute("SELECT count(*) FROM deliveries").fetchone()[0] == 0
