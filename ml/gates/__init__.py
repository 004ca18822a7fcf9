"""The checks of the gate: one file per check, each measuring one thing about one version.

A check is a function of a ``Subject`` (``subject.py``) and the limits that an environment file sets for it
(``ml/environment/gate_schema.py``); it returns one verdict, or several named ``check.detail``. A ValueError says that
it can't be measured on this model or data. No check talks to the registry, reads an environment file
or writes anything.

To add one, write a file like ``accuracy.py`` and name it in :data:`CHECKS` and in the schema. Libraries are imported
inside the functions, so that listing the names stays cheap.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml.evidence import Verdict
from ml.gates import (
    accuracy,
    calibration_error,
    champion,
    contract,
    data,
    drift,
    f1,
    fairness,
    log_loss,
    regression,
    replay,
    robustness,
    roc_auc,
    schema,
    serving_cost,
)
from ml.gates.subject import Subject

Check = Callable[[Subject, Any], Sequence[Verdict]]

CHECKS: Mapping[str, Check] = {
    "data": data.check,
    "accuracy": accuracy.check,
    "roc_auc": roc_auc.check,
    "f1": f1.check,
    "log_loss": log_loss.check,
    "calibration_error": calibration_error.check,
    "mae": regression.mae,
    "rmse": regression.rmse,
    "r2": regression.r2,
    "schema": schema.check,
    "latency_p95_ms": serving_cost.latency,
    "memory_mb": serving_cost.memory,
    "fairness": fairness.check,
    "robustness": robustness.check,
    "drift": drift.check,
    "contract": contract.check,
    "replay": replay.check,
    "champion": champion.check,
}
