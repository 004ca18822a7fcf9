"""The queue: at most one waits, at most one runs, and whoever asks gets a look that begins afterwards."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from receiver.adapters.sqlite import queue as module
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.queue import Queue
from receiver.core.redact import Redactor
from receiver.ports import Job
from tests.support.examples import examples


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "pinrail.db")
    yield database
    database.close()


@pytest.fixture
def queue(database: Database) -> Queue:
    return Queue(database)


def claimed(queue: Queue) -> Job:
    job = queue.claim()
    assert job is not None
    return job


def state(database: Database, job: int) -> tuple[str, str]:
    row = database.connection().execute("SELECT state, note FROM jobs WHERE id = ?", (job,)).fetchone()
    return row["state"], row["note"]


def test_an_empty_queue_has_nothing_to_claim(queue: Queue) -> None:
    assert queue.claim() is None


def test_whoever_asks_while_a_job_waits_joins_it_and_is_named_in_it_once(queue: Queue) -> None:
    assert len({queue.enqueue(cause) for cause in ("startup", "push", "timer", "push")}) == 1
    job = claimed(queue)
    assert (job.causes, job.cause, job.attempts) == (("startup", "push", "timer"), "startup,push,timer", 1)


def test_whoever_asks_while_a_job_runs_gets_the_next_one(queue: Queue) -> None:
    queue.enqueue("push")
    running = claimed(queue)
    following = queue.enqueue("push")
    assert following != running.id
    assert queue.claim() is None
    queue.done(running, "abc: 1 deployments")
    assert claimed(queue).id == following


def test_a_retry_waits_and_counts_its_attempts(queue: Queue, database: Database) -> None:
    queue.enqueue("push")
    queue.wait(0)
    queue.retry(claimed(queue), 0.2, "the registry is down")
    assert queue.claim() is None
    queue.wait(10)
    job = claimed(queue)
    assert (job.attempts, job.causes) == (2, ("push",))
    assert state(database, job.id) == ("leased", "the registry is down")


def test_a_push_pulls_a_waiting_retry_forward_and_a_timer_does_not(queue: Queue) -> None:
    queue.enqueue("push")
    queue.retry(claimed(queue), 600, "the registry is down")
    queue.enqueue("timer")
    assert queue.claim() is None
    queue.enqueue("push")
    assert claimed(queue).causes == ("push", "timer")


def test_a_retry_gives_way_to_a_newer_job_that_waits_already(queue: Queue, database: Database) -> None:
    queue.enqueue("push")
    old = claimed(queue)
    newer = queue.enqueue("push")
    queue.retry(old, 600, "the registry is down")
    assert state(database, old.id) == ("superseded", f"job {newer} takes over: the registry is down")
    assert claimed(queue).id == newer


def test_a_buried_job_is_dead_says_why_and_lets_the_next_one_pass(queue: Queue, database: Database) -> None:
    queue.enqueue("push")
    job = claimed(queue)
    queue.bury(job, "pins: \x1b[31mversion: 010\nis not allowed")
    assert state(database, job.id) == ("dead", "pins: version: 010 is not allowed")
    queue.enqueue("push")
    assert claimed(queue).id != job.id


def test_a_job_is_ended_once(queue: Queue) -> None:
    queue.enqueue("push")
    job = claimed(queue)
    queue.done(job)
    for end in (queue.done, lambda j: queue.bury(j, ""), lambda j: queue.retry(j, 1, "")):
        with pytest.raises(RuntimeError, match=f"job {job.id} is not leased"):
            end(job)


def test_what_a_dead_receiver_had_leased_waits_again_and_the_third_crash_buries_it(
    queue: Queue, database: Database
) -> None:
    job = queue.enqueue("push")
    for crash in (1, 2):
        assert claimed(queue).crashes == crash - 1
        recovered = queue.recover()
        assert recovered is not None
        assert (recovered.id, recovered.crashes) == (job, crash)
    claimed(queue)
    queue.recover()
    assert state(database, job) == ("dead", "the receiver died 3 times while it ran this job")
    following = queue.enqueue("startup")
    assert claimed(queue).id == following


def test_many_honest_retries_are_no_crashes(queue: Queue, database: Database) -> None:
    job = queue.enqueue("push")
    for _ in range(5):
        queue.retry(claimed(queue), 0, "the registry is down")
    claimed(queue)
    queue.recover()
    assert state(database, job)[0] == "queued"
    assert claimed(queue).attempts == 7


def test_a_job_of_a_dead_receiver_gives_way_to_a_newer_one(queue: Queue, database: Database) -> None:
    queue.enqueue("push")
    old = claimed(queue)
    newer = queue.enqueue("push")
    queue.recover()
    assert state(database, old.id)[0] == "superseded"
    assert claimed(queue).id == newer


def test_with_nothing_leased_there_is_nothing_to_recover(queue: Queue) -> None:
    queue.enqueue("push")
    assert queue.recover() is None


def test_a_worker_that_waits_begins_within_milliseconds_of_the_commit(queue: Queue) -> None:
    delays: list[float] = []
    for _ in range(5):
        asked: list[float] = []

        def ask(asked: list[float] = asked) -> None:
            asked.append(time.monotonic())
            queue.enqueue("push")

        timer = threading.Timer(0.02, ask)
        timer.start()
        while (job := queue.claim()) is None:
            queue.wait(10)
        delays.append(time.monotonic() - asked[0])
        timer.join()
        queue.done(job)
    assert min(delays) < 0.05


def test_a_job_enqueued_between_a_claim_and_the_wait_ends_that_wait(queue: Queue) -> None:
    assert queue.claim() is None
    queue.enqueue("push")
    began = time.monotonic()
    queue.wait(30)
    assert time.monotonic() - began < 5


def test_a_wait_ends_by_itself_and_when_woken(queue: Queue) -> None:
    queue.wait(0.01)
    queue.wake()
    queue.wait(30)


def test_a_clock_that_jumps_back_a_day_holds_no_retry_up(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.enqueue("push")
    queue.retry(claimed(queue), 30, "the registry is down")
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now - 86_400)
    assert claimed(queue).attempts == 2


def test_a_clock_that_jumps_ahead_only_makes_a_retry_due_early(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.enqueue("push")
    queue.retry(claimed(queue), 30, "the registry is down")
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + 86_400)
    assert claimed(queue).attempts == 2


def test_two_workers_never_lease_at_once(database: Database) -> None:
    queues = [Queue(database), Queue(database)]
    queues[0].enqueue("push")
    assert [queue.claim() is None for queue in queues] == [False, True]


def test_a_worker_that_read_before_the_other_one_leased_gets_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, late = Queue(database), Queue(database)
    queue.enqueue("push")
    claimed(queue)
    queue.enqueue("push")
    monkeypatch.setattr(late, "_seconds_until_due", lambda: 0.0)
    assert late.claim() is None


def test_a_retry_that_wants_to_wait_for_ages_is_due_within_the_hour(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.enqueue("push")
    queue.retry(claimed(queue), 1e12, "a rate limit without sense")
    assert queue.claim() is None
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + module.MAX_DELAY_SECONDS)
    assert claimed(queue).attempts == 2


def test_a_note_is_no_longer_than_a_person_reads(queue: Queue, database: Database) -> None:
    job = queue.enqueue("push")
    queue.bury(claimed(queue), "x" * 50_000)
    assert state(database, job) == ("dead", "x" * module.NOTE_CHARACTERS)


def test_old_jobs_that_nobody_asks_about_are_forgotten(
    queue: Queue, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cause in ("timer", "push"):
        queue.enqueue(cause)
        queue.done(claimed(queue))
    queue.enqueue("timer")
    queue.bury(claimed(queue), "the pins are not valid, and that for weeks")
    with database.transaction() as db:
        db.execute("INSERT INTO deliveries VALUES ('d', 'github', 'push', 0, x'', 'accepted', '', 2)")
    now = time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + module.KEEP_SECONDS + 1)
    queue.enqueue("timer")
    last = claimed(queue)
    queue.done(last)
    left = [row[0] for row in database.connection().execute("SELECT id FROM jobs ORDER BY id")]
    assert left == [2, last.id]


def test_a_token_in_an_error_is_in_no_row(database: Database) -> None:
    queue = Queue(database, Redactor(["hunter2hunter2"]))
    job = queue.enqueue("push")
    queue.bury(claimed(queue), "fatal: https://me:tok@host/r: hunter2hunter2")
    assert state(database, job) == ("dead", "fatal: https://***@host/r: ***")
    job = queue.enqueue("push")
    queue.retry(claimed(queue), 0, "hunter2hunter2")
    assert state(database, job) == ("retry", "***")
    again = claimed(queue)
    newer = queue.enqueue("push")
    queue.retry(again, 0, "hunter2hunter2")
    assert state(database, job) == ("superseded", f"job {newer} takes over: ***")


class QueueMachine(RuleBasedStateMachine):
    """Any order of events. Each request remembers which begun look, at the latest, must serve it."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.directory = tempfile.TemporaryDirectory()
        self.database = Database(Path(self.directory.name) / "pinrail.db")
        self.database.connection().execute("PRAGMA synchronous=OFF")
        self.queue = Queue(self.database)
        self.running: Job | None = None
        self.unserved = False  # somebody asked after the last look had begun

    @rule(cause=st.sampled_from(["push", "timer", "retry"]))
    def enqueue(self, cause: str) -> None:
        self.queue.enqueue(cause)
        self.unserved = True

    @rule()
    def claim(self) -> None:
        job = self.queue.claim()
        if job is not None:
            assert self.running is None
            self.running = job
            self.unserved = False

    @precondition(lambda self: self.running is not None)
    @rule(end=st.sampled_from(["done", "bury"]))
    def end(self, end: str) -> None:
        assert self.running is not None
        if end == "done":
            self.queue.done(self.running)
        else:
            self.queue.bury(self.running, "wrong")
        self.running = None

    @precondition(lambda self: self.running is not None)
    @rule(after=st.sampled_from([0.0, 600.0, 1e12]))
    def retry(self, after: float) -> None:
        assert self.running is not None
        self.queue.retry(self.running, after, "not ready")
        self.running = None
        self.unserved = True

    @rule()
    def crash(self) -> None:
        recovered = self.queue.recover()
        assert (recovered is None) == (self.running is None)
        if recovered is not None and recovered.crashes < module.MAX_CRASHES:
            self.unserved = True
        self.running = None

    @invariant()
    def at_most_one_waits_and_one_runs_and_nobody_is_forgotten(self) -> None:
        states = [row[0] for row in self.database.connection().execute("SELECT state FROM jobs")]
        waiting = states.count("queued") + states.count("retry")
        assert waiting == int(self.unserved)
        assert states.count("leased") == int(self.running is not None)

    def teardown(self) -> None:
        self.database.close()
        self.directory.cleanup()


TestNothingEnqueuedIsEverLost = QueueMachine.TestCase
TestNothingEnqueuedIsEverLost.settings = settings(max_examples=examples(30), stateful_step_count=30, deadline=None)
