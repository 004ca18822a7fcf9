"""Render the facts of a gate run as one HTML page: no scripts, nothing loaded, with a light and a dark theme."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ml.evidence import round_beside
from ml.report.charts import Axes, Bar, bars, dots, lines

TEMPLATE = "page.html"


def to_json(facts: dict[str, Any]) -> str:
    """Return ``report.json``."""
    return json.dumps(facts, indent=1, allow_nan=False)


def to_html(facts: dict[str, Any]) -> str:
    """Return ``report.html``. All facts are escaped."""
    jinja = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    when = datetime.fromtimestamp(facts["measured_at"], UTC).strftime("%Y-%m-%d %H:%M UTC")
    charts = {name: Markup(svg) for name, svg in _charts(facts).items()}  # noqa: S704 - charts.py escapes every text
    return jinja.get_template(TEMPLATE).render(
        facts=facts, when=when, charts=charts, counts=_counts(facts), shown=_shown
    )


def _shown(value: float, threshold: float) -> str:
    return f"{float(round_beside(value, threshold)):,.12g}"  # without an exponent, where that is readable


def _counts(facts: dict[str, Any]) -> dict[str, int]:
    outcomes = [verdict["outcome"] for verdict in facts["verdicts"]]
    return {outcome: outcomes.count(outcome) for outcome in ("PASS", "FAIL", "INCONCLUSIVE") if outcome in outcomes}


def _charts(facts: dict[str, Any]) -> dict[str, str]:
    found = {}
    if facts.get("roc"):
        found["roc"] = lines(facts["roc"], Axes("Ranking (ROC)", "false positives", "true positives"))
    if facts.get("calibration"):
        found["calibration"] = lines(
            facts["calibration"], Axes("Calibration: said and true", "predicted probability", "actual share")
        )
    if facts.get("scatter"):
        numbers = [n for points in facts["scatter"].values() for point in points for n in point]
        found["scatter"] = dots(
            facts["scatter"], Axes("Measured and answered", "measured", "answered", min(numbers), max(numbers))
        )
    if facts.get("slices"):
        found["slices"] = bars("Right decisions per slice", [_slice(s) for s in facts["slices"]], top=1.0)
    if facts["drift"]:
        limit = next((v["threshold"] for v in facts["verdicts"] if v["name"] == "drift.psi"), None)
        worst = sorted(facts["drift"], key=lambda d: d["psi"], reverse=True)[:20]
        top = max(worst[0]["psi"], (limit or 0.0) * 1.2, 0.05)
        found["drift"] = bars(
            "Drift from the training data (PSI)",
            [Bar(d["column"], {"challenger": d["psi"]}, f"{d['psi']:.3f}") for d in worst],
            top,
            limit,
        )
    return found


def _slice(found: dict[str, Any]) -> Bar:
    shares = " / ".join(f"{value:.0%}" for value in found["accuracy"].values())
    return Bar(f"{found['column']} = {found['value']}", found["accuracy"], shares)
