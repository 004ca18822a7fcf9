"""What a model server counts, as Prometheus reads it."""

import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.errors import ServingError
from serving.metrics import MAX_LABELS, Metrics, serve_metrics
from tests.serving.conftest import serve
from tests.support.asgi import ask, post

GOOD = {"age": 30, "income": 2500.5, "balance": -1, "city": "Köln", "plan": "plus"}


def scrape(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels but the common ones."""
    port = serve_metrics(metrics, 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    common = {"environment", "model", "version"}
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name not in common)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_requests_latency_batches_and_predictions_are_on_a_port_of_their_own(classifier: Path) -> None:
    app = serve(classifier)
    label = post(app, "/predict", [GOOD] * 5).json["predictions"][0]
    assert post(app, "/predict", {"age": "x"}).status == 422
    assert ask(app, "POST", "/invocations", b"{", content_type="application/json").status == 400
    assert ask(app, "GET", "/metrics").status == 404
    seen = scrape(app.metrics)
    assert seen["pinrail_requests_total", "predict", "200"] == 1
    assert seen["pinrail_requests_total", "predict", "422"] == 1
    assert seen["pinrail_requests_total", "invocations", "400"] == 1
    assert seen["pinrail_request_seconds_count", "predict"] == 2
    assert 0 < seen["pinrail_request_seconds_sum", "predict"] < 5
    assert seen["pinrail_predictions_total", label] == 5
    assert seen["pinrail_batch_rows_sum",] == 5
    assert (seen["pinrail_batch_rows_bucket", "4"], seen["pinrail_batch_rows_bucket", "8"]) == (0, 1)
    assert seen["pinrail_probability_count",] == 5


def test_every_number_says_whose_it_is(classifier: Path) -> None:
    assert serve(classifier).metrics.labels == {"environment": "staging", "model": "small", "version": "3"}


def test_labels_without_end_are_counted_together(classifier: Path) -> None:
    import numpy as np

    from serving.model.predictions import Predictions

    metrics = Metrics({})
    rows = 3 * MAX_LABELS
    metrics.batch(Predictions(np.arange(rows), np.full((rows, 1), 1.0)))
    assert len(metrics.predictions) == MAX_LABELS + 1
    assert metrics.predictions["other"] == rows - MAX_LABELS


def test_a_port_that_is_taken_is_named() -> None:
    port = serve_metrics(Metrics({}), 0)
    with pytest.raises(ServingError, match=f"{port}.*choose another"):
        serve_metrics(Metrics({}), port)
