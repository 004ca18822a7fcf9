"""``pinrail`` as a process of its own, forked from one that has its imports behind it: milliseconds, not seconds.

Exit status, output, environment, directory and signals are those of the installed program; a test compares them.
"""

import atexit
import gc
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from receiver.__main__ import main
from receiver.cli import commands

context = multiprocessing.get_context("forkserver")
_COMMANDS = [module.name for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}.")]
context.set_forkserver_preload(
    [
        "mlflow.tracking.client",
        "mlflow.store.model_registry.rest_store",
        "mlflow.store.tracking.rest_store",
        "receiver.cli.doctor.report",
        "receiver.daemon.run",
        *_COMMANDS,
        __name__,
    ]
)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], directory: Path, *, seconds: float = 90
) -> "subprocess.CompletedProcess[str]":
    """``pinrail ARGUMENTS``, run to its end. TimeoutExpired: it was killed after ``seconds``."""
    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(scratch) / "stdout", Path(scratch) / "stderr"
        process = context.Process(target=_become, args=(arguments, dict(environment), directory, outputs))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["pinrail", *arguments], seconds, *(o.read_bytes() for o in outputs))
        stdout, stderr = (output.read_text(encoding="utf-8") for output in outputs)
        return subprocess.CompletedProcess(["pinrail", *arguments], process.exitcode, stdout, stderr)


def start(arguments: Sequence[str], environment: Mapping[str, str], directory: Path, log: Path) -> BaseProcess:
    """``pinrail ARGUMENTS``, started; all that it prints is appended to ``log``."""
    process = context.Process(target=_become, args=(arguments, dict(environment), directory, (log, log)))
    process.start()
    return process


def _become(
    arguments: Sequence[str], environment: Mapping[str, str], directory: Path, outputs: tuple[Path, Path]
) -> None:
    """Make this process what ``pinrail ARGUMENTS`` would be, and end as it does."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    for descriptor, output in zip((1, 2), outputs, strict=True):
        opened = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    sys.argv = ["pinrail", *arguments]
    code: str | int | None = None
    try:
        main()
    except SystemExit as ended:
        code = ended.code
    atexit._run_exitfuncs()
    gc.collect()  # closes what is open, such as the state file, as the end of an interpreter does
    sys.exit(code)
