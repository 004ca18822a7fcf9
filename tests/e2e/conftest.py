"""What the end-to-end tests share."""

import secrets
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.support.models import Versions, register_versions, registered_again
from tests.support.shared import made_once


@pytest.fixture(scope="session")
def versions(mlflow_server: str, mlflow_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """Two good versions and a broken one, made once, of a model that only this process's tests promote."""

    def make() -> dict[str, object]:
        return asdict(register_versions(mlflow_server, "e2e-churn", tmp_path_factory.mktemp("versions")))

    made = Versions(**made_once(mlflow_directory / "versions.json", make))
    return registered_again(replace(made, tracking_uri=mlflow_server), f"e2e-churn-{secrets.token_hex(4)}")
