"""Downloads of a version's artifacts, file by file: each ends at its deadline, and the next try goes on from there.

MLflow's time limits are per request, so a slow stream exceeds none of them. A download therefore runs in a thread,
which is stopped at the deadline. Files that are complete stay for the next try, under a lock, as nothing may delete
or take over a directory that is still written to.

What a version may take of the disk is checked twice: before the download by the sizes that the store declares, and
while it runs by what was written, since whoever may write to the registry also decides what it declares.
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
from concurrent.futures import Future, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from serving.errors import ModelMissingError, NoRoomError, RegistryUnavailableError, VersionTooLargeError
from serving.model.digest import bytes_below

T = TypeVar("T")

log = logging.getLogger(__name__)

DEADLINE_SECONDS = 120.0
SETTING = "PINRAIL_DOWNLOAD_SECONDS"
MOST_MB = 10_000.0
SIZE_SETTING = "PINRAIL_VERSION_MB"
MOST_FILES = 20_000
RESERVE_BYTES = 256 << 20  # of the disk, which the receiver's own state is on too
WATCH_SECONDS = 0.25  # between two looks at what was written
PROGRESS_SECONDS = 10.0  # between two lines of the log
STOP_SECONDS = 1.0  # for a thread to end after it was stopped
LOCK = ".lock"

# Bounds the threads, those among them that were stopped and hang in a read: they end at MLflow's time limit for it.
running = threading.BoundedSemaphore(16)


class Stopped(BaseException):
    """Raised in the thread of a download whose deadline is over."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one download may take."""

    seconds: float = DEADLINE_SECONDS
    most_mb: float = MOST_MB

    def require_small(self, what: str, size: float, *, so_far: bool = False) -> None:
        """VersionTooLargeError: so many bytes are more than a version may have."""
        if size > self.most_mb * 1e6:
            came = ", and more may be to come" if so_far else ""
            raise VersionTooLargeError(
                f"{what} is too large: found {size / 1e6:,.1f} MB{came}, allowed {self.most_mb:,g}: register it "
                f"without what it does not need, or raise {SIZE_SETTING}"
            )


USUAL = Bounds()


@dataclass(slots=True)
class Progress:
    """What a download is about, and how much that is once it is known."""

    what: str
    bounds: Bounds
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
        except NoRoomError:
            shutil.rmtree(place, ignore_errors=True)
            raise
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


def run(call: Callable[[Progress], T], place: Path, what: str, bounds: Bounds) -> T:
    """Return what the call returns, and raise what it raises; log how far it is.

    Raises:
        RegistryUnavailableError: it took longer than it may, and was stopped; or too many downloads are running.
        NoRoomError: the disk is almost full. It was stopped.
        VersionTooLargeError: it wrote more than a version may have. It was stopped.
    """
    if not running.acquire(blocking=False):
        raise RegistryUnavailableError(f"{what} waits: too many downloads are running already")
    progress = Progress(what, bounds)
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
    try:
        _wait(future, place, progress)
    except (RegistryUnavailableError, VersionTooLargeError):
        _stop(thread)
        raise
    result = future.result()
    bounds.require_small(what, bytes_below(place))
    return result


def _wait(future: "Future[Any]", place: Path, progress: Progress) -> None:
    """Return once it has ended; raise why it has to be stopped."""
    what, bounds = progress.what, progress.bounds
    begun = time.monotonic()
    said = 0
    while not future.done():
        passed = time.monotonic() - begun
        if passed >= bounds.seconds:
            raise RegistryUnavailableError(
                f"{what} could not be downloaded within {bounds.seconds:g} s: {_so_far(place, progress)} have come, "
                f"and the next try goes on from the files that are complete. If the registry or its artifact store "
                f"is only slow, raise {SETTING}"
            )
        if passed // PROGRESS_SECONDS > said:
            said = int(passed // PROGRESS_SECONDS)
            log.info("downloading %s: %s", what, _so_far(place, progress))
        bounds.require_small(what, bytes_below(place), so_far=True)
        require_room(place, what)
        wait([future], min(WATCH_SECONDS, bounds.seconds - passed))


def require_room(place: Path, what: str, size: float = 0.0) -> None:
    """NoRoomError: the disk has no room for so many bytes more."""
    free = shutil.disk_usage(place).free - RESERVE_BYTES
    if free < size:
        raise NoRoomError(
            f"{what} could not be stored: the disk of {place.parent} is full. {size / 1e6:,.1f} MB are to come, and "
            f"{max(0, free) / 1e6:,.1f} MB are free, beside {RESERVE_BYTES >> 20} MiB for Pinrail itself. Free some "
            f"space; the download is tried again"
        )


def fetch_files(uri: str, place: Path, tracking_uri: str | None, progress: Progress) -> Path:
    """Download every file below an artifact URI that is not complete in ``place``; returns their directory.

    Nothing is downloaded of a version that is too large by what is declared, or that the disk has no room for.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracking.artifact_utils import _get_root_uri_and_artifact_path

    root_uri, top = _get_root_uri_and_artifact_path(uri)
    repository = get_artifact_repository(artifact_uri=root_uri, tracking_uri=tracking_uri)
    files = list(islice(_files(repository, top or None), MOST_FILES + 1))
    place.mkdir(parents=True, exist_ok=True)
    if not files:  # a store that lists nothing may still have it
        return Path(repository.download_artifacts(artifact_path=top, dst_path=str(place)))
    if len(files) > MOST_FILES:
        raise VersionTooLargeError(f"{progress.what} has more than {MOST_FILES:,} files: register it without them")
    sizes = [info.file_size for info in files]
    progress.bytes = None if None in sizes else sum(sizes)
    declared = sum(size for size in sizes if size is not None)
    progress.bounds.require_small(progress.what, declared)
    require_room(place, progress.what, declared - bytes_below(place))
    for info in files:
        local = place / PurePosixPath(info.path)
        if not local.resolve().is_relative_to(place.resolve()):  # else a registry could write any file of this user's
            raise ModelMissingError(f"{progress.what} lists a file outside of its directory: {info.path!a}")
        if not (info.file_size and local.is_file() and local.stat().st_size == info.file_size):
            local.parent.mkdir(parents=True, exist_ok=True)
            _fetch_file(repository, info.path, local)
            _require_whole(local, info)
    # What an earlier try has left and is no longer there must not become part of the version.
    wanted = {place / PurePosixPath(info.path) for info in files}
    for path in [path for path in place.rglob("*") if path.is_file() and path not in wanted]:
        path.unlink()
    return place / top if top else place


def _require_whole(local: Path, info: Any) -> None:
    """RegistryUnavailableError: the connection ended early. An answer without a length does not tell."""
    came = local.stat().st_size
    if info.file_size and came != info.file_size:
        local.unlink()
        raise RegistryUnavailableError(
            f"{info.path} came with {came:,} bytes, and the store lists {info.file_size:,}: it was cut short"
        )


def fetch_file(uri: str, place: Path, tracking_uri: str | None) -> Path:
    """Download one file at an artifact URI into ``place``."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.tracking.artifact_utils import _get_root_uri_and_artifact_path

    root_uri, path = _get_root_uri_and_artifact_path(uri)
    local = place / PurePosixPath(path).name
    _fetch_file(get_artifact_repository(artifact_uri=root_uri, tracking_uri=tracking_uri), path, local)
    return local


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
