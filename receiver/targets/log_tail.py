"""The report on a server that ended or did not start: its last log lines and its exit status."""

import signal
from pathlib import Path

from receiver.adapters import shell
from receiver.targets.process.records import ServerRecord, oom_kills

LINES = 15
BYTES = 16_384


def describe(record: ServerRecord, *, alive: bool, out_of_memory: bool = False) -> str:
    """How the server is or how it ended, then the last lines of its log, without control characters.

    ``out_of_memory``: the kernel ended it because of the limit beside its pin.
    """
    lines = [_exit_description(record, alive=alive, out_of_memory=out_of_memory), *_tail(record.log)]
    return "\n".join(lines)


def _exit_description(record: ServerRecord, *, alive: bool, out_of_memory: bool) -> str:
    if alive:
        return f"{record.id} runs as process {record.pid}; its log is {record.log}:"
    # A process that ends lets go of its files, its lock among them, a moment before its status can be had.
    status = None if record.pid is None else shell.exit_status(record.pid, patience=1.0)
    if status is None:
        how = "has ended (how is not known: an earlier receiver started it)"
    elif status >= 0:
        how = f"ended with exit status {status}"
    else:
        how = f"was ended by {_signal_name(-status)}"
    if out_of_memory:
        how += f": out of memory, it needed more than the {record.spec.memory_mb}m of resources.memory beside its pin"
        return f"{record.id} {how}; its log is {record.log}:"
    now = oom_kills()
    short_of_memory = record.oom_kills is not None and now is not None and now > record.oom_kills
    if short_of_memory and (status is None or status == -signal.SIGKILL):
        how += ", and since its start the kernel has killed a process because memory ran out"
    return f"{record.id} {how}; its log is {record.log}:"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return [f"  (no log: {error.strerror})"]
    printable = ("".join(c if c.isprintable() else " " for c in line).rstrip() for line in text.splitlines())
    return [f"  {line}" for line in printable if line][-LINES:]
