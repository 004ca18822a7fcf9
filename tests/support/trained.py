"""A version that ``ml.train`` really trained, in a real registry, shared by all tests that need one."""

import os
from unittest import mock

from ml.train import TrainOptions, TrainResult, train


def train_into(tracking_uri: str, model: str) -> TrainResult:
    """Train on the committed customers and register the result as a version of ``model``."""
    with mock.patch.dict(os.environ, MLFLOW_TRACKING_URI=tracking_uri):
        return train(TrainOptions(model=model))
