"""Models that the tests of this package share. Nobody changes them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from serving.app import Identity, ModelServer, build_app
from serving.inference_log.log import InferenceLog
from serving.model.digest import digest_tree
from serving.model.predictor import load_predictor
from tests.support import small_models


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scikit-learn pipeline with its ONNX twin."""
    return _saved(tmp_path_factory, small_models.save_classifier)


@pytest.fixture(scope="session")
def without_twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pipeline alone."""
    return _saved(tmp_path_factory, partial(small_models.save_classifier, twin=False))


@pytest.fixture(scope="session")
def tensor_regressor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose signature is a nameless [N, 3] tensor."""
    return _saved(tmp_path_factory, small_models.save_tensor_regressor)


@pytest.fixture(scope="session")
def doubler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of no flavor but pyfunc, with a param."""
    return _saved(tmp_path_factory, small_models.save_pyfunc)


@pytest.fixture(scope="session")
def app(classifier: Path) -> ModelServer:
    """The classifier's server, under onnx."""
    return serve(classifier)


def serve(directory: Path, log: InferenceLog | None = None) -> ModelServer:
    """A server for the model in a directory."""
    identity = Identity("small", 3, digest_tree(directory), "staging", "Staging", "0123abc")
    return build_app(identity, load_predictor(directory), log)


def _saved(factory: pytest.TempPathFactory, save: Callable[[Path], object]) -> Path:
    directory = factory.mktemp("models") / "model"
    save(directory)
    return directory
