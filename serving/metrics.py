"""The metrics of a model server, in Prometheus's format.

Counting is a few additions on plain numbers in the event loop. Prometheus's library is imported only where metrics
are served.
"""

import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.errors import ServingError
from serving.model.predictions import Array, Predictions

log = logging.getLogger(__name__)

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096, 16384)
PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# A model whose labels are not classes must not fill the memory.
MAX_LABELS = 100
OTHER = "other"


class Histogram:
    """Counts per bucket, and the sum of the values."""

    __slots__ = ("_array", "bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._array = np.array(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add_all(self, values: Array) -> None:
        """Count many values."""
        found = np.bincount(self._array.searchsorted(values), minlength=len(self.counts))
        self.counts = (self.counts + found).tolist()
        self.total += float(values.sum())

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus's buckets: each counts all values up to its bound."""
        seen, buckets = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            seen += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(seen)))
        return buckets


class ProtocolMetrics:
    """The requests of one protocol: answers by status, and seconds."""

    __slots__ = ("answers", "seconds")

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()  # by status
        self.seconds = Histogram(SECONDS)

    def record(self, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.answers[status] += 1
        self.seconds.add(seconds)


DROP_REASONS = ("buffer", "rate", "uncollected", "disk", "encoding")


class LogMetrics:
    """What became of the requests that the inference log was to record."""

    __slots__ = ("dropped", "recorded")

    def __init__(self) -> None:
        self.recorded = 0
        # By reason. Each reason is counted by one thread.
        self.dropped = dict.fromkeys(DROP_REASONS, 0)


class Metrics:
    """The metrics of one model server. Counted in one event loop; a reader in a thread may see half a request."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        """``labels``: names and values on every metric, such as the model's version."""
        self.labels = dict(labels)
        self.protocols: dict[str, ProtocolMetrics] = {}
        self.batch_rows = Histogram(ROWS)
        self.predictions: Counter[str] = Counter()
        self.probability = Histogram(PROBABILITIES)
        self.log: LogMetrics | None = None  # where there is an inference log

    def protocol(self, name: str) -> "ProtocolMetrics":
        """The metrics of one protocol."""
        return self.protocols.setdefault(name, ProtocolMetrics())

    def batch(self, predictions: Predictions) -> None:
        """Count one call to the model: its rows and their labels. It never fails: an answer is worth more."""
        self.batch_rows.add(len(predictions))
        if predictions.probabilities is None:
            return
        try:
            self._classes(predictions.labels, predictions.probabilities)
        except Exception:
            log.exception("could not count an answer for /metrics")

    def _classes(self, labels: Array, probabilities: Array) -> None:
        known = self.predictions
        # A row of several labels counts as one class, which is their text; a column of one label each is flat.
        values = labels.tolist()
        if labels.ndim > 1:
            rows = labels.reshape(len(labels), -1).tolist()
            values = [row[0] if len(row) == 1 else str(row) for row in rows]
        for label, count in Counter(values).items():
            name = str(label)
            known[name if name in known or len(known) < MAX_LABELS else OTHER] += count
        self.probability.add_all(probabilities[:, -1])

    def collect(self) -> Iterable[Any]:
        """Yield metric families; Prometheus's library calls this for every scrape."""
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        names, values = list(self.labels), list(self.labels.values())
        requests = CounterMetricFamily(
            "pinrail_requests", "Scoring requests answered.", labels=[*names, "protocol", "status"]
        )
        for name, protocol in self.protocols.items():
            for status, count in list(protocol.answers.items()):
                requests.add_metric([*values, name, str(status)], count)
        yield requests

        seconds = HistogramMetricFamily(
            "pinrail_request_seconds", "From a request's head to its answer.", labels=[*names, "protocol"]
        )
        for name, protocol in self.protocols.items():
            seconds.add_metric([*values, name], protocol.seconds.cumulative(), protocol.seconds.total)
        yield seconds

        predictions = CounterMetricFamily("pinrail_predictions", "Rows by predicted class.", labels=[*names, "label"])
        for label, count in list(self.predictions.items()):
            predictions.add_metric([*values, label], count)
        yield predictions

        yield from self._collect_log()

        for name, description, histogram in (
            ("pinrail_batch_rows", "Rows that the model was asked at once.", self.batch_rows),
            ("pinrail_probability", "Probability of the last class.", self.probability),
        ):
            family = HistogramMetricFamily(name, description, labels=names)
            family.add_metric(values, histogram.cumulative(), histogram.total)
            yield family

    def _collect_log(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily

        if self.log is None:
            return
        names, values = list(self.labels), list(self.labels.values())
        recorded = CounterMetricFamily("pinrail_inference_recorded", "Requests in the inference log.", labels=names)
        recorded.add_metric(values, self.log.recorded)
        yield recorded
        dropped = CounterMetricFamily(
            "pinrail_inference_dropped", "Requests that the inference log lost.", labels=[*names, "reason"]
        )
        for reason, count in self.log.dropped.items():
            dropped.add_metric([*values, reason], count)
        yield dropped


def serve_metrics(metrics: Metrics, port: int, host: str = "127.0.0.1") -> int:
    """Serve ``/metrics`` on a separate port, from a thread.

    Returns the port; 0 picks a free one. ServingError: the port cannot be bound.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(metrics)
    try:
        server, _thread = start_http_server(port, host, registry)
    except OSError as error:
        raise ServingError(f"cannot serve metrics on {host}:{port}: {error}; choose another port") from error
    return int(server.server_port)
