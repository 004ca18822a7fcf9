"""The compose projects as files: one service at a time, made from ``compose/serving.yaml`` by ``extends``.

What a container may do stands in that file alone; what is written here is only how this one is called.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from receiver.adapters.docker import Docker, Project
from receiver.core.errors import Rejected
from receiver.core.state import ServerSpec, Slot
from receiver.targets.compose import labels as names
from receiver.targets.compose.backends import BackendPair, write_backends
from serving.lifecycle import launch

COMPOSE = Path(__file__).parents[3] / "compose"
SHARED = 0o755  # directories that a container's own user reads; the state directory around them is private


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is: ``state`` is the receiver's, ``compose`` holds serving.yaml and front/."""

    owner: str  # the first part of the projects' names
    state: Path
    host: str  # the address of the public ports
    image: str
    compose: Path = COMPOSE

    @property
    def cache(self) -> Path:
        """The artifacts, by content; mounted into every model server."""
        return self.state / "cache"

    def front(self, project: str, port: int) -> Path:
        """What one front door reads when it starts."""
        return self.state / "compose" / project / f"front-{port}"


def create_server(docker: Docker, place: Place, spec: ServerSpec) -> str:
    """Create and start a model server's container without a restart policy; returns its name.

    Not restarted while it is a candidate: a crash is to be seen, not repeated.
    """
    service = names.server_name(spec)
    project = names.project_name(place.owner, spec.slot)
    container = f"{project}-{service}"
    service_file = {
        "extends": {"file": str(_serving(place)), "service": "server"},
        "container_name": container,
        "labels": names.server_labels(place.owner, spec),
        "environment": launch.thread_settings(os.environ),  # as on the process target and in the gate
        "restart": "no",
    }
    docker.up(_written(place, project, service, service_file), service, _variables(place, spec))
    return container


def create_front(docker: Docker, place: Place, spec: ServerSpec, backends: BackendPair) -> str:
    """Create and start the front door of a server's slot and port; returns its container's name."""
    service = names.front_name(spec.port)
    project = names.project_name(place.owner, spec.slot)
    container = f"{project}-{service}"
    directory = place.front(project, spec.port)
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(SHARED)
    # A copy: the proxy must be able to start again even where the repository has moved on.
    shutil.copyfile(place.compose / "front" / "haproxy.cfg", directory / "haproxy.cfg")
    (directory / "haproxy.cfg").chmod(0o644)
    write_backends(directory, backends)
    service_file = {
        "extends": {"file": str(_serving(place)), "service": "front"},
        "container_name": container,
        "labels": names.front_labels(place.owner, spec.slot, spec.port),
    }
    docker.up(_written(place, project, service, service_file), service, _variables(place, spec))
    return container


def forget_project(place: Place, project: str) -> None:
    """Remove the files of a project that has no containers any more."""
    shutil.rmtree(place.state / "compose" / project, ignore_errors=True)


def network(project: str) -> str:
    """The network that compose makes for a project."""
    return f"{project}_default"


def _written(place: Place, project: str, service: str, content: Mapping[str, object]) -> Project:
    path = place.state / "compose" / project / "compose.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"name": project, "services": {service: content}}, indent=2)
    path.write_text(text.replace("$", "$$") + "\n", encoding="utf-8")  # JSON is YAML; nothing in it is a variable
    return Project(project, path)


def _serving(place: Place) -> Path:
    path = place.compose / "serving.yaml"
    if not path.is_file():
        raise Rejected(f"{path} is missing: the compose target runs from a clone of Pinrail's repository")
    return path


def _variables(place: Place, spec: ServerSpec) -> Mapping[str, str]:
    slot: Slot = spec.slot
    return {
        "HOST": f"[{place.host}]" if ":" in place.host else place.host,
        "PORT": str(spec.port),
        "FRONT": str(place.front(names.project_name(place.owner, slot), spec.port)),
        "CACHE": str(place.cache),
        "IMAGE": place.image,
        "ENVIRONMENT": slot.environment,
        "MODEL": slot.model,
        "VERSION": str(spec.version),
        "DIGEST": spec.digest,
        "STAGE": spec.stage or "",
        "REVISION": spec.revision,
    }
