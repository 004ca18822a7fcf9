"""Guards that hold for every test, and the servers that many tests share.

No test sees the user's git configuration, home, credentials or state, and none reaches further than loopback;
programs that tests start inherit the same.
"""

import ipaddress
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from xdist.scheduler import LoadFileScheduling

import tests.support.examples  # noqa: F401 - chooses hypothesis's profile
from ml.train import TrainResult
from receiver.adapters.mlflow.local_server import running_mlflow
from tests.support.dropped_tasks import DROPPED_TASKS
from tests.support.mlflow_server import ADMIN, AuthServer, running_auth_mlflow
from tests.support.shared import made_once, shared_directory, shared_server
from tests.support.slowness import is_slow
from tests.support.trained import train_into

# What a developer's shell or a CI runner may carry and a test must not see.
FOREIGN = (
    "AWS_", "AZURE_", "COMPOSE_", "DATABRICKS_", "DOCKER_CONFIG", "GH_", "GIT_", "GITHUB_",
    "GOOGLE_", "MLFLOW_", "NGROK_", "PINRAIL_", "PYNGROK_", "XDG_",
)  # fmt: skip
# Where a commit takes microseconds. On a disk each of the many thousand waits for it.
MEMORY, MEMORY_NEEDED = Path("/dev/shm"), 4 * 2**30
FOREIGN_NAMES = ("MODEL_NAME", "DATA_VERSION", "ACCURACY_THRESHOLD", "DATABRICKS_HOST")


def pytest_configure(config: pytest.Config) -> None:
    """Clean the environment before anything that reads it is imported."""
    config.addinivalue_line("markers", "long: takes many seconds, so its file begins before the others")
    config.addinivalue_line("markers", "slow: starts servers or programs; `make check` leaves it out (set below)")
    require = "PINRAIL_REQUIRE_"  # DOCKER, GITHUB: says to fail, not to skip, where what a test needs is missing
    for name in [
        n for n in os.environ if (n.startswith(FOREIGN) or n in FOREIGN_NAMES) and not n.startswith(require)
    ]:
        del os.environ[name]
    if _suits_tests(MEMORY):
        os.environ.update(PYTEST_DEBUG_TEMPROOT=str(MEMORY), TMPDIR=str(MEMORY))
    home = config.rootpath / ".pytest_cache" / "home"  # kept between runs for what programs cache there
    home.mkdir(parents=True, exist_ok=True)
    gitconfig = home / "gitconfig"
    gitconfig.write_text(
        "[user]\n\tname = Test\n\temail = test@example.invalid\n[init]\n\tdefaultBranch = main\n"
        "[commit]\n\tgpgsign = false\n[gc]\n\tauto = 0\n"
    )
    nowhere = "http://127.0.0.1:9"  # the discard port: programs that honour proxies fail at once
    os.environ.update(
        HOME=str(home),
        GIT_CONFIG_GLOBAL=str(gitconfig),
        GIT_CONFIG_NOSYSTEM="1",
        GIT_TERMINAL_PROMPT="0",
        HTTP_PROXY=nowhere,
        HTTPS_PROXY=nowhere,
        http_proxy=nowhere,
        https_proxy=nowhere,
        NO_PROXY="127.0.0.1,localhost,::1",
        no_proxy="127.0.0.1,localhost,::1",
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="2",  # the default waits four minutes before a test may fail
        MPLBACKEND="agg",
    )
    logging.getLogger("asyncio").addFilter(DROPPED_TASKS)
    _forbid_the_network()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and begin with files of long tests, so that none of those is left alone at the end."""
    for item in items:
        if is_slow(item):
            item.add_marker("slow")
    slow = {item.path for item in items if item.get_closest_marker("long") or item.get_closest_marker("docker")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Share the tests out among processes."""
    return ByFile(config, log)


class ByFile(LoadFileScheduling):
    """One process runs a file's tests, which share fixtures; but chains of crashes run side by side."""

    def _split_scope(self, nodeid: str) -> str:
        path = super()._split_scope(nodeid)
        return str(nodeid if path.endswith("/test_crashes.py") else path)


def _suits_tests(directory: Path) -> bool:
    """Whether temporary files can go there: there is room, and programs may be run from it."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= MEMORY_NEEDED and not found.f_flag & os.ST_NOEXEC


def _forbid_the_network() -> None:
    """Refuse connections and name look-ups that would leave this machine."""

    def check(host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else host
        local = name in {None, "", "localhost", "::1", "0.0.0.0", "::"}  # noqa: S104 - compared, not bound
        if not local and not (isinstance(name, str) and (name.startswith("127.") or _on_a_bridge(name))):
            raise AssertionError(f"a test tried to reach {name}: only loopback is allowed")

    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any, /) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            check(address[0])
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any, /) -> int:
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            check(address[0])
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host)
        return getaddrinfo(host, *args, **kwargs)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign, assignment]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign, assignment]
    socket.getaddrinfo = guarded_getaddrinfo


def _on_a_bridge(name: str) -> bool:
    """A container of this machine's engine: on a bridge that docker made, without a gateway on the way."""
    try:
        address = int(ipaddress.IPv4Address(name))
        routes = Path("/proc/thread-self/net/route").read_text().splitlines()[1:]
    except (ValueError, OSError):
        return False
    for interface, destination, _, _, _, _, _, mask, *_ in map(str.split, routes):
        network, bits = (int.from_bytes(bytes.fromhex(field), "little") for field in (destination, mask))
        if interface.startswith("br-") and bits and address & bits == network:
            return True
    return False


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A directory for what defaults such as ``.pinrail`` are relative to; environment and umask are put back."""
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    with mock.patch.dict(os.environ):
        yield
    os.umask(umask)


@pytest.fixture(autouse=True)
def _no_dropped_tasks(request: pytest.FixtureRequest) -> Iterator[None]:
    """An exception of a task that nobody retrieved is a failure of the test that dropped it."""
    yield
    DROPPED_TASKS.fail_if_any(request.module)


@pytest.fixture(scope="session")
def mlflow_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the shared MLflow server keeps ``mlflow.db`` and ``artifacts/``, to damage what is in there."""
    return shared_directory(tmp_path_factory) / "mlflow"


@pytest.fixture(scope="session")
def mlflow_server(pytestconfig: pytest.Config, mlflow_directory: Path) -> str:
    """URL of a real MLflow server that all tests of all processes share: use model names of your own."""
    return shared_server(pytestconfig, mlflow_directory, running_mlflow)


@pytest.fixture(scope="session")
def mlflow_auth_server(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> AuthServer:
    """A real MLflow server behind its own basic-auth app, shared as well, and the admin's name and password."""
    directory = shared_directory(tmp_path_factory) / "mlflow-auth"
    return AuthServer(shared_server(pytestconfig, directory, running_auth_mlflow), *ADMIN)


@pytest.fixture(scope="session")
def trained(mlflow_server: str, mlflow_directory: Path) -> TrainResult:
    """A version of ``shared-churn`` in the shared MLflow server, trained once. Do not change or delete it."""
    path = mlflow_directory / "trained.json"
    return TrainResult(**made_once(path, lambda: asdict(train_into(mlflow_server, "shared-churn"))))
