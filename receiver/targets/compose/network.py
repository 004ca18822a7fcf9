"""The models' network: no way out of it, none between the containers on it, and a fixed address for each of them.

A front door finds its servers by address, so one that restarts, or an engine that does, changes nothing for it.
"""

import ipaddress
import random
import secrets
import threading
from collections.abc import Collection

from receiver.adapters.docker import Docker, RefusedByDockerError
from receiver.core.errors import Rejected

RESERVED = 2  # the network's own address and the host's
SUBNET = "{{range .IPAM.Config}}{{.Subnet}} {{end}}"
# The host, and so the front doors, reach the containers; they do not reach each other.
OPTIONS = ("--internal", "--opt", "com.docker.network.bridge.enable_icc=false")

_creating = threading.Lock()  # held only while the network is made: who needs it waits for nothing else


def models_network(owner: str) -> str:
    """The name of an owner's network."""
    return f"{owner}-models"


def require_network(docker: Docker, owner: str) -> str:
    """Have the network; returns its subnet. Rejected: the engine cannot make it."""
    name = models_network(owner)
    found = _subnet(docker, name)
    if found is None:
        with _creating:
            found = _subnet(docker, name) or _made(docker, name)
    return found


def choose_address(subnet: str, taken: Collection[str]) -> str:
    """An address of the subnet that nobody has. Rejected: there is none left."""
    network = ipaddress.ip_network(subnet)
    usable = range(RESERVED, network.num_addresses - 1)
    if len(taken) < len(usable) // 2:
        while (chosen := str(network[random.choice(usable)])) in taken:  # noqa: S311 - no secret
            pass
        return chosen
    free = [found for number in usable if (found := str(network[number])) not in taken]
    if not free:
        raise Rejected(f"the network {subnet} of the model servers has no address left")
    return free[0]


def _subnet(docker: Docker, name: str) -> str | None:
    try:
        listed = docker.run("network", "inspect", "--format", SUBNET, name).split()
    except RefusedByDockerError:
        return None
    return next((subnet for subnet in listed if ":" not in subnet), None)


def _made(docker: Docker, name: str) -> str:
    """Fixed addresses need a subnet that was asked for, so the engine is first asked which one is free."""
    trial = f"{name}-{secrets.token_hex(3)}"
    docker.run("network", "create", "--internal", trial)
    try:
        subnet = _subnet(docker, trial)
    finally:
        docker.run("network", "rm", trial)
    if subnet is None:
        raise Rejected(f"the engine gives networks no IPv4 subnet; {name} needs one")
    docker.run("network", "create", *OPTIONS, "--subnet", subnet, name)
    return subnet
