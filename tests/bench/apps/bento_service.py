"""The pipeline as a BentoML service with one worker."""

import os
from typing import Any

import bentoml  # type: ignore[import-not-found]
import joblib  # type: ignore[import-untyped]
import pandas as pd


@bentoml.service(workers=1)
class Churn:
    def __init__(self) -> None:
        self.pipeline = joblib.load(os.environ["BENCH_JOBLIB"])

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, columns: list[str], data: list[list[Any]]) -> list[int]:
        return self.pipeline.predict(pd.DataFrame(data, columns=columns)).tolist()  # type: ignore[no-any-return]
