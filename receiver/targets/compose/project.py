"""The compose projects as files, each for what is made at a time: services that ``extends`` compose/serving.yaml.

What a container may do stands in that file alone; what is written here is only how this one is called.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from receiver.adapters.docker import Docker, Project
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.core.errors import Rejected
from receiver.core.state import ServerSpec
from receiver.targets.compose import labels as names
from receiver.targets.compose.backends import NOBODY, BackendPair, write_backends
from receiver.targets.compose.network import models_network
from receiver.targets.compose.shipped import SHIPPED
from serving.lifecycle import launch
from serving.model.loader import Cache

COMPOSE = SHIPPED / "compose"
FRONT_IMAGE = "haproxy:2.6"  # which bytes these are is settled when they are first used, see front.py
PRIVATE, SHARED, WRITABLE = 0o700, 0o755, 0o777
CONFIGURATION = ("haproxy.cfg", "start.sh")  # of a front door, in compose/front
CPU_PERIOD = 100_000  # microseconds, as in serving.yaml
LOG_DIRECTORY = "/inference-log"  # in a model server's container


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is: ``state`` is the receiver's, ``compose`` holds serving.yaml and front/."""

    owner: str  # the first part of the projects' names
    state: Path
    host: str  # the address of the public ports
    image: str
    compose: Path = COMPOSE
    front_image: str = FRONT_IMAGE
    log_requests: bool = False  # at the front doors; what fails is logged in any case
    dashboard: str = ""  # the address of the receiver's pages; empty: servers' pages link to none

    @property
    def cache(self) -> Path:
        """The artifacts, by content; each model server sees those of its own version."""
        return self.state / "cache"

    def front(self, project: str, port: int) -> Path:
        """What a front door reads when it starts."""
        return self.state / "compose" / project / f"front-{port}"

    def runtime_socket(self, project: str, port: int, service: str) -> Path:
        """Where a front door takes orders: in a directory that only the receiver and the front door reach."""
        return self.front(project, port) / "run" / f"{service}.sock"


@dataclass(frozen=True, slots=True)
class NewReplica:
    """A container that is to be made."""

    group: str  # the server that it is a replica of, as its container's name without the number
    number: int
    address: str


def new_group(place: Place, spec: ServerSpec) -> str:
    """A name for a server."""
    return f"{names.project_name(place.owner, spec.slot)}-{names.server_name(spec)}"


def create_replicas(docker: Docker, place: Place, spec: ServerSpec, replicas: Sequence[NewReplica]) -> list[str]:
    """Create and start containers of a model server without a restart policy; returns their names.

    Not restarted while it is a candidate: a crash is to be seen, not repeated.
    """
    project = names.project_name(place.owner, spec.slot)
    services = {}
    for replica in replicas:
        service = names.replica_name(replica.group.removeprefix(f"{project}-"), spec, replica.number)
        services[service] = _server_service(place, spec, replica, f"{project}-{service}")
    docker.up(_written(place, project, services), list(services), _variables(place, spec))
    return [f"{project}-{service}" for service in services]


def _server_service(place: Place, spec: ServerSpec, replica: NewReplica, container: str) -> Mapping[str, object]:
    environment = launch.thread_settings(os.environ, spec.cpus)  # as on the process target and in the gate
    environment |= launch.page_settings(place.dashboard, spec.slot.environment, spec.slot.model)
    service_file: dict[str, object] = {
        "extends": {"file": str(_serving(place)), "service": "server"},
        "container_name": container,
        "labels": names.server_labels(place.owner, spec, replica.address, (replica.group, replica.number)),
        "environment": environment,
        "restart": "no",
        "networks": {"models": {"ipv4_address": replica.address}} | ({"egress": {}} if spec.egress else {}),
    }
    if spec.cpus:
        service_file["cpu_quota"] = round(spec.cpus * CPU_PERIOD)
    if spec.memory_mb:
        service_file["mem_limit"] = service_file["memswap_limit"] = f"{spec.memory_mb}m"
    if spec.replicas > 1:
        environment["PINRAIL_REPLICA"] = str(replica.number)
    volumes: list[dict[str, object]] = []
    if spec.log and (recorded := LogDirectories(place.state).prepare(spec.slot, shared=True)):
        environment |= {"PINRAIL_LOG": spec.log, "PINRAIL_LOG_DIRECTORY": LOG_DIRECTORY}
        volumes.append({"type": "bind", "source": str(recorded), "target": LOG_DIRECTORY})
    metrics = Cache(place.cache).metrics_path(spec.slot.model, spec.version)
    if metrics.is_file():  # for the server's page
        shown = {"type": "bind", "source": str(metrics), "target": f"/cache/{metrics.relative_to(place.cache)}"}
        volumes.append({**shown, "read_only": True})
    if volumes:
        service_file["volumes"] = volumes
    return service_file


def create_front(
    docker: Docker, place: Place, spec: ServerSpec, backends: BackendPair, made: "FrontMake"
) -> tuple[str, str]:
    """Create and start a front door of a server's slot and port; returns its container's name and its service's."""
    service = names.front_name(spec.port)
    project = names.project_name(place.owner, spec.slot)
    container = f"{project}-{service}"
    directory = place.front(project, spec.port)
    write_backends(directory, backends)
    run = directory / "run"
    run.mkdir(exist_ok=True)
    # The engine finds what it mounts whatever is above it; other users of this machine stop at the private directory.
    (place.state / "compose").chmod(PRIVATE)
    directory.chmod(SHARED)
    run.chmod(WRITABLE)
    for name in CONFIGURATION:
        # A copy: the proxy must be able to start again even where the repository has moved on.
        shutil.copyfile(place.compose / "front" / name, directory / name)
        (directory / name).chmod(0o644)
    service_file = {
        "extends": {"file": str(_serving(place)), "service": "front"},
        "container_name": container,
        "labels": names.front_labels(place.owner, spec.slot, spec.port, made.digest),
    }
    variables = _variables(place, spec) | {
        "FRONT_IMAGE": made.image,
        "SOCKET": service,
        "PREDECESSOR": made.predecessor,
    }
    docker.up(_written(place, project, {service: service_file}), [service], variables)
    return container, service


@dataclass(frozen=True, slots=True)
class FrontMake:
    """What a new front door is made of, and whose port it takes over."""

    digest: str  # of everything that it is made of
    image: str
    predecessor: str = ""  # the service of the front door that it replaces


def log_level(place: Place) -> str:
    """From which level on a front door logs, in HAProxy's terms."""
    return "info" if place.log_requests else "notice"


def egress_network(project: str) -> str:
    """The network with a way out that compose makes for a slot whose pin asks for one."""
    return f"{project}_egress"


def forget_project(place: Place, project: str) -> None:
    """Remove the files of a project that has no containers any more."""
    shutil.rmtree(place.state / "compose" / project, ignore_errors=True)


def _written(place: Place, project: str, services: Mapping[str, object]) -> Project:
    path = place.state / "compose" / project / "compose.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    networks = {
        "models": {"external": True, "name": models_network(place.owner)},
        "egress": {"driver_opts": {"com.docker.network.bridge.enable_icc": "false"}},  # made where a service uses it
    }
    text = json.dumps({"name": project, "services": services, "networks": networks}, indent=2)
    path.write_text(text.replace("$", "$$") + "\n", encoding="utf-8")  # JSON is YAML; nothing in it is a variable
    return Project(project, path)


def _serving(place: Place) -> Path:
    path = place.compose / "serving.yaml"
    if not path.is_file():
        raise Rejected(f"{path} is missing: install Pinrail again, or use a whole clone")
    return path


def _variables(place: Place, spec: ServerSpec) -> dict[str, str]:
    """All variables of serving.yaml: compose wants those of the other service too."""
    slot, artifacts = spec.slot, spec.digest.removeprefix("sha256:")
    front = place.front(names.project_name(place.owner, slot), spec.port)
    return {
        "HOST": place.host,
        "PORT": str(spec.port),
        "FRONT": str(front),
        "RUN": str(front / "run"),
        "FRONT_IMAGE": place.front_image,
        "LOG_LEVEL": log_level(place),
        "SOCKET": "none",
        "PREDECESSOR": "",
        "ARTIFACTS": str(place.cache / artifacts),
        "MOUNTED": f"/cache/{artifacts}",
        "ADDRESS": NOBODY,
        "SUBNET": f"{NOBODY}/32",
        "IMAGE": place.image,
        "ENVIRONMENT": slot.environment,
        "MODEL": slot.model,
        "VERSION": str(spec.version),
        "DIGEST": spec.digest,
        "STAGE": spec.stage or "",
        "REVISION": spec.revision,
    }
