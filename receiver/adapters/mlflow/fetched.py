"""What this machine remembers of the versions that it fetched: looking reads no artifact and downloads nothing.

``<root>/index/<model>/<version>.fetched.json`` in the cache says which digest the artifacts had when they were
downloaded, and of which registration that holds: a version that was deleted and registered anew under its number was
created at another time, from another source. ``<version>.<environment>.evidence.json`` is the text of its evidence;
it counts only if its checksum equals that in the registry's tag.

A record is written after what it speaks of, in one step: a receiver that is killed meanwhile has fetched nothing.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ml.registry.versions import sha256
from receiver.core.state import RegisteredVersion
from serving.errors import DigestDiffersError
from serving.model.loader import Cache, write_whole


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


class FetchRecords:
    """Small files beside the cached artifacts; any number of processes may share them."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def version(self, model: str, version: int, registration: Registration) -> Fetched | None:
        """What was fetched of this registration; None: nothing, or it is not kept here any more."""
        try:
            raw = json.loads(self._path(model, version, "fetched").read_bytes())
            found = Fetched(Registration(**raw.pop("registration")), str(raw["digest"]), float(raw["at"]))
            here = found.registration == registration and self._cache.path_of(found.digest).is_dir()
        except (OSError, ValueError, TypeError, AttributeError, KeyError, DigestDiffersError):
            return None  # no record, or a damaged one: it is fetched again
        return found if here else None

    def remember_version(self, model: str, version: int, registration: Registration, digest: str) -> Fetched:
        """Note what was downloaded just now and verified. OSError: the disk takes nothing."""
        fetched = Fetched(registration, digest, time.time())
        self._write(self._path(model, version, "fetched"), json.dumps(asdict(fetched)))
        return fetched

    def evidence(self, model: str, version: int, environment: str, checksum: str) -> str | None:
        """The evidence's text with this SHA-256; None: it was not read yet."""
        try:
            text = self._path(model, version, f"{environment}.evidence").read_text("utf-8", "replace")
        except OSError:
            return None
        return text if sha256(text) == checksum else None

    def remember_evidence(self, model: str, version: int, environment: str, text: str) -> None:
        """Keep a text whose checksum is in the registry's tag. OSError: the disk does not accept it."""
        self._write(self._path(model, version, f"{environment}.evidence"), text)

    def _path(self, model: str, version: int, what: str) -> Path:
        return self._cache.index(model, version).with_name(f"{version}.{what}.json")

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
