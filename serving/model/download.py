"""Downloads of a version's artifacts, file by file: each ends at its deadline, and the next try goes on from there.

MLflow's time limits are per request, so a slow stream exceeds none of them. A download therefore runs in a thread,
which is stopped at the deadline. Files that are complete stay for the next try, under a lock, as nothing may delete
or take over a directory that is still written to.
"""

import contextlib
import ctypes
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from serving.errors import RegistryUnavailableError
from serving.model.digest import bytes_below

T = TypeVar("T")

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 120.0
SETTING = "PINRAIL_DOWNLOAD_SECONDS"
PROGRESS_SECONDS = 10.0  # between two lines of the log
STOP_SECONDS = 1.0  # for a thread to end after it was stopped
LOCK = ".lock"

# Bounds the threads, those among them that were stopped and hang in a read: they end at MLflow's time limit for it.
running = threading.BoundedSemaphore(16)


class Stopped(BaseException):
    """Raised in the thread of a download whose deadline is over."""


@dataclass(slots=True)
class Progress:
    """What a download is about, once that is known."""

    bytes: int | None = None  # of all files


@contextlib.contextmanager
def resumable(place: Path, otherwise: Callable[[], Path]) -> Iterator[Path]:
    """The directory to download to: ``place`` with what an earlier try has left, or another one if it is in use.

    It is removed at the end, except where the registry was too slow or failed: then a later try goes on with it.
    """
    lock = _locked(place)
    if lock is None:
        place = otherwise()
    try:
        try:
            yield place
        except RegistryUnavailableError:
            if not any(path.is_file() and path.name != LOCK for path in place.rglob("*")):
                shutil.rmtree(place, ignore_errors=True)
            raise
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        else:
            shutil.rmtree(place, ignore_errors=True)
    finally:
        if lock is not None:
            os.close(lock)


def _locked(place: Path) -> int | None:
    """The open lock of the directory, which exists then; None: another download has it."""
    with contextlib.suppress(FileNotFoundError):  # another one has just removed it
        place.mkdir(parents=True, exist_ok=True)
        os.utime(place)  # it is not abandoned
        lock = os.open(place / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_ino == (place / LOCK).stat().st_ino:
                return lock
        except OSError:
            pass
        os.close(lock)
    return None


def run(call: Callable[[Progress], T], place: Path, what: str, seconds: float) -> T:
    """Return what the call returns, and raise what it raises; log how far it is.

    RegistryUnavailableError: it took longer than ``seconds``, and was stopped; or too many downloads are running.
    """
    if not running.acquire(blocking=False):
        raise RegistryUnavailableError(f"{what} waits: too many downloads are running already")
    progress: Progress = Progress()
    future: Future[T] = Future()

    def body() -> None:
        try:
            future.set_result(call(progress))
        except BaseException as error:  # noqa: BLE001 - raised again by the future
            future.set_exception(error)
        finally:
            running.release()

    thread = threading.Thread(target=body, name="download", daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while True:
        try:
            return future.result(max(0.0, min(PROGRESS_SECONDS, deadline - time.monotonic())))
        except FutureTimeoutError:
            if future.done():  # at this moment, or the call raised a TimeoutError of its own
                return future.result()
            if time.monotonic() >= deadline:
                break
            log.info("downloading %s: %s", what, _so_far(place, progress))
    _stop(thread)
    raise RegistryUnavailableError(
        f"{what} could not be downloaded within {seconds:g} s: {_so_far(place, progress)} have come, and the next "
        f"try goes on from the files that are complete. If the registry or its artifact store is only slow, raise "
        f"{SETTING}"
    )


def fetch_files(uri: str, place: Path, tracking_uri: str | None, progress: Progress) -> Path:
    """Download every file below an artifact URI that is not complete in ``place``; returns their directory."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracking.artifact_utils import _get_root_uri_and_artifact_path

    root_uri, top = _get_root_uri_and_artifact_path(uri)
    repository = get_artifact_repository(artifact_uri=root_uri, tracking_uri=tracking_uri)
    files = list(_files(repository, top or None))
    place.mkdir(parents=True, exist_ok=True)
    if not files:  # a store that lists nothing may still have it
        return Path(repository.download_artifacts(artifact_path=top, dst_path=str(place)))
    sizes = [info.file_size for info in files]
    progress.bytes = None if None in sizes else sum(sizes)
    for info in files:
        local = place / PurePosixPath(info.path)
        if not (info.file_size and local.is_file() and local.stat().st_size == info.file_size):
            local.parent.mkdir(parents=True, exist_ok=True)
            _fetch_file(repository, info.path, local)
    # What an earlier try has left and is no longer there must not become part of the version.
    wanted = {place / PurePosixPath(info.path) for info in files}
    for path in [path for path in place.rglob("*") if path.is_file() and path not in wanted]:
        path.unlink()
    return place / top if top else place


def _fetch_file(repository: Any, path: str, local: Path) -> None:
    # In this thread: MLflow's download_artifacts would use others, which nothing can stop.
    repository._download_file(path, str(local))  # noqa: SLF001 - every store implements it


def _files(repository: Any, directory: str | None) -> Iterator[Any]:
    for info in repository.list_artifacts(directory):
        if info.is_dir:
            yield from _files(repository, info.path)
        else:
            yield info


def _stop(thread: threading.Thread) -> None:
    """Raise in the thread, which ends it at its next step: between two chunks of a slow stream."""
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Stopped))
    thread.join(STOP_SECONDS)


def _so_far(place: Path, progress: Progress) -> str:
    total = "" if progress.bytes is None else f" of {progress.bytes / 1e6:.1f}"
    return f"{bytes_below(place) / 1e6:.1f}{total} MB"
