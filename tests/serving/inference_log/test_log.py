"""What of requests and answers is recorded, and that nothing behind the buffer reaches a request."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.app import ModelServer
from serving.inference_log import log as inference_log
from serving.inference_log.log import InferenceLog, LogLimits
from serving.inference_log.segment import read
from serving.inference_log.settings import PROBER, LogSettings
from serving.model import model_dir
from serving.model.schema import MAX_ROWS
from tests.serving.conftest import serve
from tests.serving.test_metrics import scrape
from tests.support.asgi import post
from tests.support.segments import recorded, segments
from tests.support.waiting import eventually

GOOD: dict[str, Any] = {"age": 30, "income": 2500.5, "balance": -1.0, "city": "Köln", "plan": "plus"}

Open = Callable[..., InferenceLog]


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_log, "SEGMENT_SECONDS", 0.01)


@pytest.fixture
def open_log(tmp_path: Path, classifier: Path) -> Iterator[Open]:
    """Opens a log for the classifier, by default in ``tmp_path``."""
    with contextlib.ExitStack() as opened:

        def build(limits: LogLimits | None = None, directory: Path = tmp_path, **settings: Any) -> InferenceLog:
            served = 3, "sha256:00", model_dir.read(classifier).columns
            log = InferenceLog(LogSettings(**settings), directory, served, limits)
            opened.callback(log.close)
            return log

        yield build


def tensors() -> dict[str, Any]:
    kinds = {"age": "INT64", "income": "FP64", "balance": "FP64", "city": "BYTES", "plan": "BYTES"}
    inputs = [{"name": n, "shape": [1], "datatype": kinds[n], "data": [v]} for n, v in GOOD.items()]
    return {"inputs": inputs}


CASES = [
    ("/predict", GOOD, ("predict", 422)),
    ("/invocations", {"dataframe_records": [GOOD]}, ("invocations", 400)),
    ("/v2/models/small/infer", tensors(), ("infer", 400)),
]


@pytest.mark.parametrize(("path", "body", "expected"), CASES)
def test_answers_and_refusals_of_every_protocol_are_recorded(
    open_log: Open, classifier: Path, path: str, body: Any, expected: tuple[str, int]
) -> None:
    log, (protocol, wrong_status) = open_log(), expected
    app = serve(classifier, log)
    kind = {"content_type": "application/json"}
    post(app, path, body, x_request_id="order-7", user_agent="shop/1.2", **kind)
    assert post(app, path, {"nothing": 1}, **kind).status == wrong_status
    log.close()
    answered, refused = recorded(log.directory)
    assert (answered.request_id, answered.caller, answered.protocol) == (b"order-7", b"shop/1.2", protocol)
    assert (answered.status, answered.reason, answered.start) == (200, "", 0)
    assert [list(row) for row in answered.rows or ()] == [list(GOOD.values())]
    assert answered.labels == post(app, "/predict", GOOD).json["predictions"]
    assert answered.probabilities is not None
    assert sum(answered.probabilities[0]) == pytest.approx(1)
    assert answered.microseconds > 0
    assert (refused.status, refused.rows, refused.labels) == (wrong_status, None, None)
    assert "must" in refused.reason or "expected" in refused.reason


def test_a_request_has_an_id_and_the_answer_names_it_and_the_version(app: ModelServer) -> None:
    given = post(app, "/predict", GOOD, x_request_id="order-7").headers
    assert (given["x-request-id"], given["x-model-version"]) == ("order-7", "3")
    made = {post(app, "/predict", GOOD).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    assert post(app, "/predict", b"{").headers["x-model-version"] == "3"


@pytest.mark.parametrize("bad", ["", "x" * 129, "two words", "tab\there", "umläut"])
def test_an_id_that_is_long_or_not_printable_is_replaced(app: ModelServer, bad: str) -> None:
    found = post(app, "/predict", GOOD, x_request_id=bad).headers["x-request-id"]
    assert found != bad
    assert found.isascii()


def test_the_named_header_tells_the_caller_and_else_the_user_agent(
    open_log: Open, classifier: Path, tmp_path: Path
) -> None:
    log = open_log(caller="X-Caller")
    app = serve(classifier, log)
    post(app, "/predict", GOOD, x_caller="shop" * 100, user_agent="python")
    post(app, "/predict", GOOD, user_agent="python")
    log.close()
    assert [record.caller for record in recorded(tmp_path)] == [b"shop" * 50, b"python"]


def test_a_long_request_is_recorded_in_pieces_with_all_of_its_rows(
    open_log: Open, classifier: Path, tmp_path: Path
) -> None:
    log = open_log()
    app = serve(classifier, log)
    rows = [{**GOOD, "age": number} for number in range(1000)]
    post(app, "/predict", rows)
    log.close()
    found = recorded(tmp_path)
    assert [row[0] for record in found for row in record.rows or ()] == list(range(1000))
    assert [record.start for record in found] == list(range(0, 1000, 128))
    assert sum(len(record.labels or ()) for record in found) == 1000


def test_dropped_columns_are_absent_and_hashed_ones_cannot_be_read(
    open_log: Open, classifier: Path, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    log = open_log(drop=("city",), hash=("plan", "income"))
    app = serve(classifier, log)
    private = {**GOOD, "city": "canary-drop", "plan": "canary-hash"}
    for record in (private, {**private, "income": None}):
        post(app, "/predict", record)
    log.close()
    (path,) = segments(tmp_path)
    header, found = read(path.read_bytes())
    assert header.columns == [("age", "long"), ("income", "hash"), ("balance", "double"), ("plan", "hash")]
    one, other = ((record.rows or [])[0] for record in found)
    assert one[3] == other[3]
    assert len(one[3]) == 32
    assert other[1] is None
    assert b"canary" not in path.read_bytes()


def test_without_a_key_columns_to_hash_are_dropped(open_log: Open, classifier: Path, tmp_path: Path) -> None:
    log = open_log(hash=("plan",))
    post(serve(classifier, log), "/predict", GOOD)
    log.close()
    (record,) = recorded(tmp_path)
    assert record.rows == [[30, 2500.5, -1.0, "Köln"]]


def test_a_sample_of_none_records_none_and_the_receivers_own_questions_are_not_recorded(
    open_log: Open, classifier: Path, tmp_path: Path
) -> None:
    none, everything = open_log(sample=0.0), open_log()
    post(serve(classifier, none), "/predict", GOOD)
    post(serve(classifier, everything), "/predict", GOOD, user_agent=PROBER.decode())
    none.close()
    everything.close()
    assert segments(tmp_path) == []
    assert everything.metrics.dropped == dict.fromkeys(everything.metrics.dropped, 0)


def test_what_comes_too_fast_is_dropped_and_counted(open_log: Open, classifier: Path, tmp_path: Path) -> None:
    log = open_log(LogLimits(requests_per_second=5))
    app = serve(classifier, log)
    for _ in range(50):
        assert post(app, "/predict", GOOD).status == 200
    log.close()
    assert log.metrics.dropped["rate"] > 20
    assert log.metrics.dropped["rate"] + len(recorded(tmp_path)) == 50


def test_one_request_may_have_more_rows_than_a_second_allows(
    open_log: Open, classifier: Path, tmp_path: Path
) -> None:
    log = open_log()
    post(serve(classifier, log), "/predict", [GOOD] * MAX_ROWS)
    log.close()
    assert sum(len(record.rows or ()) for record in recorded(tmp_path)) == MAX_ROWS


def test_a_disk_that_hangs_fills_the_buffer_and_no_more(
    open_log: Open, classifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, released = threading.Event(), threading.Event()

    def hang(_fd: int) -> None:
        hanging.set()
        released.wait()

    monkeypatch.setattr(os, "fsync", hang)
    log = open_log(LogLimits(buffer_bytes=2000))
    app = serve(classifier, log)
    post(app, "/predict", GOOD)
    assert hanging.wait(10)
    for _ in range(100):
        assert post(app, "/predict", GOOD).status == 200
    assert log.metrics.dropped["buffer"] > 80
    released.set()
    log.close()
    assert log.metrics.recorded + log.metrics.dropped["buffer"] == 101


def test_a_directory_that_is_gone_costs_records_until_it_is_back(
    open_log: Open, classifier: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "later"
    log = open_log(directory=directory)
    app = serve(classifier, log)
    assert post(app, "/predict", GOOD).status == 200
    eventually(lambda: log.metrics.dropped["disk"] == 1)
    directory.mkdir()
    assert post(app, "/predict", GOOD).status == 200
    eventually(lambda: log.metrics.recorded == 1)
    assert len(recorded(directory)) == 1


def test_a_full_disk_costs_records_and_leaves_nothing_half_written(
    open_log: Open, classifier: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "64k") as directory:
        log = open_log(directory=directory)
        app = serve(classifier, log)
        filler = directory / "filler"
        with contextlib.suppress(OSError):
            filler.write_bytes(b"x" * (1 << 20))
        assert post(app, "/predict", GOOD).status == 200
        eventually(lambda: log.metrics.dropped["disk"] == 1)
        assert list(directory.iterdir()) == [filler]
        filler.unlink()
        assert post(app, "/predict", GOOD).status == 200
        eventually(lambda: log.metrics.recorded == 1)
        log.close()
        assert len(recorded(directory)) == 1


def test_segments_that_nobody_collects_end_the_recording(open_log: Open, classifier: Path, tmp_path: Path) -> None:
    log = open_log(LogLimits(waiting_bytes=1500))
    app = serve(classifier, log)

    def uncollected() -> bool:
        assert post(app, "/predict", GOOD).status == 200
        return log.metrics.dropped["uncollected"] > 0

    eventually(uncollected)
    log.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1500


def test_what_was_lost_is_among_the_metrics_and_in_the_next_segment(
    open_log: Open, classifier: Path, tmp_path: Path
) -> None:
    log = open_log(LogLimits(requests_per_second=1))
    app = serve(classifier, log)
    for _ in range(3):
        post(app, "/predict", GOOD)
    log.close()
    seen = scrape(app.metrics)
    assert seen["pinrail_inference_dropped_total", "rate"] == 2
    assert seen["pinrail_inference_dropped_total", "disk"] == 0
    assert seen["pinrail_inference_recorded_total",] == 1
    (path,) = segments(tmp_path)
    assert read(path.read_bytes())[0].dropped["rate"] == 2


def test_without_a_log_there_are_no_such_metrics(app: ModelServer) -> None:
    assert not any("inference" in name for name, *_ in scrape(app.metrics))


@contextlib.contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """A file system of this size."""
    directory.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)
