"""What the containers of one slot are called, and what they are labelled with. Pure.

Labels carry the whole truth about a container: nothing about it is remembered elsewhere.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from receiver.core.state import ServerSpec, Slot

OWNER = "io.pinrail.project"  # whose containers these are: the first part of the projects' names
PART = "io.pinrail.part"  # "server" or "front"
SPEC = "io.pinrail.spec"  # a server's ServerSpec, a front door's slot and port; JSON
ADDRESS = "io.pinrail.address"  # a server's, on the models' network
GROUP = "io.pinrail.server"  # the name of the server that a container is a replica of
REPLICA = "io.pinrail.replica"  # which of its replicas it is, from 1
MADE_OF = "io.pinrail.made-of"  # a front door's: what it was made of, as a digest
SERVER, FRONT = "server", "front"


def project_name(owner: str, slot: Slot) -> str:
    """``pinrail-staging-churn-model``, and a hash where that could be another slot's too.

    Compose allows less than a model's name does, and a hyphen in the environment's could be the one between the two.
    """
    name = f"{owner}-{slot.environment}-{slot.model}"
    allowed = re.sub(r"[^a-z0-9_-]", "-", name.lower())
    if allowed == name and "-" not in slot.environment:
        return name
    return f"{allowed}-{hashlib.sha256(str(slot).encode()).hexdigest()[:6]}"


def server_name(spec: ServerSpec) -> str:
    """A service's name: the version for people, and a part that makes it unique per start."""
    return f"v{spec.version}-{secrets.token_hex(2)}"


def front_name(port: int) -> str:
    """A service that holds a public port; one that replaces another has a name of its own."""
    return f"front-{port}-{secrets.token_hex(2)}"


def replica_name(service: str, spec: ServerSpec, replica: int) -> str:
    """A replica's service, behind its server's name."""
    return service if spec.replicas == 1 else f"{service}-{replica}"


def server_labels(owner: str, spec: ServerSpec, address: str, replica: tuple[str, int]) -> Mapping[str, str]:
    """What :func:`read_spec` reads back, the address, and of which server it is which replica."""
    group, number = replica
    named = {GROUP: group, REPLICA: str(number)}
    return {OWNER: owner, PART: SERVER, SPEC: json.dumps(asdict(spec)), ADDRESS: address, **named}


def front_labels(owner: str, slot: Slot, port: int, made_of: str) -> Mapping[str, str]:
    """What :func:`read_front` reads back, and what the front door is made of."""
    described = json.dumps({"slot": asdict(slot), "port": port})
    return {OWNER: owner, PART: FRONT, SPEC: described, MADE_OF: made_of}


def read_spec(label: str) -> ServerSpec:
    """ValueError, KeyError or TypeError: not one of ours."""
    raw: dict[str, Any] = json.loads(label)
    return ServerSpec(**{**raw, "slot": Slot(**raw["slot"])})


def read_front(label: str) -> tuple[Slot, int]:
    """ValueError, KeyError or TypeError: not one of ours."""
    raw: dict[str, Any] = json.loads(label)
    return Slot(**raw["slot"]), int(raw["port"])
