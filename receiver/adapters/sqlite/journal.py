"""Deployments, their steps, and quarantine in SQLite: intent before acting, result after, each committed."""

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, astuple, replace

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.outbox import store
from receiver.core.commit_status import PublishedStatus
from receiver.core.deployment import DRIFT, Cause, Deployment, Draft, KeptVersion, Outcome, Step, Verified, WayBack
from receiver.core.messages import Message
from receiver.core.plan import Action, ActionKind
from receiver.core.policy import Hold
from receiver.core.quarantine import Freeze, Quarantine
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.ports import Snapshot

# Of a restoration that fails every minute, for weeks, the first attempt and this many of the last ones are kept.
KEPT_REPEATS = 20
KEPT_SECONDS = 30 * 86_400.0  # what was found of files that nobody goes back to any more


class SqliteJournal:
    """The record of what was done to each slot. Methods that write have committed when they return.

    A reason may end with a model server's last log lines, which may contain secrets: they are masked before writing.
    """

    def __init__(self, database: Database, redact: Redactor | None = None) -> None:
        self._database = database
        self._redact = redact or Redactor()
        self._lines = self._redact.lines
        self._composing = threading.RLock()

    @property
    def place(self) -> str:
        """The state directory that it lies in."""
        return str(self._database.path.parent)

    def composing(self) -> AbstractContextManager[object]:
        """See :meth:`receiver.ports.Journal.composing`."""
        return self._composing

    def open(self, draft: Draft, messages: Sequence[Message] = ()) -> int:
        """Record that a deployment begins; returns its number."""
        return self._insert(draft, Outcome.RUNNING, "", messages)

    def close(
        self,
        deployment: int,
        outcome: Outcome,
        reason: str = "",
        messages: Sequence[Message] = (),
        repeat_of: int | None = None,
    ) -> None:
        """Record how a deployment ended. As a repetition of an earlier one it is counted there, not listed."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE deployments SET state = ?, reason = ?, ended_at = ?, repeat_of = ? WHERE id = ?",
                (outcome, self._lines(reason), time.time(), repeat_of, deployment),
            )
            if repeat_of is not None:
                _count_repetition(db, repeat_of, deployment)
            store(db, messages, self._redact)

    def hold(self, draft: Draft, hold: Hold, messages: Sequence[Message] = ()) -> int | None:
        """Record that policy said no or not yet; None if that repeats the last entry about the pin, healing aside."""
        if self.is_recorded(draft, hold):
            return None
        return self._insert(draft, hold.state.outcome, self._lines(hold.reason), messages)

    def is_recorded(self, draft: Draft, hold: Hold) -> bool:
        """The last entry about the pin, healing aside, says the same."""
        last = self._query(
            "SELECT * FROM deployments WHERE environment = ? AND model = ? AND cause != ? AND repeat_of IS NULL"
            " ORDER BY id DESC LIMIT 1",
            (draft.slot.environment, draft.slot.model, str(DRIFT)),
        )
        said = hold.state.outcome, draft.to_version, draft.revision, self._lines(hold.reason)
        return any((d.state, d.draft.to_version, d.draft.revision, d.reason) == said for d in last)

    def intend(self, deployment: int, seq: int, action: Action) -> None:
        """Commit what is about to be done, with the state that was found."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT INTO steps (deployment, seq, action, started_at) VALUES (?, ?, ?, ?)",
                (deployment, seq, json.dumps(asdict(action)), time.time()),
            )

    def result(self, deployment: int, seq: int, result: str) -> None:
        """Commit what came of it: ``done``, or the error."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE steps SET result = ?, ended_at = ? WHERE deployment = ? AND seq = ?",
                (self._lines(result), time.time(), deployment, seq),
            )

    def running(self) -> list[Deployment]:
        """Deployments without an end: those of a receiver that died are among them."""
        return self._query("SELECT * FROM deployments WHERE state = ?", (Outcome.RUNNING,))

    def find(self, number: int) -> Deployment | None:
        """The deployment with this number."""
        return next(iter(self._query("SELECT * FROM deployments WHERE id = ?", (number,))), None)

    def history(self, slot: Slot) -> list[Deployment]:
        """Every deployment of one slot, oldest first."""
        return self._query(
            "SELECT * FROM deployments WHERE environment = ? AND model = ? AND repeat_of IS NULL ORDER BY id",
            (slot.environment, slot.model),
        )

    def at(self, revision: str, environment: str) -> list[Deployment]:
        """Every deployment of one environment at one commit, oldest first."""
        return self._query(
            "SELECT * FROM deployments WHERE revision = ? AND environment = ? AND repeat_of IS NULL ORDER BY id",
            (revision, environment),
        )

    def recent(self, limit: int = 50, environment: str | None = None, model: str | None = None) -> list[Deployment]:
        """The last deployments of all slots, or of those of one environment or model; newest first."""
        return self._query(
            "SELECT * FROM deployments WHERE environment = coalesce(?, environment) AND model = coalesce(?, model)"
            " AND repeat_of IS NULL ORDER BY coalesce(repeated_at, started_at) DESC, id DESC LIMIT ?",
            (environment, model, limit),
        )

    def steps(self, deployment: int) -> list[Step]:
        """The steps of one deployment in order."""
        rows = self._database.connection().execute(
            "SELECT * FROM steps WHERE deployment = ? ORDER BY seq", (deployment,)
        )
        return [
            Step(_action(json.loads(row["action"])), row["started_at"], row["ended_at"], row["result"])
            for row in rows
        ]

    def touched(self, slot: Slot) -> list[Action]:
        """Every action begun in a slot since it was last verified, oldest first."""
        rows = self._database.connection().execute(
            "SELECT action FROM steps JOIN deployments ON deployment = id WHERE environment = ? AND model = ? AND"
            " id > (SELECT coalesce(max(id), 0) FROM deployments WHERE environment = ? AND model = ? AND state = ?)"
            " ORDER BY deployment, seq",
            (slot.environment, slot.model, slot.environment, slot.model, Outcome.LIVE),
        )
        return [_action(json.loads(row["action"])) for row in rows]

    def keep(self, entry: KeptVersion) -> None:
        """Record how the files of a version were found on this machine."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM kept_versions WHERE at < ?", (entry.at - KEPT_SECONDS,))
            db.execute(
                "INSERT OR REPLACE INTO kept_versions VALUES (?, ?, ?, ?, ?)",
                (entry.model, entry.version, entry.digest, entry.at, self._lines(entry.problem)),
            )

    def kept(self) -> dict[tuple[str, int, str], KeptVersion]:
        """The files that were checked, by model, version and digest."""
        rows = self._database.connection().execute("SELECT * FROM kept_versions")
        return {(row["model"], row["version"], row["digest"]): KeptVersion(*row) for row in rows}

    def note_ways_back(self, found: Sequence[WayBack]) -> None:
        """Record how ready all slots are to go back, in place of what was recorded before."""
        with self._database.transaction() as db:
            db.execute("DELETE FROM ways_back")
            db.executemany(
                "INSERT INTO ways_back VALUES (?, ?, ?, ?, ?, ?, ?)",
                [astuple(replace(each, problem=self._lines(each.problem))) for each in found],
            )

    def ways_back(self) -> Sequence[WayBack]:
        """How ready all slots were to go back at the last check."""
        rows = self._database.connection().execute("SELECT * FROM ways_back ORDER BY environment, model")
        return [WayBack(**{**row, "ready": bool(row["ready"])}) for row in rows]

    def last_start(self, slot: Slot, version: int) -> float | None:
        """How many seconds a version's last start in a slot took; None: it is not on record."""
        found = self._database.connection().execute(
            "SELECT steps.ended_at - steps.started_at FROM steps JOIN deployments ON deployment = id"
            " WHERE environment = ? AND model = ? AND result = 'done'"
            " AND json_extract(action, '$.kind') = ? AND json_extract(action, '$.subject') = ?"
            " ORDER BY deployment DESC, seq DESC LIMIT 1",
            (slot.environment, slot.model, ActionKind.START, f"v{version}"),
        )
        row = found.fetchone()
        return None if row is None else float(row[0])

    def verified(self) -> dict[Slot, Verified]:
        """The last verified state of every slot that has one."""
        rows = self._database.connection().execute(
            "SELECT * FROM deployments WHERE id IN "
            "(SELECT max(id) FROM deployments WHERE state = ? GROUP BY environment, model)",
            (Outcome.LIVE,),
        )
        return {
            Slot(row["environment"], row["model"]): Verified(
                row["to_version"], row["digest"], row["revision"], row["ended_at"], row["port"]
            )
            for row in rows
        }

    def remember_pins(self, snapshot: Snapshot) -> None:
        """Keep the environment files of a commit whose pins are valid, in place of those before."""
        known = self._database.connection().execute("SELECT revision FROM valid_pins").fetchone()
        if known is not None and known["revision"] == snapshot.commit:
            return
        files = {path: content.decode() for path, content in snapshot.files.items()}
        with self._database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO valid_pins VALUES (1, ?, ?)", (snapshot.commit, json.dumps(files)))

    def remembered_pins(self) -> Snapshot | None:
        """The last environment files whose pins were valid."""
        row = self._database.connection().execute("SELECT revision, files FROM valid_pins").fetchone()
        if row is None:
            return None
        files = {path: text.encode() for path, text in json.loads(row["files"]).items()}
        return Snapshot(row["revision"], files, rewritten=False)

    def published(self) -> dict[str, PublishedStatus]:
        """The status published last for each environment's pins."""
        rows = self._database.connection().execute("SELECT * FROM told_pins")
        return {row["environment"]: PublishedStatus(row["revision"], row["pins"], row["pending"]) for row in rows}

    def publish(self, environment: str, status: PublishedStatus, messages: Sequence[Message]) -> None:
        """Record what is published for an environment's pins, with the messages that do so."""
        with self._database.transaction() as db:
            values = (environment, status.revision, status.pins, status.pending)
            db.execute("INSERT OR REPLACE INTO told_pins VALUES (?, ?, ?, ?)", values)
            store(db, messages, self._redact)

    def quarantine(self, *entries: Quarantine, messages: Sequence[Message] = ()) -> None:
        """Do not try these versions again while the pin stays; with ``needs_human``, do not touch the slot at all."""
        with self._database.transaction() as db:
            for entry in entries:
                slot = entry.slot.environment, entry.slot.model
                db.execute(
                    "DELETE FROM quarantine WHERE environment = ? AND model = ? AND version = ? AND NOT released",
                    (*slot, entry.version),
                )
                db.execute(
                    "INSERT INTO quarantine (environment, model, version, revision, reason, needs_human, since,"
                    " terms, manual) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *slot,
                        entry.version,
                        entry.revision,
                        self._lines(entry.reason),
                        entry.needs_human,
                        entry.since,
                        entry.terms,
                        entry.manual,
                    ),
                )
            store(db, messages, self._redact)

    def quarantined(self, revision: str | None = None, *, released: bool = False) -> list[Quarantine]:
        """What is in quarantine, at one commit or at all, perhaps with what is not any more; newest first."""
        rows = self._database.connection().execute(
            "SELECT * FROM quarantine WHERE (? IS NULL OR revision = ?) AND released <= ?"
            " ORDER BY since DESC, id DESC",
            (revision, revision, released),
        )
        return [_quarantine(row) for row in rows]

    def taken_out(self, slot: Slot, version: int) -> Quarantine | None:
        """The last quarantine of one version in one slot, also one that was released."""
        row = self._database.connection().execute(
            "SELECT * FROM quarantine WHERE environment = ? AND model = ? AND version = ?"
            " ORDER BY id DESC LIMIT 1",
            (slot.environment, slot.model, version),
        ).fetchone()  # fmt: skip
        return _quarantine(row) if row is not None else None

    def release(self, entry: Quarantine) -> None:
        """The slot is pinned in another way now: the quarantine stays on record, and holds nothing any more."""
        with self._database.transaction() as db:
            db.execute(
                "UPDATE quarantine SET released = 1"
                " WHERE environment = ? AND model = ? AND version = ? AND terms = ?",
                (entry.slot.environment, entry.slot.model, entry.version, entry.terms),
            )

    def lift(self, slot: Slot, version: int | None = None) -> None:
        """Forget the quarantine of one slot, or of one version there."""
        with self._database.transaction() as db:
            db.execute(
                "DELETE FROM quarantine WHERE environment = ? AND model = ? AND version = coalesce(?, version)",
                (slot.environment, slot.model, version),
            )

    def freeze(self, entry: Freeze) -> None:
        """Let nothing new be deployed there."""
        with self._database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO freezes VALUES (?, ?, ?, ?)",
                (entry.environment, entry.model or "", self._lines(entry.reason), entry.since),
            )

    def unfreeze(self, environment: str, model: str | None) -> bool:
        """Let new versions be deployed there again; False: it was not frozen."""
        with self._database.transaction() as db:
            gone = db.execute(
                "DELETE FROM freezes WHERE environment = ? AND model = ?", (environment, model or "")
            ).rowcount
        return gone > 0

    def frozen(self) -> list[Freeze]:
        """Where nothing new is deployed; newest first."""
        rows = self._database.connection().execute("SELECT * FROM freezes ORDER BY since DESC")
        return [Freeze(row["environment"], row["model"] or None, row["reason"], row["since"]) for row in rows]

    def holds_version(self) -> object:
        """Differs from what it was before if a quarantine or a freeze came or went meanwhile."""
        row = self._database.connection().execute(
            "SELECT (SELECT coalesce(max(id), 0) FROM quarantine), (SELECT count(*) FROM quarantine),"
            " (SELECT count(*) FROM freezes), (SELECT coalesce(max(since), 0) FROM freezes)"
        ).fetchone()  # fmt: skip
        return tuple(row)

    def _insert(self, draft: Draft, state: Outcome, reason: str, messages: Sequence[Message]) -> int:
        now = time.time()
        with self._database.transaction() as db:
            cursor = db.execute(
                "INSERT INTO deployments (environment, model, from_version, to_version, digest, revision, cause,"
                " override, plan, state, reason, started_at, ended_at, down_since, port)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    draft.slot.environment,
                    draft.slot.model,
                    draft.from_version,
                    draft.to_version,
                    draft.digest,
                    draft.revision,
                    str(draft.cause),
                    draft.override,
                    json.dumps([asdict(a) for a in draft.plan]),
                    state,
                    reason,
                    now,
                    now if state.terminal else None,
                    draft.down_since,
                    draft.port,
                ),
            )
            store(db, messages, self._redact)
        return int(cursor.lastrowid or 0)

    def _query(self, sql: str, parameters: Sequence[object]) -> list[Deployment]:
        return [_deployment(row) for row in self._database.connection().execute(sql, parameters)]


def _count_repetition(db: sqlite3.Connection, earlier: int, deployment: int) -> None:
    """Count it on the entry that it repeats, and delete the oldest repetitions of that entry; the count stays."""
    db.execute(
        "UPDATE deployments SET repeats = repeats + 1, (repeated_at, repeat_reason) ="
        " (SELECT ended_at, reason FROM deployments WHERE id = ?) WHERE id = ?",
        (deployment, earlier),
    )
    surplus = db.execute(
        "SELECT id FROM deployments WHERE repeat_of = ? ORDER BY id DESC LIMIT -1 OFFSET ?", (earlier, KEPT_REPEATS)
    ).fetchall()
    for row in surplus:
        db.execute("DELETE FROM steps WHERE deployment = ?", (row["id"],))
        db.execute("DELETE FROM deployments WHERE id = ?", (row["id"],))


def _quarantine(row: sqlite3.Row) -> Quarantine:
    return Quarantine(
        Slot(row["environment"], row["model"]),
        row["version"],
        row["revision"],
        row["reason"],
        bool(row["needs_human"]),
        row["since"],
        row["terms"],
        bool(row["manual"]),
        bool(row["released"]),
    )


def _action(raw: dict[str, str | None]) -> Action:
    return Action(ActionKind(raw["kind"] or ""), raw["subject"] or "", raw["before"], raw["after"])


def _deployment(row: sqlite3.Row) -> Deployment:
    draft = Draft(
        Slot(row["environment"], row["model"]),
        row["from_version"],
        row["to_version"],
        row["digest"],
        row["revision"],
        Cause.read(row["cause"]),
        row["override"],
        tuple(_action(a) for a in json.loads(row["plan"])) if row["plan"] != "[]" else (),
        row["down_since"],
        row["port"],
    )
    reason, ended_at = (
        (row["repeat_reason"], row["repeated_at"]) if row["repeats"] else (row["reason"], row["ended_at"])
    )
    return Deployment(row["id"], draft, Outcome(row["state"]), reason, row["started_at"], ended_at, row["repeats"])
