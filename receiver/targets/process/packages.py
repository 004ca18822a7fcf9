"""The Python that a version's server runs with: the receiver's own, or that of an environment with its packages."""

from collections.abc import Collection
from pathlib import Path

from ml.packages.build import interpreter_of
from ml.packages.decision import Needed
from ml.packages.store import PackageStore
from receiver.core.state import ServerSpec
from receiver.ports import Stop
from receiver.targets.package_faults import blamed
from serving.model.loader import Cache

PACKAGES = "packages"  # in the state directory
UNSUITABLE = "can't be loaded on this machine"


class ModelPackages:
    """What has to be installed for the versions in a state directory's cache, and where it is."""

    def __init__(self, state: Path) -> None:
        self._cache = Cache(state / "cache")
        self._store = PackageStore(state / PACKAGES)
        self._needed: dict[str, Needed | None] = {}  # by digest

    def unverified(self, spec: ServerSpec) -> str:
        """What it needs without hashes, installed or not. Rejected: the version can be loaded nowhere here."""
        with blamed(spec, UNSUITABLE):
            needed = self._needed_by(spec)
            return "" if needed is None or needed.verified else str(needed)

    def missing(self, spec: ServerSpec) -> str:
        """What is not installed yet. Rejected: the version can be loaded nowhere here."""
        with blamed(spec, UNSUITABLE):
            needed = self._needed_by(spec)
            return "" if needed is None or self._store.find(needed) else str(needed)

    def interpreter(self, spec: ServerSpec, stop: Stop) -> str | None:
        """The Python to start the server with, made now if need be; None: the receiver's own.

        VersionFailed: its packages do not go together, or cannot be built. Retryable: they cannot be had now.
        """
        with blamed(spec, UNSUITABLE):
            needed = self._needed_by(spec)
            return None if needed is None else str(interpreter_of(self._store.obtain(needed, stop)))

    def prune(self, in_use: Collection[str], unused_seconds: float, most_bytes: float) -> int:
        """See :meth:`receiver.ports.ArtifactCache.prune`."""
        return self._store.prune([self._cache.path_of(digest) for digest in in_use], unused_seconds, most_bytes)

    def _needed_by(self, spec: ServerSpec) -> Needed | None:
        if spec.digest not in self._needed:
            self._needed[spec.digest] = self._store.needed(self._cache.path_of(spec.digest))
        return self._needed[spec.digest]
