"""The serving image: built once per content of what goes into it, not per promotion; pushed and pinned by digest."""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from receiver.adapters.docker import Docker
from receiver.core.errors import Rejected
from receiver.targets.compose.shipped import PACKAGES, SHIPPED

DOCKERFILE = Path("compose/images/serving/Dockerfile")
REQUIREMENTS = Path("requirements/serving.txt")
NAME = "pinrail-serving"
BUILD_SECONDS = 1800.0
PUSH_SECONDS = 600.0


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
        options = ("--quiet", "--tag", name, "--file", DOCKERFILE.as_posix(), *based)
        docker.run("build", *options, "-", stdin=_context(), timeout=BUILD_SECONDS)
    return name


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


def _context() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in _content():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()
