"""Whatever a model answers, a check measures it or says why it can't; nothing else ends the gate."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ml.datasets.dataset import Dataset
from ml.environment.gate_schema import (
    AtMost,
    AtMostCount,
    AtMostShare,
    ChampionPolicy,
    DriftLimits,
    FairnessLimits,
    RobustnessLimits,
)
from ml.gates import CHECKS
from ml.gates.answers import Answers
from ml.gates.subject import Champion, Record, Subject
from ml.report.facts import collect
from ml.report.page import to_html, to_json
from serving.errors import PredictionError
from serving.model.model_dir import Column
from serving.model.runtimes.answers import predictions_of
from tests.support.evidence import EVIDENCE
from tests.support.generated_models import LABELS, SHAPES

ROWS = 40
TABLE = pd.DataFrame({"number": np.arange(ROWS) / 3, "city": ["a", None] * (ROWS // 2)})
TRUTHS: Mapping[str, Any] = {
    **{name: [values[n % len(values)] for n in range(ROWS)] for name, values in LABELS.items()},
    "amounts": [n / 3 for n in range(ROWS)],
}
share = AtMostShare(max=1.0)
LIMITS: Mapping[str, Any] = {
    "fairness": FairnessLimits(columns=("city",), demographic_parity=share, equalized_odds=share),
    "robustness": RobustnessLimits(noise=share, missing=share, unseen=share),
    "drift": DriftLimits(psi=AtMost(max=1.0), ks=share),
    "champion": ChampionPolicy(require="hold", slices=("city",)),
    "schema": AtMostCount(max=0),
}


class Same:
    def __init__(self, answers: Answers) -> None:
        self.answers = answers

    def predict_records(self, records: Any) -> Answers:
        return self.answers


@pytest.mark.parametrize("truth", sorted(TRUTHS))
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_a_check_measures_any_answer_or_says_why_it_can_not(shape: str, truth: str) -> None:
    try:
        answers = Answers.of(predictions_of(SHAPES[shape](TABLE), ROWS).labels.tolist())
    except PredictionError:
        return  # the server refuses it
    data = Dataset(TABLE, np.array(TRUTHS[truth]), "sha256:0", np.array([str(v) for v in TRUTHS[truth]]))
    columns = (Column("number", "double", required=False), Column("city", "string", required=False))
    records: list[Record] = [{}] * ROWS
    live = Champion("m v1", columns, "", answers)
    subject = Subject("m v2", data, records, Same(answers), answers, columns, champion=live)
    for name in set(CHECKS) - {"contract", "replay", "data"}:
        try:
            verdicts = CHECKS[name](subject, LIMITS.get(name, AtMost(max=1e9)))
        except ValueError as error:
            said = [str(error)]
        else:
            said = [f"{verdict} {verdict.reason}" for verdict in verdicts]
        assert all(said)
    facts = collect(subject, EVIDENCE, {}, {})
    assert to_json(facts)
    assert to_html(facts)
