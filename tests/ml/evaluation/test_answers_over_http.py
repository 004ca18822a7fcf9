"""What the gate gets from a version's server is what the model answers, however the rows are cut and ordered."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ml.evaluation.records import to_records
from ml.evaluation.server_process import Artifacts, serving
from serving.model.digest import digest_tree
from serving.model.loader import Cache
from serving.model.predictor import load_predictor
from tests.support import hostile_models, small_models

pytestmark = pytest.mark.long


def cached(directory: Path, root: Path) -> Artifacts:
    digest = digest_tree(directory)
    root.mkdir()
    directory.rename(Cache(root).path_of(digest))
    return Artifacts("small", 1, digest, root)


def test_a_classifiers_answers_are_those_of_its_rows_in_any_order_and_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_models.save_classifier(tmp_path / "model")
    artifacts = cached(tmp_path / "model", tmp_path / "cache")
    here = load_predictor(Cache(artifacts.cache).path_of(artifacts.digest))
    records = to_records(small_models.rows(700, seed=3), here.model.columns)
    expected = here.predict_records(records)
    order = np.random.default_rng(0).permutation(len(records))
    with serving(artifacts) as server:
        assert server.classes == small_models.LABELS
        whole = server.predict_records(records)
        assert whole.labels.tolist() == expected.labels.tolist()
        assert whole.probabilities == pytest.approx(expected.probabilities, abs=1e-12)
        for rows in (1, 7, 699):
            monkeypatch.setattr("ml.evaluation.asking.REQUEST_ROWS", rows)
            cut = server.predict_records([records[n] for n in order])
            assert cut.labels.tolist() == whole.labels[order].tolist()
            assert cut.probabilities == pytest.approx(whole.probabilities[order], abs=1e-6)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, 7], "i"),
        ([0.0, 1.0, 2.0], "f"),
        (["1", "2", "010"], "U"),
        ([True, False, True], "b"),
        ([[1.5], [2.0], [1e-300]], "f"),
        ([2**53 + 1, -(2**62), 0], "i"),
    ],
)
def test_values_keep_their_types(tmp_path: Path, values: list[Any], kind: str) -> None:
    load = f"self.predict = lambda context, rows, params=None: [{values!r}[n] for n in rows['n']]"
    with serving(hostile_models.cached(load, tmp_path)) as server:
        found = server.predict_records([{"n": n} for n in range(len(values))])
    assert found.labels.dtype.kind == kind
    assert found.labels.tolist() == [v[0] if isinstance(v, list) else v for v in values]
