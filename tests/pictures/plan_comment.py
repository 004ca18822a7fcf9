"""A plan comment as GitHub shows it: the Markdown that the receiver posts, in GitHub's measures."""

import time

from markdown_it import MarkdownIt

from ml.evidence import CheckOutcome, Evidence, Verdict
from receiver.core.state import Slot
from receiver.pull_requests.markdown import Signature
from receiver.pull_requests.plan_comment import DetailedComparison, PlannedChange, PullRequestPlan, Soak
from receiver.pull_requests.promotion_body import VersionComparison, VersionFacts
from serving.model.model_dir import Column

SLOT = Slot("production", "churn-model")
ACTIONS = (
    "start v6: - -> candidate", "prove v6: - -> proven", "stage v6: Staging -> Production",
    "alias production: v5 -> v6", "switch churn-model: v5 -> v6", "watch v6: - -> stable",
)  # fmt: skip
MEASURED = (
    ("accuracy", 0.8054, 0.8066, ">=", 0.8, "1,397 of 1,732 rows are answered correctly"),
    ("roc_auc", 0.8597, 0.8615, ">=", 0.84, "of all pairs of one row of each class, 86.1% are ranked correctly"),
    ("latency_p95_ms", 8.102, 7.841, "<=", 50, "300 single rows, warm, onnx: half within 0.58 ms"),
    (
        "champion.accuracy",
        0.0,
        0.0012,
        ">",
        -0.01,
        "against churn-model v5: +0.0012, 95 % interval -0.0064 to +0.0081",
    ),
)
STYLE = """
body { margin: 24px; font: 14px/1.5 system-ui, sans-serif; color: #1f2328; background: #fff; }
.box { border: 1px solid #d1d9e0; border-radius: 6px; } .by { padding: 8px 16px; background: #f6f8fa;
border-bottom: 1px solid #d1d9e0; border-radius: 6px 6px 0 0; color: #59636e; } .md { padding: 16px; }
table { border-collapse: collapse; margin: 0 0 16px; } th, td { border: 1px solid #d1d9e0; padding: 6px 13px; }
tr:nth-child(2n) { background: #f6f8fa; } code { background: #818b981f; padding: .2em .4em; border-radius: 6px;
font: 85% ui-monospace, monospace; } h3 { font-size: 1.25em; margin: 0 0 16px; } h4 { margin: 24px 0 16px; }
sub { color: #59636e; }
"""


def plan_comment_page() -> str:
    """An HTML page with one comment."""
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(_plan().comment())
    return (
        f"<!doctype html><meta charset='utf-8'><style>{STYLE}</style><div class='box'>"
        f"<div class='by'><strong>pinrail-bot</strong> commented</div><div class='md'>{rendered}</div></div>"
    )


def _plan() -> PullRequestPlan:
    now = time.time()
    facts = [
        VersionFacts(version, {"accuracy": accuracy}, {}, Signature((Column("tenure", "long"),), "int64"))
        for version, accuracy in ((5, 0.8054), (6, 0.8066))
    ]
    packages = ({"scikit-learn": "scikit-learn==1.6.1"}, {"scikit-learn": "scikit-learn==1.7.0"})
    evidence = _evidence(6)
    compared = DetailedComparison(VersionComparison(SLOT, *facts, evidence), (_evidence(5), evidence), packages)
    soak = Soak("staging", 1800.0, now - 3600, done=True)
    return PullRequestPlan("448a11911f0c", [PlannedChange(SLOT, 8001, 5, 6, ACTIONS, compared, soak=soak)])


def _evidence(version: int) -> Evidence:
    verdicts = [
        Verdict(name, CheckOutcome.PASS, value if version == 6 else before, op, limit, why)
        for name, before, value, op, limit, why in MEASURED
        if version == 6 or not name.startswith("champion")
    ]
    return Evidence("churn-model", version, "production", "sha256:m", "sha256:rows", "sha256:g", verdicts, 1.0, 1732)
