"""The serving image: built once per content of what goes into it, not per promotion; pushed and pinned by digest."""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from receiver.adapters.docker import Docker, RefusedByDockerError
from receiver.core.errors import Rejected
from receiver.targets.compose.shipped import PACKAGES, SHIPPED

DOCKERFILE = Path("compose/images/serving/Dockerfile")
REQUIREMENTS = Path("requirements/serving.txt")
NAME = "pinrail-serving"
BUILD_SECONDS = 1800.0
PUSH_SECONDS = 600.0
PROGRAM = b"\x7fELF"
TEMPORARY = "pinrail-build-"  # what a build makes on this machine's disk begins with this


def image_name(base: str | None = None) -> str:
    """What the image of this source tree, on ``base``, is called: the tag follows from the content."""
    content = hashlib.sha256((base or "").encode())
    for name, data in _content():
        content.update(f"{name}\0{len(data)}\0".encode() + data)
    return f"{NAME}:{content.hexdigest()[:12]}"


def build_image(docker: Docker, base: str | None = None) -> str:
    """Have the image of this source tree on this machine; returns its name. Rejected: it cannot be built.

    ``base``: what it is built on, in place of the one that the Dockerfile names.
    """
    name = image_name(base)
    if not docker.has_image(name):
        based = ("--build-arg", f"BASE={base}") if base else ()
        run_build(docker, ("--quiet", "--tag", name, *based), DOCKERFILE, _content())
    return name


def run_build(
    docker: Docker,
    options: Sequence[str],
    recipe: Path,
    content: Iterable[tuple[str, bytes]],
    stop: Callable[[], None] | None = None,
) -> None:
    """Build an image from these files on this engine itself, whichever builder a person has chosen for other work.

    ``recipe``: which of them says how. RefusedByDockerError: it cannot be built. Retryable: no engine answers, or not
    in time.
    """
    builder = builder_options(docker)
    command = ["build"] if builder is None else ["buildx", "build", "--load", *builder]
    remove_leftovers()
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as directory:
        for name, data in content:
            file = Path(directory) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.chmod(0o755 if data.startswith(PROGRAM) else 0o644)
        options = (*options, "--file", str(Path(directory) / recipe))
        docker.run(*command, *options, directory, timeout=BUILD_SECONDS, stop=stop)


def remove_leftovers() -> None:
    """Remove what was left by builds that were killed: it is large, and may hold where packages come from."""
    for left in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        with suppress(OSError):
            found = left.lstat()
            if found.st_uid == os.geteuid() and time.time() - found.st_mtime > 2 * BUILD_SECONDS:
                shutil.rmtree(left) if stat.S_ISDIR(found.st_mode) else left.unlink()


def builder_options(docker: Docker) -> Sequence[str] | None:
    """How buildx is asked to build in the engine; None: it is not installed, and the engine's older builder builds.

    A builder in a container of its own, which a person may have chosen, has none of the engine's images.
    """
    try:
        docker.run("buildx", "version")
    except RefusedByDockerError:
        return None
    with suppress(RefusedByDockerError):  # older clients have no such command
        return ("--builder", docker.run("context", "show").strip())
    return ()


def push_image(docker: Docker, image: str, destination: str) -> str:
    """Push the image; returns ``registry/name@sha256:...``, which names these bytes and no others.

    Rejected: the registry does not take it.
    """
    tag = f"{destination}:{image.rsplit(':', 1)[1]}"
    docker.run("tag", image, tag)
    said = docker.run("push", tag, timeout=PUSH_SECONDS)
    digest = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
    if digest is None:
        raise Rejected(f"`docker push {tag}` named no digest: {said[-500:]}")
    return f"{destination}@{digest[1]}"


def _content() -> Iterator[tuple[str, bytes]]:
    """The files of the build context, by name, in a fixed order."""
    code = (file for file in (PACKAGES / "serving").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    placed = [(SHIPPED, SHIPPED / DOCKERFILE), (SHIPPED, SHIPPED / REQUIREMENTS)]
    for top, file in [*placed, *((PACKAGES, file) for file in sorted(code))]:
        try:
            yield file.relative_to(top).as_posix(), file.read_bytes()
        except FileNotFoundError as error:
            raise Rejected(f"{file} is missing: install Pinrail again, or use a whole clone") from error
