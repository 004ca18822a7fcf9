"""The container engine, and the subnets that it has left."""

import ipaddress
import json
from typing import Any

from receiver.adapters.docker import Docker
from receiver.cli.doctor.check import Check
from receiver.core.errors import Rejected, Retryable
from receiver.settings import Settings
from receiver.targets.compose.build import image_name
from receiver.targets.compose.packages import images_of_packages
from receiver.wiring import REMEMBERED

# What Docker's documentation names as its default address pools: 15 networks of /16 beside the default bridge's, and
# 16 of /20.
DEFAULT_SUBNETS = 31
FEW_SUBNETS = 3
SHOWN_IMAGES = 5


def engine(settings: Settings) -> Check:
    """The container engine, if model servers are to be containers."""
    if settings.pinrail_target == "process":
        return Check("engine", ok=True, found="not needed: model servers are processes (PINRAIL_TARGET=process)")
    remembered = settings.pinrail_state_dir / REMEMBERED
    chosen = settings.pinrail_target
    if chosen == "auto" and remembered.exists() and remembered.read_text() != "compose":
        return Check("engine", ok=True, found="not needed: this state directory's model servers are processes")
    docker, must = Docker(), chosen == "compose" or remembered.exists()
    if not docker.answers():
        todo = "start docker and install compose v2, or set PINRAIL_TARGET=process" if must else ""
        return Check("engine", not must, "no docker engine with compose v2 answers: processes", todo)
    image = settings.pinrail_serving_image or image_name(settings.pinrail_base_image)
    try:
        there = docker.has_image(image)
    except (Rejected, Retryable):
        there = False
    if there:
        found = f"docker answers and has {image}: model servers are containers"
        return _with_subnets(f"{found}; {_packages(docker, settings.pinrail_project)}", docker)
    found = f"docker answers, but has no image {image}"
    return Check("engine", not must, found + ("" if must else ": processes"), "`pinrail build` builds it")


def _packages(docker: Docker, owner: str) -> str:
    """The images that were built for the packages of versions."""
    images = images_of_packages(docker, owner)
    if not images:
        return "no images of packages"
    listed = "; ".join(f"{one.packages}: {one.own_bytes / 1e6:.0f} MB" for one in images[:SHOWN_IMAGES])
    more = f"; and {len(images) - SHOWN_IMAGES} more" if len(images) > SHOWN_IMAGES else ""
    together = sum(one.own_bytes for one in images)
    return f"images of packages {together / 1e6:.0f} MB ({listed}{more})"


def _with_subnets(found: str, docker: Docker) -> Check:
    """An engine without a free subnet can make no network, whoever has used them up."""
    pools = json.loads(docker.run("info", "--format", "{{json .DefaultAddressPools}}"))
    used, room = docker.run("network", "ls", "--format", "{{.Driver}}").split().count("bridge"), subnets(pools)
    found += f"; {used} of some {room} subnets used"
    if room - used >= FEW_SUBNETS:
        return Check("engine", ok=True, found=found)
    todo = "remove unused networks (`docker network prune`), or give the engine smaller pools: see docs/compose.md"
    return Check("engine", ok=used < room, found=found, todo=todo)


def subnets(pools: list[dict[str, Any]] | None) -> int:
    """How many networks ``DefaultAddressPools`` of ``docker info`` have room for; None: none is configured."""
    if not pools:
        return DEFAULT_SUBNETS
    v4 = [(ipaddress.ip_network(pool["Base"]), pool["Size"]) for pool in pools if ":" not in pool["Base"]]
    return sum(2 ** max(0, size - base.prefixlen) for base, size in v4)
