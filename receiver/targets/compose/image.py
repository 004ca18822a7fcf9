"""Whether the serving image is here, and whether it has what a model needs: asked before anything starts."""

import json
from collections.abc import Mapping

from packaging.utils import canonicalize_name

from ml.packages.decision import lacking
from ml.packages.requirements import UnsuitablePackagesError, needs_nothing, read_listed
from receiver.adapters.docker import Docker
from receiver.core.errors import Rejected
from receiver.core.state import ServerSpec
from receiver.targets.compose.project import Place

PULL_SECONDS = 600.0
PYTHON = "Python"  # its version stands among those of the packages
LIST = (
    "import importlib.metadata as m, json, sys; print(json.dumps({d.name: d.version for d in m.distributions()}"
    f" | {{'{PYTHON}': '%d.%d' % sys.version_info[:2]}}))"
)

_packages: dict[str, Mapping[str, str]] = {}  # by image id: what is in an image never changes


def require_image(docker: Docker, image: str) -> None:
    """Have the image on this machine; one that is named by digest is fetched. Rejected: it cannot be had."""
    if docker.has_image(image):
        return
    if "@sha256:" not in image:
        raise Rejected(f"the image {image} is not on this machine: make it with `pinrail build`")
    docker.run("pull", "--quiet", image, timeout=PULL_SECONDS)


def require_packages(docker: Docker, place: Place, spec: ServerSpec) -> None:
    """Rejected: the image lacks a package that this model cannot be loaded without, or has another version of it.

    A model with an ONNX twin brings all it needs; what it was trained with does not matter any more.
    """
    artifacts = place.cache / spec.digest.removeprefix("sha256:")
    if needs_nothing(artifacts):
        return
    have = _installed(docker, place.image)
    try:
        listed = read_listed(artifacts)
        wrong = lacking(listed, have.get, have[PYTHON]) if listed is not None else ()
    except UnsuitablePackagesError as error:
        raise Rejected(f"{spec.slot} v{spec.version} cannot be loaded in the image {place.image}: {error}") from error
    if wrong:
        raise Rejected(
            f"{spec.slot} v{spec.version} cannot be loaded in the image {place.image}: it needs {', '.join(wrong)}. "
            f"Register it with an ONNX twin, or set PINRAIL_SERVING_IMAGE to an image that has these packages"
        )


def _installed(docker: Docker, image: str) -> Mapping[str, str]:
    """The versions of what is in an image, by canonical name, and that of its Python."""
    found = docker.run("image", "inspect", "--format", "{{.Id}}", image).strip()
    if found not in _packages:
        options = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--entrypoint=python")
        listed: dict[str, str] = json.loads(docker.run("run", *options, found, "-c", LIST))
        _packages[found] = {n if n == PYTHON else str(canonicalize_name(n)): v for n, v in listed.items()}
    return _packages[found]
