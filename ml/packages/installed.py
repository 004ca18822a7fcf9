"""What is installed here, and what a model server needs, as this Pinrail declares and locks it."""

import re
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ml.errors import MlError
from ml.packages.decision import Serving

LOCK = Path("requirements/serving.txt")
PACKAGES = Path(__file__).parents[2]  # a clone, or site-packages
_IN_WHEEL = PACKAGES / "receiver" / "shipped"  # made by the build, see pyproject.toml
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;\s*([^\\\n]+))?", re.MULTILINE)


def installed(name: str) -> str | None:
    """The version of a distribution here; of another one that provides its module, if there is none of the name."""
    name = str(canonicalize_name(name))
    found = _versions().get(name)
    if found is None and (provider := _providers().get(name.replace("-", "_"))):
        found = _versions().get(str(canonicalize_name(provider[0])))
    return found


@cache
def serving() -> Serving:
    """What a model server needs."""
    places = (_IN_WHEEL / LOCK, PACKAGES / LOCK)
    place = next((path for path in places if path.is_file()), None)
    if place is None:
        raise MlError(
            f"Pinrail is not whole: {LOCK} is missing in {PACKAGES}: check the clone out, or install the wheel, anew"
        )
    lock = place.read_text()
    declared = [Requirement(line) for line in metadata.requires("pinrail") or ()]
    return Serving(
        declared={
            str(canonicalize_name(one.name)): one
            for one in declared
            if one.marker is not None and one.marker.evaluate({"extra": "serving"}) and one.name != "pinrail"
        },
        locked={
            str(canonicalize_name(name)): version
            for name, version, marker in PINNED.findall(lock)
            if not marker or Requirement(f"{name}; {marker}").marker.evaluate()  # type: ignore[union-attr]
        },
        lock=lock,
    )


@cache
def _versions() -> dict[str, str]:
    return {str(canonicalize_name(one.metadata["Name"])): one.version for one in metadata.distributions()}


@cache
def _providers() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())
