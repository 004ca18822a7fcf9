"""What a front door is made of: image, address, configuration, limits. Where that changes, it is renewed.

The image is named by version in the settings, and held by digest from its first use on: what a registry moves under
the same name later is not used until somebody names another image (``PINRAIL_FRONT_IMAGE``).
"""

import functools
import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ml.environment.schema import MOST_REPLICAS
from receiver.adapters.docker import Docker
from receiver.targets.compose.image import PULL_SECONDS
from receiver.targets.compose.project import CONFIGURATION, PRIVATE, FrontMake, Place, log_level

SETTLED = "front-image.json"  # below compose/ in the state directory: image id by name


def made_of(place: Place) -> str:
    """A digest of everything that a front door should be made of. Nothing is asked of the engine."""
    return _digest(place, _settled(place).get(place.front_image, ""))


def wanted_make(docker: Docker, place: Place, predecessor: str = "") -> FrontMake:
    """What to make a new front door of. Rejected: there is no such image, nor can it be fetched."""
    image = _settled(place).get(place.front_image, "")
    if not image or not docker.has_image(image):
        if not docker.has_image(place.front_image):
            docker.run("pull", "--quiet", place.front_image, timeout=PULL_SECONDS)
        image = docker.run("image", "inspect", "--format", "{{.Id}}", place.front_image).strip()
        _settle(place, image)
    return FrontMake(_digest(place, image), image, predecessor)


def _digest(place: Place, image: str) -> str:
    texts = [(place.compose / "front" / name).read_text(encoding="utf-8") for name in CONFIGURATION]
    limits = _service((place.compose / "serving.yaml").read_bytes())
    parts = json.dumps([image, place.front_image, place.host, log_level(place), limits, texts, MOST_REPLICAS])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


@functools.lru_cache(maxsize=4)
def _service(text: bytes) -> str:
    """The front door's part of serving.yaml, without comments and layout."""
    found: dict[str, Any] = yaml.safe_load(text)
    return json.dumps(found["services"]["front"], sort_keys=True)


def _settled(place: Place) -> Mapping[str, str]:
    try:
        found = json.loads((place.state / "compose" / SETTLED).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _settle(place: Place, image: str) -> None:
    """Only the image of the settings is remembered: going back to an earlier name looks it up again."""
    directory = place.state / "compose"
    directory.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=directory, delete=False) as file:
        json.dump({place.front_image: image}, file)
    Path(file.name).replace(directory / SETTLED)
