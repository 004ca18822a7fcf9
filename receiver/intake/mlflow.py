"""MLflow's webhooks: a registry that changed is a reason to look again. No I/O of any kind happens here.

MLflow signs ``<delivery id>.<timestamp>.<body>`` in the manner of https://www.standardwebhooks.com.
Our own writes come back as deliveries too; they find everything in sync, so that ends by itself.
"""

import base64
import hashlib
import hmac
import re

from receiver.core.delivery import Classification, DeliveryKind
from receiver.core.redact import plain
from receiver.intake.headers import Headers, only
from receiver.intake.strict_json import NotStrictJsonError, field, parse_object

SIGNATURE = b"x-mlflow-signature"
DELIVERY = b"x-mlflow-delivery-id"
TIMESTAMP = b"x-mlflow-timestamp"
TOLERANCE_SECONDS = 300

_SIGNATURE = re.compile(rb"v1,([A-Za-z0-9+/]{43}=)")
_DELIVERY = re.compile(rb"[A-Za-z0-9-]{1,64}")
_TIMESTAMP = re.compile(rb"[0-9]{1,12}")
# Prompts and webhook tests of other kinds say nothing about what we serve.
_ENTITIES = frozenset({"registered_model", "model_version", "model_version_tag", "model_version_alias"})


def verify(secret: bytes, headers: Headers, body: bytes, now: float) -> bool:
    """Whether the secret signed these bytes under this id within five minutes of ``now`` (epoch seconds)."""
    if not secret:
        raise ValueError("a webhook secret is required: unsigned means rejected")
    delivery = _DELIVERY.fullmatch(only(headers, DELIVERY) or b"")
    timestamp = _TIMESTAMP.fullmatch(only(headers, TIMESTAMP) or b"")
    signature = _SIGNATURE.fullmatch(only(headers, SIGNATURE) or b"")
    if delivery is None or timestamp is None or signature is None:
        return False
    signed = b".".join((delivery[0], timestamp[0], body))
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest())
    matches = hmac.compare_digest(expected, signature[1])
    return matches and abs(now - int(timestamp[0])) <= TOLERANCE_SECONDS


def identify(headers: Headers) -> str:
    """The delivery's id, which the signature covers: call it after :func:`verify`."""
    return (only(headers, DELIVERY) or b"").decode()


def parse(body: bytes) -> tuple[str, Classification]:
    """The event as ``entity.action``, and what it means for us."""
    try:
        payload = parse_object(body)
        entity, action = field(payload, "entity", str), field(payload, "action", str)
    except NotStrictJsonError as error:
        return "", Classification(DeliveryKind.MALFORMED, plain(str(error)))
    event = plain(f"{entity}.{action}")[:64]
    if entity in _ENTITIES:
        return event, Classification(DeliveryKind.ACCEPTED, f"the registry changed: {event}")
    return event, Classification(DeliveryKind.IGNORED, f"{event}: says nothing about model versions")
