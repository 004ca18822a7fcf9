"""``POST /api/labels``: for who has the token, in bounds, and with reasons."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from ml.live.label_store import LabelStore
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.sqlite.database import Database
from receiver.admin.app import admin_config
from receiver.admin.details import Sources
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.daemon.listener import Listener
from receiver.planning.status import StatusReport

TOKEN = "a-token-of-some-length"
ONE = {"model": "churn", "labels": [{"request_id": "a", "label": "stay"}]}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("labels")
    LogDirectories(state).prepare(Slot("staging", "churn"))
    return state


@pytest.fixture(scope="module")
def client(state: Path) -> Iterator[httpx.Client]:
    database = Database(state / "pinrail.db")
    listener = Listener(
        admin_config(database, StatusReport, 0, Redactor(), Sources(labels_token=SecretStr(TOKEN))), "admin"
    )
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.port}") as client:
        yield client
    listener.stop()
    database.close()


def post(client: httpx.Client, body: Any, token: str = TOKEN) -> httpx.Response:
    content = {"content": body} if isinstance(body, bytes) else {"json": body}
    return client.post("/api/labels", headers={"Authorization": f"Bearer {token}"}, **content)


def test_labels_are_kept_and_counted(client: httpx.Client, state: Path) -> None:
    labels = [{"request_id": "b", "row": row, "label": label} for row, label in enumerate(["x", 1, 1.5, True])]
    assert post(client, {"model": "churn", "labels": labels}).json() == {"new": 4, "same": 0, "replaced": 0}
    again = [labels[0], {**labels[1], "label": 0}]
    assert post(client, {"model": "churn", "labels": again}).json() == {"new": 0, "same": 1, "replaced": 1}
    assert LabelStore(LogDirectories(state).root).counts()["churn"].unknown == 4


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer"}, {"Authorization": "Bearer other"}])
def test_who_has_no_token_hands_in_nothing(client: httpx.Client, header: dict[str, str]) -> None:
    assert client.post("/api/labels", json=ONE, headers=header).status_code == 401
    assert client.post("/api/labels", json=ONE, headers={b"Authorization": b"Bearer \xe9"}).status_code == 401


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({**ONE, "model": "chrun"}, 404, "did you mean churn?"),
        ({"model": "churn"}, 422, "labels"),
        ({"model": "churn", "labels": [{"request_id": "a"}]}, 422, "$.labels[0]"),
        ({"model": "churn", "labels": [{"request_id": "a", "label": None}]}, 422, "null"),
        ({"model": "churn", "labels": [{"request_id": "", "label": 1}]}, 422, "found the request id ''"),
        ({"model": "churn", "labels": [{"request_id": "a", "label": 1, "row": -1}]}, 422, "found the row number -1"),
        ({"model": "churn", "labels": [{"request_id": "a", "label": 1, "rwo": 1}]}, 422, "rwo"),
        (b"[" * 100_000, 422, "the body is not as it should be"),
        (b'{"model": "\xff"}', 422, "the body is not as it should be"),
        (b" " * (9 << 20), 413, "in parts"),
    ],
)
def test_what_cannot_be_taken_in_says_why(client: httpx.Client, body: Any, status: int, said: str) -> None:
    answer = post(client, body)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_without_the_setting_nothing_is_taken_in(tmp_path: Path) -> None:
    database = Database(tmp_path / "pinrail.db")
    listener = Listener(admin_config(database, StatusReport, 0), "admin")
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.port}") as client:
        answer = post(client, ONE)
    listener.stop()
    database.close()
    assert answer.status_code == 403
    assert "PINRAIL_LABELS_TOKEN" in answer.json()["detail"]
