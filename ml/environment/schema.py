"""The shape of an environment file. ``environments/schema.json`` is generated from here, for editors.

The gate section is in ``gate_schema.py``, the inference log's in ``log_schema.py``.
"""

import json
from collections.abc import Sequence
from functools import cache
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, with_config
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict  # pydantic needs this one below Python 3.12

from ml.environment.gate_schema import ONLY_THESE, Gate, Share, says
from ml.environment.log_schema import LogFields

MAX_INTEGER = 2**63 - 1  # what SQLite and MLflow keep
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]{1,500}$"


def _not_reserved(alias: str) -> str:
    # MLflow keeps "latest" and "v<number>" for itself, in any case.
    lowered = alias.lower()
    if lowered == "latest" or (lowered[0] == "v" and lowered[1:].isdigit()):
        raise ValueError
    return alias


Name = Annotated[
    str,
    Field(strict=True, pattern=NAME),
    says("1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first", "rename it, or quote a number"),
]
Alias = Annotated[
    str,
    Field(
        strict=True,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        json_schema_extra={"not": {"pattern": "^([Ll][Aa][Tt][Ee][Ss][Tt]|[vV][0-9]+)$"}},
    ),
    AfterValidator(_not_reserved),
    says("1 to 64 letters, digits, `_` and `-`, but not latest or v<number>", "use the environment's name"),
]
Stage = Annotated[
    Literal["Staging", "Production"] | None,
    says("Staging, Production or null", "write one of them, or leave it out where the registry shows no stage"),
]
Version = Annotated[
    int,
    Field(strict=True, ge=1, le=MAX_INTEGER),
    says(
        f"a whole number from 1 to {MAX_INTEGER}",
        "write the registry's number, like 6, and nothing around it",
    ),
]
Port = Annotated[
    int,
    Field(strict=True, ge=1, le=65535),
    says("a whole number from 1 to 65535", "write a free port of the serving machine, like 8001"),
]
Duration = Annotated[
    str,
    Field(strict=True, pattern=r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,5}s)?$", min_length=2),
    says("hours, minutes and seconds like 30m, 1h30m, 45s or 0s", "write the number and its unit"),
]
Auto = Annotated[
    Literal["merge"],
    says("merge", "leave it out where people merge promotions"),
]
Packages = Annotated[
    Literal["locked"],
    says("locked", "leave it out where a version may bring packages of its own"),
]
Isolation = Annotated[
    Literal["required"],
    says("required", "leave it out where a model may have the rights of the receiver's user"),
]
Egress = Annotated[
    bool,
    Field(strict=True),
    says("true or false", "leave it out where the model needs no internet"),
]
MOST_REPLICAS = 16
Replicas = Annotated[
    int,
    Field(strict=True, ge=1, le=MOST_REPLICAS),
    says(f"a whole number from 1 to {MOST_REPLICAS}", "write how many servers share the pin's requests, like 2"),
]
Cpus = Annotated[
    float,
    Field(strict=True, ge=0.1, le=1024, allow_inf_nan=False),
    says("a number from 0.1 to 1024, like 1 or 1.5", "write how many processors each replica may use"),
]
Memory = Annotated[
    str,
    Field(strict=True, pattern=r"^([1-9][0-9]{2,6}m|[1-9][0-9]{0,3}g)$"),
    says("megabytes from 100m or gigabytes like 1g", "write what each replica may use, and its unit"),
]
Reason = Annotated[
    str,
    Field(strict=True, pattern=PRINTABLE),
    says("1 to 500 printable characters on one line", "say in a sentence why, for the person who reads it later"),
]


@with_config(ONLY_THESE)
class RegistryFields(TypedDict):
    """What the registry calls the version that this environment serves."""

    stage: NotRequired[Annotated[Stage, Field(description="The registry stage that is shown for it.")]]
    alias: Annotated[Alias, Field(description="The registry alias that points at it; one per environment.")]


OnFail = Annotated[
    Literal["notify", "revert"],
    says("notify or revert", "`notify`: people decide; `revert`: Pinrail opens the pull request for the way back"),
]
Labels = Annotated[
    int,
    Field(strict=True, ge=1, le=500_000),
    says("a whole number from 1 to 500000, like 200", "write how many labels there have to be before it is decided"),
]


@with_config(ONLY_THESE)
class LiveAccuracyFields(TypedDict):
    """The accuracy that a version must have by its labels."""

    min: Annotated[Share, Field(description="The least share of right answers.")]
    labels: NotRequired[Annotated[Labels, Field(description="Not decided before so many. Default: 100.")]]


@with_config(ONLY_THESE)
class LiveFields(TypedDict):
    """What labels must say of a version that serves here. Needs `log`."""

    accuracy: LiveAccuracyFields
    on_fail: NotRequired[
        Annotated[OnFail, Field(description="What happens when it is surely missed, once. Default: notify.")]
    ]


PublicKey = Annotated[
    str,
    Field(strict=True, pattern=r"^ed25519:[0-9a-f]{64}$"),
    says("ed25519: and 64 hexadecimal digits", "write what `pinrail key` prints"),
]


@with_config(ONLY_THESE)
class EvidenceFields(TypedDict):
    """Whose evidence counts here."""

    keys: Annotated[
        list[PublicKey],
        Field(
            min_length=1,
            max_length=20,
            description="The public keys that evidence has to be signed by. Default: the receiver's own.",
        ),
        says("a list of 1 to 20 public keys", "write what `pinrail key` prints, in brackets"),
    ]


@with_config(ConfigDict(extra="forbid", json_schema_extra={"dependentRequired": {"soak": ["after"]}}))
class PolicyFields(TypedDict, total=False):
    """What must have happened before a version may come here, and what must be so while it is here."""

    after: Annotated[Name, Field(description="The environment in which it must have been live and verified.")]
    soak: Annotated[Duration, Field(description="For how long, like 30m or 1h30m. Default: any time at all.")]
    auto: Annotated[
        Auto, Field(description="merge: promotions here are merged when their checks pass. Default: people merge.")
    ]
    packages: Annotated[
        Packages,
        Field(description="locked: no version with packages of its own but by hash. Default: they are installed."),
    ]
    live: LiveFields
    evidence: EvidenceFields
    isolation: Annotated[
        Isolation,
        Field(description="required: nothing new is served where a model has the receiver's rights (`process`)."),
    ]


@with_config(ONLY_THESE)
class OverrideFields(TypedDict):
    """Waives gate and soak for exactly this version; for any other it has no effect."""

    version: Annotated[Version, Field(description="The version that it is for.")]
    reason: Annotated[Reason, Field(description="Why; it is recorded with the deployment.")]


@with_config(ONLY_THESE)
class ResourceFields(TypedDict, total=False):
    """What each replica may use at most."""

    cpus: Annotated[Cpus, Field(description="Processors. Default: 2 on `compose`, any number on `process`.")]
    memory: Annotated[Memory, Field(description="Like 512m or 1g. Default: 1g on `compose`, any on `process`.")]


@with_config(ONLY_THESE)
class PinFields(TypedDict):
    """One model that is served here."""

    version: Annotated[Version, Field(description="The registry version. The one line that a promotion changes.")]
    port: Annotated[Port, Field(description="Where it answers; no two pins share a port.")]
    egress: NotRequired[Annotated[Egress, Field(description="Whether its model server may open connections.")]]
    replicas: NotRequired[
        Annotated[Replicas, Field(description="How many model servers share its requests. Default: 1.")]
    ]
    resources: NotRequired[ResourceFields]
    override: NotRequired[OverrideFields]
    gate: NotRequired[Annotated[Gate, Field(description="What is asked of this model, in place of the gate above.")]]
    log: NotRequired[Annotated[LogFields, Field(description="What is recorded, in place of the log above.")]]


@with_config(ONLY_THESE)
class EnvironmentFile(TypedDict):
    """A place that serves models, and which version of each."""

    environment: Annotated[Name, Field(description="The environment's name; equals the file's.")]
    registry: RegistryFields
    policy: NotRequired[PolicyFields]
    gate: Gate
    log: NotRequired[LogFields]
    models: Annotated[
        dict[Name, PinFields],
        Field(
            description="Registered models by name. `{}`: none is served.",
            json_schema_extra={"additionalProperties": False},
        ),
    ]


SHAPE: TypeAdapter[EnvironmentFile] = TypeAdapter(EnvironmentFile)


class _Plain(GenerateJsonSchema):
    """Without the titles that repeat each field's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - the base class's signature
        return False


@cache
def json_schema() -> dict[str, Any]:
    """The JSON Schema of an environment file."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | SHAPE.json_schema(schema_generator=_Plain)


def schema_text() -> str:
    """``environments/schema.json`` as it should be."""
    return json.dumps(json_schema(), indent=2) + "\n"


def fields_at(path: Sequence[str | int]) -> list[str]:
    """The names of the fields that may stand at ``path``, in the order of the documentation."""
    root = json_schema()
    node = root
    for part in path:
        node = _resolve(root, node)
        named = node.get("properties", {}).get(part)
        node = _resolve(root, named or next(iter(node.get("patternProperties", {}).values()), {}))
    return list(node.get("properties", {}))


def _resolve(root: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    target: dict[str, Any] = root["$defs"][node["$ref"].rpartition("/")[2]]
    return target
