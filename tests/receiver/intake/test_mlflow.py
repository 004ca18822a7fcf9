"""MLflow's webhooks, signed by MLflow's own code."""

import json
import time

import pytest
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent
from mlflow.webhooks.constants import (
    WEBHOOK_DELIVERY_ID_HEADER,
    WEBHOOK_SIGNATURE_HEADER,
    WEBHOOK_TIMESTAMP_HEADER,
)
from mlflow.webhooks.delivery import _generate_hmac_signature
from mlflow.webhooks.types import get_example_payload_for_event

from receiver.core.delivery import DeliveryKind
from receiver.intake.mlflow import identify, parse, verify

SECRET = "an mlflow webhook secret"
NOW = 1_900_000_000.0


def body_of(event: WebhookEvent) -> bytes:
    data = get_example_payload_for_event(event)
    return json.dumps({"entity": event.entity.value, "action": event.action.value, "data": data}).encode()


def signed(body: bytes, at: float = NOW, secret: str = SECRET) -> list[tuple[bytes, bytes]]:
    stamp = str(int(at))
    signature = _generate_hmac_signature(secret, "an-id-1", stamp, body.decode())
    return [
        (WEBHOOK_DELIVERY_ID_HEADER.lower().encode(), b"an-id-1"),
        (WEBHOOK_TIMESTAMP_HEADER.lower().encode(), stamp.encode()),
        (WEBHOOK_SIGNATURE_HEADER.lower().encode(), signature.encode()),
    ]


BODY = body_of(WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED))


def test_what_mlflow_signs_is_accepted_and_asks_for_a_look() -> None:
    assert verify(SECRET.encode(), signed(BODY), BODY, NOW)
    assert identify(signed(BODY)) == "an-id-1"
    event, verdict = parse(BODY)
    assert (event, verdict.kind) == ("model_version_alias.created", DeliveryKind.ACCEPTED)


def test_another_secret_another_body_or_another_id_is_refused() -> None:
    assert not verify(b"other", signed(BODY), BODY, NOW)
    assert not verify(SECRET.encode(), signed(BODY), BODY + b" ", NOW)
    assert not verify(SECRET.encode(), [(b"x-mlflow-delivery-id", b"an-id-2"), *signed(BODY)[1:]], BODY, NOW)


@pytest.mark.parametrize(("age", "accepted"), [(299, True), (301, False), (-299, True), (-301, False)])
def test_a_delivery_from_more_than_five_minutes_away_is_refused(age: int, accepted: bool) -> None:
    assert verify(SECRET.encode(), signed(BODY, NOW - age), BODY, NOW) is accepted


def test_missing_doubled_or_malformed_headers_are_refused() -> None:
    headers = signed(BODY)
    for place in range(3):
        assert not verify(SECRET.encode(), headers[:place] + headers[place + 1 :], BODY, NOW)
        assert not verify(SECRET.encode(), [*headers, headers[place]], BODY, NOW)
    assert not verify(SECRET.encode(), [*headers[:2], (b"x-mlflow-signature", b"v1,\xe9")], BODY, NOW)
    assert not verify(SECRET.encode(), [headers[0], (b"x-mlflow-timestamp", b"9" * 5000), headers[2]], BODY, NOW)


def test_without_a_secret_nothing_is_verified() -> None:
    with pytest.raises(ValueError, match="secret is required"):
        verify(b"", signed(BODY), BODY, time.time())


def test_events_that_say_nothing_about_versions_are_ignored() -> None:
    prompt = body_of(WebhookEvent(WebhookEntity.PROMPT, WebhookAction.CREATED))
    assert parse(prompt)[1].kind is DeliveryKind.IGNORED


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"entity": 5, "action": "created"}', b"[" * 100_000])
def test_a_signed_body_that_mlflow_would_not_send_is_malformed(body: bytes) -> None:
    assert parse(body)[1].kind is DeliveryKind.MALFORMED
