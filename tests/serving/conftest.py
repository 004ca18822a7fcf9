"""Models that the tests of this package share. Nobody changes them."""

from pathlib import Path

import pytest

from serving.app import Identity, ModelServer, build_app
from serving.digest import digest_tree
from serving.predictor import load_predictor
from tests.support import small_models


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scikit-learn pipeline with its ONNX twin."""
    directory = tmp_path_factory.mktemp("models") / "classifier"
    small_models.save_classifier(directory)
    return directory


@pytest.fixture(scope="session")
def without_twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pipeline alone."""
    directory = tmp_path_factory.mktemp("models") / "classifier"
    small_models.save_classifier(directory, twin=False)
    return directory


@pytest.fixture(scope="session")
def tensor_regressor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose signature is a nameless [N, 3] tensor."""
    directory = tmp_path_factory.mktemp("models") / "regressor"
    small_models.save_tensor_regressor(directory)
    return directory


@pytest.fixture(scope="session")
def doubler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of no flavor but pyfunc, with a param."""
    directory = tmp_path_factory.mktemp("models") / "doubler"
    small_models.save_pyfunc(directory)
    return directory


@pytest.fixture(scope="session")
def app(classifier: Path) -> ModelServer:
    """The classifier's server, under onnx."""
    return serve(classifier)


def serve(directory: Path) -> ModelServer:
    """A server for the model in a directory."""
    identity = Identity("small", 3, digest_tree(directory), "staging", "Staging", "0123abc")
    return build_app(identity, load_predictor(directory))
