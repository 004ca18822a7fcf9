"""What this machine remembers of the versions that it fetched: looking reads no artifact and downloads nothing.

``<root>/index/<model>/<version>.fetched.json`` in the cache says which digest the artifacts had when they were
downloaded, and of which registration that holds: a version that was deleted and registered anew under its number was
created at another time, from another source. ``<version>.<environment>.evidence.json`` is the text of its evidence;
it counts only if its checksum equals that in the registry's tag.

``<version>.refused.json`` and ``<version>.<environment>.refused.json`` say why artifacts or evidence were refused,
and how the registry described them: they are not asked for again while it describes them the same, except ever more
rarely, because who puts lost files back changes no description.

A record is written after what it speaks of, in one step: a receiver that is killed meanwhile has fetched nothing.
"""

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.registry.versions import sha256
from receiver.core.backoff import Backoff
from receiver.core.state import RegisteredVersion
from serving.errors import DigestDiffersError, UnsupportedModelError
from serving.model.loader import Cache, write_whole
from serving.model.small_files import EVIDENCE, read_small


@dataclass(frozen=True, slots=True)
class Registration:
    """Tells a version from one that is registered later under the same number."""

    created: int  # milliseconds since the epoch, the registry's clock
    source: str  # where the registry says that the artifacts are

    @classmethod
    def of(cls, version: RegisteredVersion) -> "Registration":
        """Take it from a description."""
        return cls(version.created, version.source)


@dataclass(frozen=True, slots=True)
class Fetched:
    """The digest that the artifacts of one registration had when they were downloaded."""

    registration: Registration
    digest: str
    at: float  # seconds since the epoch


REFUSED_AGAIN = Backoff(first=60.0, longest=3600.0)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a download is of no use, and for how long that is believed."""

    described: str  # what the registry said of it then
    reason: str
    attempts: int
    at: float  # seconds since the epoch

    @property
    def holds(self) -> bool:
        """It need not be tried again yet. A clock that was set back ends that too."""
        return 0 <= time.time() - self.at < REFUSED_AGAIN.after(self.attempts)


class FetchRecords:
    """Small files beside the cached artifacts; any number of processes may share them."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def version(self, model: str, version: int, registration: Registration) -> Fetched | None:
        """What was fetched of this registration; None: nothing, or it is not kept here any more."""
        found = self.last(model, version)
        try:
            here = found is not None and self._cache.path_of(found.digest).is_dir()
        except DigestDiffersError:
            return None  # a damaged record: it is fetched again
        return found if here and found is not None and found.registration == registration else None

    def last(self, model: str, version: int) -> Fetched | None:
        """What was fetched last under this number, whatever the registry holds now; None: nothing."""
        try:
            raw = json.loads(self._path(model, version, "fetched").read_bytes())
            return Fetched(Registration(**raw.pop("registration")), str(raw["digest"]), float(raw["at"]))
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            return None  # no record, or a damaged one

    def remember_version(self, model: str, version: int, registration: Registration, digest: str) -> Fetched:
        """Note what was downloaded just now and verified. OSError: the disk takes nothing."""
        fetched = Fetched(registration, digest, time.time())
        self._write(self._path(model, version, "fetched"), json.dumps(asdict(fetched)))
        return fetched

    def evidence(self, model: str, version: int, environment: str, checksum: str) -> str | None:
        """The evidence's text with this SHA-256; None: it was not read yet."""
        try:
            text = read_small(self._path(model, version, f"{environment}.evidence"), EVIDENCE).decode(
                errors="replace"
            )
        except (OSError, UnsupportedModelError):
            return None
        return text if sha256(text) == checksum else None

    def remember_evidence(self, model: str, version: int, environment: str, text: str) -> None:
        """Keep a text whose checksum is in the registry's tag. OSError: the disk does not accept it."""
        self._write(self._path(model, version, f"{environment}.evidence"), text)

    def refused(self, version: RegisteredVersion, environment: str | None = None) -> Refused | None:
        """Why its artifacts, or its evidence, were refused when they were last described as they are now."""
        try:
            found = Refused(**json.loads(self._refused_path(version, environment).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.described == self._description(version, environment) else None

    def remember_refused(self, version: RegisteredVersion, reason: str, environment: str | None = None) -> None:
        """Note why another attempt would be of no use. Where the disk takes nothing, it is tried again."""
        before = self.refused(version, environment)
        attempts = before.attempts + 1 if before is not None else 1
        refused = Refused(self._description(version, environment), reason, attempts, time.time())
        with suppress(OSError):
            self._write(self._refused_path(version, environment), json.dumps(asdict(refused)))

    def _description(self, version: RegisteredVersion, environment: str | None) -> str:
        """What has to change before refused artifacts, or evidence, are worth another attempt."""
        if environment is not None:
            return version.evidence.get(environment, "")
        most = self._cache.bounds.most_mb  # it may have been too large
        return f"{version.created} {version.updated} {version.source} {most:g}"

    def _refused_path(self, version: RegisteredVersion, environment: str | None) -> Path:
        what = "refused" if environment is None else f"{environment}.refused"
        return self._path(version.model, version.version, what)

    def _path(self, model: str, version: int, what: str) -> Path:
        return self._cache.index(model, version).with_name(f"{version}.{what}.json")

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
