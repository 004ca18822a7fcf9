"""What the end-to-end tests share."""

import pytest

from tests.support.models import Versions, register_versions


@pytest.fixture(scope="session")
def versions(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """Two good versions and a broken one of a model that only the end-to-end tests use."""
    return register_versions(mlflow_server, "e2e-churn", tmp_path_factory.mktemp("versions"))
