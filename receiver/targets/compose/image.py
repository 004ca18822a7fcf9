"""Whether the serving image is here: asked before anything starts."""

from receiver.adapters.docker import Docker
from receiver.core.errors import Rejected

PULL_SECONDS = 600.0


def require_image(docker: Docker, image: str) -> None:
    """Have the image on this machine; one that is named by digest is fetched. Rejected: it cannot be had."""
    if docker.has_image(image):
        return
    if "@sha256:" not in image:
        raise Rejected(f"the image {image} is not on this machine: make it with `pinrail build`")
    docker.run("pull", "--quiet", image, timeout=PULL_SECONDS)
