"""What a build leaves behind on the engine: it would fill the disk, and what it answers later may be out of date."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from receiver.adapters.docker import Docker
from receiver.core.errors import Rejected, Retryable

STAGE = "io.pinrail.part=packages-stage"  # the label of the stage that is in no image
RECORD = re.compile(r"^ID:\s+(\S+)\nCreated at:\s+(.+)$", re.MULTILINE)


@contextmanager
def without_build_cache(docker: Docker, builder: Sequence[str] | None) -> Iterator[None]:
    """Remove what the builder has kept of the builds in this block, and of others at the same time; images stay.

    ``builder``: which one, as options of buildx; None: it is the engine's older one.
    """
    before = {record for _, record in _records(docker, builder)}
    try:
        yield
    finally:
        with suppress(Retryable, Rejected):  # what cannot be removed is kept until the engine needs the room
            if builder is None:
                docker.run("image", "prune", "--force", "--filter", f"label={STAGE}")
            for _, record in sorted(_records(docker, builder), reverse=True):  # a later one may need an earlier one
                if record not in before and builder is not None:
                    docker.run("buildx", "prune", *builder, "--force", "--filter", f"id={record}")


def _records(docker: Docker, builder: Sequence[str] | None) -> Sequence[tuple[str, str]]:
    """When each was made, as the engine writes it, and its name."""
    if builder is None:
        return []
    with suppress(Retryable, Rejected):
        found = RECORD.findall(docker.run("buildx", "du", *builder, "--verbose"))
        return [(made, record) for record, made in found]
    return []
