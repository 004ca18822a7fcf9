"""What a model's process can't reach in the gate: labels, the user's files, other processes, the network."""

import os
import socket
from pathlib import Path

import pytest

from ml.evaluation import sandbox
from ml.evaluation.server_process import Limits, serving
from tests.support import hostile_models as hostile

OLD = sandbox.version() < sandbox.SCOPE_VERSION
pytestmark = [pytest.mark.long, pytest.mark.skipif(OLD, reason="this kernel has no Landlock, or an older one")]
DENIED = "PermissionError"


@pytest.mark.parametrize("network", [False, True])
def test_a_model_reaches_neither_labels_nor_the_users_files_nor_other_processes(
    tmp_path: Path, *, network: bool
) -> None:
    labels = Path.home() / f"labels-{os.getpid()}.csv"  # the tests' home
    labels.write_text("n,y\n0,1\n")
    try:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            load = hostile.PRIES.format(labels=str(labels), parent=os.getpid(), port=listening.getsockname()[1])
            with serving(hostile.cached(load, tmp_path), Limits(120, 8000, network)) as server:
                said = server.predict_records([{"n": n} for n in range(6)]).labels.tolist()
        assert labels.read_text() == "n,y\n0,1\n"
    finally:
        labels.unlink()
    connected = said.pop(4)
    assert said == [DENIED] * 5
    assert connected.startswith("<socket") if network else connected == DENIED


def test_of_a_checkout_no_more_than_the_packages_is_readable() -> None:
    repository = Path(__file__).parents[3]
    found = [path.resolve() for path in sandbox.python_paths()]
    assert not {repository, repository / "ml", repository / "ml" / "data", Path.home()} & {*found}
    assert repository / "serving" in found
