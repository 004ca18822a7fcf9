"""FastAPI around the scikit-learn pipeline: as people write it first, and with little more thought."""

import os
from typing import Annotated, Any

import joblib  # type: ignore[import-untyped]
import pandas as pd
from fastapi import Body, FastAPI

pipeline = joblib.load(os.environ["BENCH_JOBLIB"])
app = FastAPI()


@app.post("/predict")
def predict(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """In a thread of FastAPI's pool, and with the same answer as Pinrail's: labels and probabilities."""
    frame = pd.DataFrame(rows)
    return {
        "predictions": pipeline.predict(frame).tolist(),
        "probabilities": pipeline.predict_proba(frame).tolist(),
    }


@app.post("/tuned")
async def tuned(columns: Annotated[list[str], Body()], data: Annotated[list[list[Any]], Body()]) -> list[int]:
    """On the event loop, where no threads fight for the one core; labels alone, which is one pass over the rows."""
    return pipeline.predict(pd.DataFrame(data, columns=columns)).tolist()  # type: ignore[no-any-return]
