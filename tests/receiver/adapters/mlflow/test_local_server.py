import socket
from pathlib import Path

import pytest

from receiver.adapters.mlflow.local_server import running_mlflow
from receiver.core.errors import Rejected


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Rejected, match=f"port {port} is taken"), running_mlflow(tmp_path, port):
            pass
    assert not (tmp_path / "mlflow.log").exists()


def test_a_server_that_ends_at_once_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(Rejected, match="no_such_module"), running_mlflow(tmp_path, app="no_such_module:app"):
        pass
