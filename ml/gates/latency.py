"""``latency_p95_ms``: what one row costs, warm, through the code that serves it."""

import time

import numpy as np

from ml.gates.subject import Measurement, Subject

WARM_UP = 20
ROWS = 300


def measure(subject: Subject) -> Measurement:
    """Time single rows one after another; the 95th percentile, in milliseconds."""
    records = [subject.records[i % len(subject.records)] for i in range(WARM_UP + ROWS)]
    took = []
    for record in records:
        start = time.perf_counter()
        subject.predict([record])
        took.append(time.perf_counter() - start)
    p50, p95 = (float(p) * 1000 for p in np.percentile(took[WARM_UP:], [50, 95]))
    return Measurement(p95, f"{ROWS} single rows, warm: half within {p50:.3g} ms, 95 % within {p95:.3g} ms")
