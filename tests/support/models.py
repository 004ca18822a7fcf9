"""Versions of one model for end-to-end tests: two good ones and one that gets tired."""

from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from receiver.demo.broken import register_broken
from serving.loader import Cache
from tests.support.trained import train_into


@dataclass(frozen=True)
class Versions:
    """Registered versions that tests promote."""

    tracking_uri: str
    model: str
    good: int
    better: int
    tiring: int  # answers at first, and then no more


def register_versions(tracking_uri: str, model: str, scratch: Path) -> Versions:
    """Train two versions and make a broken one."""
    good = int(train_into(tracking_uri, model).model_version)
    better = int(train_into(tracking_uri, model).model_version)
    like = Cache(scratch / "cache", tracking_uri).fetch(model, good).path
    return Versions(tracking_uri, model, good, better, register_broken(MlflowClient(tracking_uri), model, like))
