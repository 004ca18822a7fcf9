"""What a model's process can't reach in the gate: labels, others' files, other processes, the network."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from ml.evaluation.server_process import Limits, serving
from serving.confinement import confine, places
from tests.support import attempts as tried
from tests.support import hostile_models as hostile

pytestmark = pytest.mark.long


@pytest.mark.skipif(bool(confine.missing()), reason=f"{confine.missing()}")
@pytest.mark.parametrize("network", [False, True])
def test_a_model_reaches_neither_labels_nor_the_users_files_nor_other_processes(
    tmp_path: Path, *, network: bool
) -> None:
    labels, key, other = tmp_path / "labels.csv", tmp_path / "evidence.key", tmp_path / "cache" / "0" / "model.pkl"
    other.parent.mkdir(parents=True)
    for file in (labels, key, other):
        file.write_text("n,y\n0,1\n")
    home = Path(os.environ["GIT_CONFIG_GLOBAL"])
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        engine = stack.enter_context(socket.socket(socket.AF_UNIX))
        engine.bind(str(tmp_path / "u"))
        asked = [
            *tried.connections(listening.getsockname()[1]),
            *tried.reads(labels, key, other, home, tmp_path / "cache"),
            *tried.writes(labels, other),
            *tried.on_process(os.getpid()),
            *tried.unix_sockets(tmp_path / "u"),
        ]
        load = hostile.prying(asked)
        server = stack.enter_context(serving(hostile.cached(load, tmp_path), Limits(120, 8000, network)))
        said = server.predict_records([{"n": n} for n in range(len(asked))]).labels.tolist()
    connected, denied = said[0], said[4:] if network else said
    assert {*denied} == {tried.DENIED}
    assert not network or connected.startswith("<socket")
    assert {file.read_text() for file in (labels, key, other)} == {"n,y\n0,1\n"}


def test_a_model_that_names_another_servers_address_is_asked_itself(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    with serving(hostile.cached(hostile.prying(["'good'"] * 3), tmp_path / "good"), Limits(120, 8000)) as good:
        claims = hostile.CLAIMS_AN_ADDRESS.format(url=f"http://{good.address}")
        artifacts = hostile.cached(claims + hostile.prying(["'bad'"] * 3), tmp_path / "bad")
        with serving(artifacts, Limits(120, 8000)) as bad:
            assert bad.predict_records([{"n": 0}]).labels.tolist() == ["bad"]


def test_of_a_checkout_no_more_than_the_packages_is_readable() -> None:
    repository = Path(__file__).parents[3]
    found = [path.resolve() for path in places.python()]
    assert not {repository, repository / "ml", repository / "ml" / "data", Path.home()} & {*found}
    assert repository / "serving" in found
