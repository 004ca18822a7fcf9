"""``latency_p95_ms`` and ``memory_mb``: what one row costs, measured in a server process of its own."""

from collections.abc import Sequence

from ml.environment.gate_schema import Threshold
from ml.evidence import Verdict
from ml.gates.judge import judge
from ml.gates.subject import Served, Subject


def latency(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Compare the 95th percentile of single warm requests with the limit."""
    served = _served(subject)
    says = f"{served.rows} single rows, warm, {served.runtime}: half within {served.p50_ms:.3g} ms"
    return [judge("latency_p95_ms", served.p95_ms, limit, says)]


def memory(subject: Subject, limit: Threshold) -> Sequence[Verdict]:
    """Compare the resident memory of the server, after its answers, with the limit."""
    served = _served(subject)
    says = f"resident after {served.rows} answers, {served.runtime}"
    return [judge("memory_mb", served.memory_mb, limit, says)]


def _served(subject: Subject) -> Served:
    if subject.served is None:
        raise ValueError("no server was measured for this version")
    return subject.served
