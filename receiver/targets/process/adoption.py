"""Model servers whose records are gone: they have outlived the state directory that they were started in.

A server opens its control socket anew where that was removed, so it is found by its socket, says what it is, and is
recorded again. Its port stays open all the while.
"""

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from receiver.core.state import ServerSpec, Slot
from receiver.targets.process.records import ServerRecord, ServerRecords
from serving.lifecycle.control import ControlError, ask

log = logging.getLogger(__name__)

ASK_SECONDS = 2.0
NO_PORT = 0  # of a server that has never had traffic: nobody wants it


def adopt_unrecorded(records: ServerRecords) -> None:
    """Record every server that answers at a control socket without a record, and have each hold its record's lock."""
    for control in records.unrecorded():
        try:
            _adopt(records, control)
        except ConnectionRefusedError:
            control.unlink(missing_ok=True)  # nobody is there any more
        except (OSError, ControlError, KeyError, TypeError, ValueError) as error:
            log.warning("the model server at %s has no record, and cannot be adopted: %r", control, error)
    for record in records.all():
        with contextlib.suppress(OSError, ControlError):  # it has ended, or another process does the same
            _hold_again(records, record)


def _hold_again(records: ServerRecords, record: ServerRecord) -> None:
    """A receiver was killed between the new record and its lock: the server would count as ended while it hangs."""
    if not records.alive(record):
        with records.locked(record) as lock:
            ask(record.control, {"do": "hold"}, fds=[lock], timeout=ASK_SECONDS)


def _adopt(records: ServerRecords, control: Path) -> None:
    status, _ = ask(control, {"do": "status"}, timeout=ASK_SECONDS)
    if status["role"] == "leaving":
        return
    with records.recreate(control, _spec(status)) as (record, lock):
        try:
            ask(control, {"do": "hold"}, fds=[lock], timeout=ASK_SECONDS)
        except (OSError, ControlError):
            record.path.unlink(missing_ok=True)
            raise
        records.note_pid(record, int(status["pid"]))
    log.warning("%s has outlived its record, and is adopted", record.id)


def _spec(status: Mapping[str, Any]) -> ServerSpec:
    said = status["spec"]
    return ServerSpec(
        slot=Slot(str(said["environment"]), str(said["model"])),
        version=int(said["version"]),
        digest=str(said["digest"]),
        stage=said["stage"] or None,
        port=int(status["port"] or NO_PORT),
        revision=str(said["revision"]),
        log=str(said["log"] or ""),
        replicas=int(said.get("replicas") or 1),
        cpus=float(said.get("cpus") or 0),
        memory_mb=int(said.get("memory-mb") or 0),
    )
