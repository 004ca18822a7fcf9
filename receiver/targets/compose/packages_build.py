"""Building an image of packages: compose/images/packages, with uv and what it is to install.

Code of packages that runs in a build has the rights of a model server, the engine's default network, on which no
model server is, and none of our variables but those that say where packages come from.
"""

import contextlib
import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml.packages.build import as_file, failure, find_uv, index_variables, shortened
from ml.packages.decision import Needed
from receiver.adapters.docker import Docker, RefusedByDockerError
from receiver.ports import Stop
from receiver.targets.compose.build import TEMPORARY, builder_options, run_build
from receiver.targets.compose.build_cache import without_build_cache
from receiver.targets.compose.shipped import SHIPPED

RECIPE = SHIPPED / "compose" / "images" / "packages"
DOCKERFILE, SCRIPT = Path("Dockerfile"), "pinrail-packages.sh"
CONTEXT = "pinrail-packages"  # the directory of what the build reads
SECRET = "--mount=type=secret,id=index,uid=10001 "  # noqa: S105 - how a build gets one
MARK = "uv says: "
PACKAGES, BASE = "io.pinrail.packages", "io.pinrail.base"  # labels: what it has, for a person; what it is built on
PLACES = ("UV_INDEX", "UV_FIND_LINKS", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL")


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that is not there yet."""

    name: str
    owner: str
    base: str  # the id of the image that it is built on
    needed: Needed
    requested: Sequence[str]


def repository(owner: str) -> str:
    """What the images of one owner are called, without the part that follows from their content."""
    return f"{owner}-packages"


def base_repository(owner: str) -> str:
    """The same for the images that those are built on: a build cannot begin from an id."""
    return f"{repository(owner)}-base"


def recipe_text() -> Sequence[str]:
    """What decides, beside what is asked for, what is in an image."""
    return [(RECIPE / name).read_text() for name in (DOCKERFILE, SCRIPT)]


def build_packages(docker: Docker, wanted: Wanted, stop: Stop) -> None:
    """Build it. PackagesFailedError: it cannot be built. PackagesUnavailableError, Retryable: not now."""
    builder = builder_options(docker)
    buildkit = builder is not None
    tag = f"{base_repository(wanted.owner)}:{wanted.base.removeprefix('sha256:')[:12]}"
    docker.run("tag", wanted.base, tag)
    labels = ("--label", f"{PACKAGES}={wanted.needed}", "--label", f"{BASE}={wanted.base}")
    options = ["--no-cache", "--tag", wanted.name, "--build-arg", f"BASE={tag}", *labels]
    with tempfile.NamedTemporaryFile("w", prefix=f"{TEMPORARY}index-") as index:
        if buildkit:
            index.write(_index_settings())
            index.flush()
            options += ["--secret", f"id=index,src={index.name}"]
        try:
            with without_build_cache(docker, builder):
                run_build(docker, options, DOCKERFILE, _content(wanted, secret=buildkit), stop)
        except RefusedByDockerError as error:
            said = dict.fromkeys(line.partition(MARK)[2] for line in error.said.splitlines() if MARK in line)
            raise failure(shortened("\n".join(said) or str(error)), wanted.needed) from error


def _content(wanted: Wanted, *, secret: bool) -> Iterator[tuple[str, bytes]]:
    recipe = (RECIPE / DOCKERFILE).read_text()
    yield str(DOCKERFILE), (recipe if secret else recipe.replace(SECRET, "")).encode()
    yield "uv", Path(find_uv()).read_bytes()
    yield f"{CONTEXT}/{SCRIPT}", (RECIPE / SCRIPT).read_bytes()
    yield f"{CONTEXT}/in.txt", as_file(wanted.requested).encode()
    yield f"{CONTEXT}/constraints.txt", as_file(wanted.needed.constraints).encode()
    yield f"{CONTEXT}/hashes.txt", as_file(wanted.needed.hashes).encode()
    yield f"{CONTEXT}/options", b"--require-hashes" if wanted.needed.verified else b""
    yield f"{CONTEXT}/ca.pem", _certificates()
    if not secret:
        yield f"{CONTEXT}/index", _index_settings().encode()


def _index_settings() -> str:
    """Where packages come from, for the shell. Directories of this machine mean nothing in a build."""
    kept = {
        name: " ".join(word for word in value.split() if _is_remote(word)) if name in PLACES else value
        for name, value in index_variables(os.environ).items()
        if name.startswith("UV_") or name.lower().endswith("_proxy")
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in kept.items() if value)


def _is_remote(word: str) -> bool:
    return "://" in word and "file://" not in word


def _certificates() -> bytes:
    """The authorities that this machine trusts, where a variable names a file of them."""
    named = index_variables(os.environ).get("SSL_CERT_FILE")
    with contextlib.suppress(OSError):
        return Path(named).read_bytes() if named else b""
    return b""
