"""``pinrail up --with-mlflow``: where it starts a registry, and where not. docs/first-promotion.md walks the rest."""

import socket
from pathlib import Path

import pytest

from receiver.adapters.mlflow.local_server import answers
from receiver.cli.commands.up import local_registry
from receiver.core.errors import Rejected
from receiver.settings import Settings


def settings(tmp_path: Path, uri: str) -> Settings:
    return Settings(pinrail_state_dir=tmp_path / "state", mlflow_tracking_uri=uri)


@pytest.mark.parametrize(
    "uri",
    ["https://127.0.0.1:5000", "http://mlflow.example:5000", "sqlite:///mlflow.db", "http://127.0.0.1:5000/mlflow"],
)
def test_an_address_that_is_not_this_machines_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises(
        Rejected, match=r"MLFLOW_TRACKING_URI: found .* allowed with --with-mlflow http://127.0.0.1:PORT"
    ):
        local_registry(settings(tmp_path, uri))


def test_an_mlflow_that_answers_there_already_is_used_and_left_running(tmp_path: Path, mlflow_server: str) -> None:
    with local_registry(settings(tmp_path, mlflow_server)):
        pass
    assert answers(mlflow_server)
    assert not (tmp_path / "state").exists()


def test_a_port_that_another_program_has_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        registry = settings(tmp_path, f"http://127.0.0.1:{port}")
        with pytest.raises(Rejected, match=f"port {port} is taken"), local_registry(registry):
            pass
