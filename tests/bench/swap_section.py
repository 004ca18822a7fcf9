"""What clients and senders see of promotions: the numbers of ``promotions.py`` beside the goals."""

import sys
from statistics import median

from tests.bench.figures import at_most, goals, number, table
from tests.bench.promotions import Burst, Swaps, measured


def measure(promotions: int, deliveries: int) -> tuple[Swaps, Burst]:
    """Promote back and forth under load, then send bursts of deliveries, each during one more promotion."""
    sys.stderr.write(f"{promotions} promotions under load, and bursts of {deliveries} deliveries\n")
    return measured(promotions, deliveries)


def render(swaps: Swaps, burst: Burst) -> str:
    """Goals and tables as Markdown."""
    seconds = median(swaps.seconds)
    wanted = [
        at_most("requests failed during promotions, keep-alive", 0, len(swaps.failures), ""),
        at_most("answers by the version before, after the switch", 0, swaps.wrong_version, ""),
        at_most("push accepted to new version answering, p50", 3, seconds, "s"),
        at_most("webhook answered while a deployment runs, p99, median of the bursts", 50, burst.p99_ms, "ms"),
        at_most(f"deliveries lost of {burst.deliveries:,}", 0, burst.lost, ""),
    ]
    rows = [
        ("promotions under load", str(swaps.promotions)),
        ("answers meanwhile", f"{swaps.answers:,}"),
        ("push accepted to new version answering, p50", f"{number(seconds)} s"),
        ("the same, longest", f"{number(max(swaps.seconds))} s"),
        ("webhook answered, p50", f"{number(burst.p50_ms)} ms"),
        ("webhook answered, p99", f"{number(burst.p99_ms)} ms"),
        ("webhook answered, p99 of the worst burst", f"{number(burst.worst_p99_ms)} ms"),
        ("jobs that the deliveries became", str(burst.jobs)),
    ]
    note = "The deliveries come in bursts over 50 connections, each burst while a promotion starts a model server."
    return f"{goals(wanted)}\n\n{table(('under load', 'measured'), rows)}\n\n{note}"
