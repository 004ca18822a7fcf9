"""Whether the serving image is here, and whether it has what a model needs: asked before anything starts."""

import json
from collections.abc import Iterator, Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from receiver.adapters.docker import Docker
from receiver.core.errors import Rejected
from receiver.core.state import ServerSpec
from receiver.targets.compose.project import Place
from serving.model.model_dir import ONNX_TWIN

PULL_SECONDS = 600.0
# Packages whose pickles are not meant for another minor version; with others a major version must differ to matter.
STRICT = frozenset({"scikit-learn", "xgboost", "lightgbm", "catboost"})
PROVIDED = {"mlflow": "mlflow-skinny"}  # the part of MLflow that serving needs
LIST = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"

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
    logged = artifacts / "requirements.txt"
    if (artifacts / ONNX_TWIN).is_file() or not logged.is_file():
        return
    wrong = mismatches(logged.read_text(encoding="utf-8", errors="replace"), _installed(docker, place.image))
    if wrong:
        raise Rejected(
            f"{spec.slot} v{spec.version} cannot be loaded in the image {place.image}: {'; '.join(wrong)}. "
            f"Register it with an ONNX twin, or set PINRAIL_SERVING_IMAGE to an image that has these packages"
        )


def mismatches(requirements: str, installed: Mapping[str, str]) -> list[str]:
    """What of a model's ``requirements.txt`` is missing among ``installed``, or too different; one phrase each."""
    have = {str(canonicalize_name(name)): version for name, version in installed.items()}
    return [phrase for needed in _parsed(requirements) if (phrase := _mismatch(needed, have)) is not None]


def _mismatch(needed: Requirement, have: Mapping[str, str]) -> str | None:
    name = canonicalize_name(needed.name)
    found = have.get(name) or have.get(PROVIDED.get(name, ""))
    if found is None:
        return f"it needs {needed} and the image has no {name}"
    exact = next((s.version for s in needed.specifier if s.operator in ("==", "===")), None)
    if exact is None:
        return None if needed.specifier.contains(found, prereleases=True) else f"it needs {needed}, not {found}"
    try:
        wanted, here = Version(exact).release, Version(found).release
    except InvalidVersion:
        return None  # such as ==2.*: nothing that could be compared
    parts = 2 if name in STRICT else 1
    return None if wanted[:parts] == here[:parts] else f"it needs {needed} and the image has {name} {found}"


def _parsed(requirements: str) -> Iterator[Requirement]:
    for line in requirements.splitlines():
        try:
            needed = Requirement(line.split("#")[0].strip())
        except InvalidRequirement:
            continue  # an option or a blank line
        if needed.marker is None or needed.marker.evaluate():
            yield needed


def _installed(docker: Docker, image: str) -> Mapping[str, str]:
    found = docker.run("image", "inspect", "--format", "{{.Id}}", image).strip()
    if found not in _packages:
        options = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--entrypoint=python")
        _packages[found] = json.loads(docker.run("run", *options, found, "-c", LIST))
    return _packages[found]
