"""Images for versions that need packages: the serving image, and on top of it an environment with what it lacks.

Each is named after what it was made of, so versions that need the same share one, and an image is whole or not there.
What there is and when it was used, the engine knows; nothing about it is remembered here.
"""

import contextlib
import functools
import hashlib
import json
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from ml.packages.build import requested
from ml.packages.decision import Needed, Serving, decide
from ml.packages.installed import serving
from ml.packages.requirements import UnsuitablePackagesError, needs_nothing, read_listed
from receiver.adapters.docker import Docker, RefusedByDockerError, time_of
from receiver.core.errors import Rejected, Retryable
from receiver.core.state import ServerSpec
from receiver.ports import Stop
from receiver.targets.compose.packages_build import (
    BASE,
    PACKAGES,
    Wanted,
    base_repository,
    build_packages,
    recipe_text,
    repository,
)
from receiver.targets.compose.project import Place
from receiver.targets.package_faults import blamed

POLL_SECONDS = 0.2
TODAY_SECONDS = 86_400.0
PYTHON = "Python"  # its version stands among those of the packages
# Of two versions of a package, the first is imported.
LIST = (
    "import importlib.metadata as m, json, sys; found = [*m.distributions()][::-1]; "
    f"print(json.dumps({{d.name: d.version for d in found}} | {{'{PYTHON}': '%d.%d' % sys.version_info[:2]}}))"
)


@dataclass(frozen=True, slots=True)
class PackagesImage:
    """One that is on the engine."""

    name: str
    packages: str  # for a person
    base: str  # the id of what it is built on
    own_bytes: int  # without that
    used_at: float  # seconds since the epoch


class ImagePackages:
    """The images of one place: for each version, the serving image or one that is built on it."""

    def __init__(self, docker: Docker, place: Place) -> None:
        self._docker = docker
        self._place = place
        self._needed: dict[tuple[str, str], Needed | None] = {}  # by the base's id and the version's digest
        self._building: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    def unverified(self, spec: ServerSpec) -> str:
        """What it needs without hashes, installed or not. Rejected: the version can be loaded in no image here."""
        with self._blamed(spec):
            needed = self._needed_by(spec)
            return "" if needed is None or needed.verified else str(needed)

    def missing(self, spec: ServerSpec) -> str:
        """What is in no image yet. Rejected: the version can be loaded in no image here."""
        with self._blamed(spec):
            needed = self._needed_by(spec)
            return "" if needed is None or self._docker.has_image(self._name_of(needed)) else f"{needed} (image)"

    def image(self, spec: ServerSpec, stop: Stop) -> str:
        """The image to start the server from, built now if need be.

        VersionFailed: its packages do not go together, or cannot be built. Retryable: they cannot be had now.
        """
        with self._blamed(spec):
            needed = self._needed_by(spec)
            if needed is None:
                return self._place.image
            name = self._name_of(needed)
            with self._alone(name, stop):
                if not self._docker.has_image(name):
                    asked = requested(needed, self._serving())
                    wanted = Wanted(name, self._place.owner, self._base(), needed, asked)
                    build_packages(self._docker, wanted, stop)
                self._docker.run("tag", name, name)  # the engine notes when: prune() uses it
            return name

    def prune(self, in_use: Collection[str], unused_seconds: float, most_bytes: float) -> int:
        """See :meth:`receiver.ports.ArtifactCache.prune`. One that a container is made of stays in any case."""
        with contextlib.suppress(Retryable, Rejected):
            keep = set(self._names_of(in_use))
            found = sorted(images_of_packages(self._docker, self._place.owner), key=lambda one: one.used_at)
            together, gone = sum(one.own_bytes for one in found), 0
            for one in found:
                unused = time.time() - one.used_at
                too_much = together > most_bytes and unused > TODAY_SECONDS
                if one.name in keep or not (unused > unused_seconds or too_much):
                    continue
                with contextlib.suppress(RefusedByDockerError):
                    self._docker.run("image", "rm", one.name)
                    together, gone = together - one.own_bytes, gone + 1
            self._release_bases()
            return gone
        return 0

    def _release_bases(self) -> None:
        """Let go of the serving images that nothing is built on any more: a build has named them, see below."""
        built_on = {self._base(), *(one.base for one in images_of_packages(self._docker, self._place.owner))}
        for name in _names(self._docker, base_repository(self._place.owner)):
            with contextlib.suppress(RefusedByDockerError):  # a container is made of it
                if self._docker.run("image", "inspect", "--format", "{{.Id}}", name).strip() not in built_on:
                    self._docker.run("image", "rm", name)

    def _names_of(self, digests: Collection[str]) -> Iterator[str]:
        for digest in digests:
            with contextlib.suppress(UnsuitablePackagesError):
                needed = self._needed_in(self._artifacts(digest), digest)
                if needed is not None:
                    yield self._name_of(needed)

    def _needed_by(self, spec: ServerSpec) -> Needed | None:
        return self._needed_in(self._artifacts(spec.digest), spec.digest)

    def _needed_in(self, artifacts: Path, digest: str) -> Needed | None:
        if needs_nothing(artifacts):
            return None
        base = self._base()
        if (base, digest) not in self._needed:
            listed = read_listed(artifacts)
            have = packages_in(self._docker, base)
            found = decide(listed, have.get, self._serving(), have[PYTHON]) if listed is not None else None
            if found is not None and found.python != have[PYTHON]:
                raise UnsuitablePackagesError(
                    f"it is code of Python {found.python}, and the image has Python {have[PYTHON]}: log the model "
                    f"from a file (python_model='model.py'), which any Python reads, or serve all models from an "
                    f"image of Python {found.python} (PINRAIL_BASE_IMAGE, then `pinrail build`)"
                )
            self._needed[base, digest] = found
        return self._needed[base, digest]

    def _serving(self) -> Serving:
        """What is in the image takes the place of the lock: it is what a model server runs with."""
        own = serving()
        return Serving(own.declared, packages_in(self._docker, self._base()), own.lock)

    def _base(self) -> str:
        return self._docker.run("image", "inspect", "--format", "{{.Id}}", self._place.image).strip()

    def _artifacts(self, digest: str) -> Path:
        return self._place.cache / digest.removeprefix("sha256:")

    def _name_of(self, needed: Needed) -> str:
        """Two versions with one name can share an image."""
        made_from = {
            "base": self._base(),
            "asked": sorted(requested(needed, self._serving())),
            "constraints": needed.constraints,
            "hashes": [needed.hashes, needed.verified],
            "recipe": recipe_text(),
        }
        digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
        return f"{repository(self._place.owner)}:{digest[:32]}"

    @contextlib.contextmanager
    def _alone(self, name: str, stop: Stop) -> Iterator[None]:
        with self._guard:
            lock = self._building.setdefault(name, threading.Lock())
        while not lock.acquire(timeout=POLL_SECONDS):
            stop()
        try:
            yield
        finally:
            lock.release()

    def _blamed(self, spec: ServerSpec) -> contextlib.AbstractContextManager[None]:
        return blamed(spec, f"cannot be loaded in the image {self._place.image}")


def images_of_packages(docker: Docker, owner: str) -> Sequence[PackagesImage]:
    """Those that are on the engine."""
    found = []
    for name in _names(docker, repository(owner)):
        with contextlib.suppress(RefusedByDockerError, LookupError, ValueError):  # removed meanwhile, or not ours
            [described] = json.loads(docker.run("image", "inspect", name))
            labels = described["Config"]["Labels"]
            own_bytes = described["Size"] - _size(docker, labels[BASE])
            used = time_of(described["Metadata"]["LastTagTime"])
            found.append(PackagesImage(name, labels[PACKAGES], labels[BASE], own_bytes, used))
    return found


def _names(docker: Docker, repository: str) -> Sequence[str]:
    return docker.run("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository).split()


def _size(docker: Docker, image: str) -> int:
    """Of an image, by its id; 0 where somebody has removed it: then all of it is kept for what is built on it."""
    try:
        return int(docker.run("image", "inspect", "--format", "{{.Size}}", image))
    except RefusedByDockerError:
        return 0


@functools.lru_cache(maxsize=16)  # what is in an image never changes
def packages_in(docker: Docker, image: str) -> Mapping[str, str]:
    """The versions of what is in an image, by canonical name, and that of its Python. ``image``: its id."""
    options = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--entrypoint=python")
    listed: dict[str, str] = json.loads(docker.run("run", *options, image, "-c", LIST))
    return {n if n == PYTHON else str(canonicalize_name(n)): v for n, v in listed.items()}
