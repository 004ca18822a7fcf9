"""``POST /api/labels``: the one route of the admin listener that writes. It wants a token of its own.

A page in a browser of this machine cannot call it: the token's header needs leave that this listener gives nobody.
"""

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from ml.environment.file import did_you_mean
from ml.live.label_store import LabelStore
from ml.live.labels import Label, LabelsUnusable, Received
from receiver.adapters.inference_log.directories import LogDirectories

LARGEST_BODY = 8 << 20  # bytes
SCHEME = "Bearer "


ANSWERS: Mapping[int | str, dict[str, Any]] = {
    200: {"description": "How many are `new`, the `same` as before, and `replaced`."},
    401: {"description": "Without `Authorization: Bearer` and the token of `PINRAIL_LABELS_TOKEN`."},
    403: {"description": "No such token is set, so nobody may."},
    404: {"description": "Nothing is recorded of that model."},
    413: {"description": "More than 8 MiB."},
    422: {"description": "No labels as [described](../inference-log.md)."},
    503: {"description": "They cannot be written now: try again."},
}


class PostedLabel(msgspec.Struct, forbid_unknown_fields=True):
    """What a row of a request really was. ``label``: a text, a number, true or false."""

    request_id: str
    label: str | int | float | bool
    row: int = 0


class PostedLabels(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request."""

    model: str
    labels: list[PostedLabel]


class LabelsRefused(Exception):  # noqa: N818 - it names what happened to the request
    """A request that is answered with this status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(reason)


def add_label_route(app: FastAPI, directories: LogDirectories, token: SecretStr | None) -> None:
    """Take in labels of recorded models from who has the token; without one, from nobody."""
    store = LabelStore(directories.root)

    @app.post("/api/labels", summary="Take in labels of answers", responses=dict(ANSWERS))
    async def post_labels(request: Request) -> JSONResponse:
        try:
            _authorise(request, token)
            given = _parsed(await _body(request))
            received = await run_in_threadpool(_take_in, store, directories, given)
        except LabelsRefused as refused:
            return JSONResponse({"detail": str(refused)}, refused.status)
        except LabelsUnusable as error:
            return JSONResponse({"detail": str(error)}, 503)
        return JSONResponse({"new": received.new, "same": received.same, "replaced": received.replaced})


def _authorise(request: Request, token: SecretStr | None) -> None:
    if token is None:
        raise LabelsRefused(
            403, "labels are taken in here once PINRAIL_LABELS_TOKEN is set; `pinrail labels` needs none"
        )
    sent = request.headers.get("authorization", "").encode("latin-1")
    if not hmac.compare_digest(sent, f"{SCHEME}{token.get_secret_value()}".encode()):
        raise LabelsRefused(
            401, "found no valid token: send `Authorization: Bearer` and that of PINRAIL_LABELS_TOKEN"
        )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            raise LabelsRefused(413, f"found more than {LARGEST_BODY >> 20} MB: send the labels in parts")
    return bytes(body)


def _parsed(body: bytes) -> PostedLabels:
    try:
        return msgspec.json.decode(body, type=PostedLabels)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LabelsRefused(422, f"the body is not as it should be: {error}") from error


def _take_in(store: LabelStore, directories: LogDirectories, given: PostedLabels) -> Received:
    known = sorted({slot.model for slot in directories.slots()})
    if given.model not in known:
        raise LabelsRefused(404, f"nothing is recorded of that model: {did_you_mean(given.model, known)}")
    try:
        labels = [Label.read(each.request_id, each.row, each.label) for each in given.labels]
    except ValueError as error:
        raise LabelsRefused(422, str(error)) from error
    return store.add(given.model, labels)
