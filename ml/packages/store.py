"""The environments on this machine, each under the digest of what it was made from.

``<root>/<32 hex>/`` is complete or not there: it is made under another name and renamed. Several processes may share
a root; one of them makes an environment, the others wait for it. Hard links to uv's cache, ``<root>/cache``, let
environments share their files.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from pathlib import Path

from ml.errors import MlError
from ml.packages.build import (
    POLL_SECONDS,
    PackagesUnavailableError,
    Stop,
    Workshop,
    add_serving,
    find_python,
    interpreter_of,
    make,
)
from ml.packages.decision import Needed, Serving, decide
from ml.packages.installed import installed, serving
from ml.packages.requirements import needs_nothing, read_listed

TEMPORARY, CACHE = ".new-", "cache"
KEY = re.compile("[0-9a-f]{32}")
ABANDONED_SECONDS = TODAY_SECONDS = 86_400.0


class PackageStore:
    """A directory of environments. The artifacts that it is asked about are those of one version, verified."""

    def __init__(self, root: Path, serving: Callable[[], Serving] = serving, *, only_verified: bool = False) -> None:
        """``serving``: what a model server needs. ``only_verified``: a version without hashes gets nothing."""
        self.root = root.absolute()
        self._serving = serving
        self._only_verified = only_verified

    def needed(self, artifacts: Path, *, original: bool = False) -> Needed | None:
        """Return what has to be installed to load this version; None: nothing.

        ``original``: the model itself is to be loaded, also where a twin answers for it.
        UnsuitablePackagesError: it can be loaded nowhere here.
        """
        if needs_nothing(artifacts) and not original:
            return None
        listed = read_listed(artifacts)
        needed = decide(listed, installed, self._serving()) if listed is not None else None
        if needed is None or (self._only_verified and not needed.verified):
            return None
        find_python(needed.python)
        return needed

    def find(self, needed: Needed) -> Path | None:
        """The environment for it, if it is here."""
        path = self.root / self._key_of(needed)
        return path if interpreter_of(path).exists() else None

    def obtain(self, needed: Needed, stop: Stop) -> Path:
        """The environment for it, made now where it is not here. ``stop`` is asked while that takes.

        PackagesFailedError: it cannot be made. PackagesUnavailableError: not now.
        """
        path = self.root / self._key_of(needed)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with self._alone(path.name, stop):
                if self.find(needed) is None:
                    self._make(needed, path, stop)
            os.utime(path)  # prune() uses it
        except OSError as error:
            raise PackagesUnavailableError(f"its packages cannot be installed in {self.root}: {error}") from error
        return path

    def prune(self, in_use: Collection[Path], unused_seconds: float, most_bytes: float = math.inf) -> int:
        """Remove environments not used for so long, then the oldest while all take more than ``most_bytes``.

        Not those that were used today, or are of the versions ``in_use``. Returns how many.
        """
        keep = self._keys_of(in_use)
        made = []
        for path in self.root.iterdir() if self.root.is_dir() else ():
            with contextlib.suppress(OSError):
                if KEY.fullmatch(path.name) is not None and path.name not in keep:
                    made.append((path.stat().st_mtime, path))
                elif path.name.startswith(TEMPORARY) and time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                    self._remove(path)
        gone = 0
        for used, path in sorted(made):
            unused = time.time() - used
            if unused <= unused_seconds and (unused <= TODAY_SECONDS or self.bytes_used() <= most_bytes):
                break
            self._remove(path)
            self._remove(self.root / CACHE)  # what other environments have of it stays theirs
            for beside in (".log", ".lock"):
                path.with_suffix(beside).unlink(missing_ok=True)
            gone += 1
        return gone

    def bytes_used(self) -> int:
        """How much disk it takes; files that environments share count once."""
        sizes = {}
        for path in self.root.rglob("*"):
            with contextlib.suppress(OSError):
                found = path.lstat()
                sizes[found.st_dev, found.st_ino] = found.st_size
        return sum(sizes.values())

    def _keys_of(self, in_use: Collection[Path]) -> set[str]:
        keys = set()
        for artifacts in in_use:
            with contextlib.suppress(MlError):  # unsuitable by now: then nothing is in use of it
                needed = self.needed(artifacts)
                keys |= {self._key_of(needed)} if needed is not None else set()
        return keys

    def _remove(self, path: Path) -> None:
        place = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
        with contextlib.suppress(FileNotFoundError):
            path.rename(place / "pruned")  # whole or not at all
        shutil.rmtree(place, ignore_errors=True)

    def _make(self, needed: Needed, path: Path, stop: Stop) -> None:
        place = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root))
        log = self.root / f"{path.name}.log"
        log.unlink(missing_ok=True)
        cache = self.root / CACHE
        cache.mkdir(exist_ok=True)
        try:
            make(needed, self._serving(), Workshop(place, cache, log, stop))
            add_serving(place)
            shutil.rmtree(path, ignore_errors=True)  # one whose Python is gone
            place.chmod(0o755)
            place.rename(path)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    @contextlib.contextmanager
    def _alone(self, key: str, stop: Stop) -> Iterator[None]:
        with (self.root / f"{key}.lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    stop()
                    time.sleep(POLL_SECONDS)
            yield

    def _key_of(self, needed: Needed) -> str:
        """Two versions with one key can share an environment."""
        made_from = {**asdict(needed), "requirements": sorted(needed.requirements), "lock": self._serving().lock}
        without = () if needed.hashes else ("hashes", "verified")
        for said in ("missing", "indexes", *without):
            del made_from[said]
        return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:32]
