"""Realised metrics in words. Pure."""

from ml.live.labels import Realised


def realised_line(found: Realised) -> str:
    """A metric with its interval, what the gate measured, and what is asked for."""
    if found.value is None:
        return found.problem
    said = f"{found.low:.4g} to {found.high:.4g}, {found.labels:,} labels"
    gate = "" if found.gate is None else f"; gate {found.gate:.4g}"
    return f"{found.metric} {found.value:.4g} ({said}{gate}{asked_text(found)})"


def asked_text(found: Realised) -> str:
    """Whether the metric is what ``policy.live`` asks for; empty where that asks for nothing."""
    if found.least is None:
        return ""
    more = "" if found.more is None else f", about {found.more:,} more labels decide it"
    return f"; {found.outcome} for {found.least:g}{more if found.outcome == 'INCONCLUSIVE' else ''}"
