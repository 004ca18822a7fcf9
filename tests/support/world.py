"""A whole world of real parts: git remote, MLflow, state directory, and receivers as processes that can be killed."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Self

from mlflow import MlflowClient

from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.queue import Queue
from receiver.core.deployment import Deployment
from receiver.core.state import Role, Server, Slot
from receiver.targets.process.target import ProcessTarget
from tests.support import command_line
from tests.support.crashing import Crash, run_receiver
from tests.support.git_repos import Origin
from tests.support.intake import SECRET, github_headers
from tests.support.intake import push as push_payload
from tests.support.models import Versions
from tests.support.ports import free_port
from tests.support.waiting import eventually


class World:
    """One environment, staging, whose receivers come and go. ``servers``: what starts a model server, if not ours."""

    def __init__(
        self,
        directory: Path,
        versions: Versions,
        stabilise_seconds: float,
        servers: Sequence[str] | None = None,
        replicas: int = 1,
    ) -> None:
        self.replicas = replicas
        self._server_command = servers
        self.model = versions.model
        self.port = free_port()
        self.origin = Origin(directory / "git")
        # GitHub's payloads name a repository; ours has the same name at the end of its URL.
        (directory / "owner").mkdir()
        (directory / "owner/models.git").symlink_to(self.origin.path)
        self.state = directory / "state"
        self.environ = {
            "PINRAIL_REPO_URL": f"file://{directory}/owner/models.git",
            "PINRAIL_STATE_DIR": str(self.state),
            "PINRAIL_TARGET": "process",
            "PINRAIL_STABILISE_SECONDS": str(stabilise_seconds),
            "PINRAIL_POLL_SECONDS": "60",
            "PINRAIL_WEBHOOK_SECRET": SECRET.decode(),
            "PINRAIL_PUBLIC_PORT": str(free_port()),
            "PINRAIL_ADMIN_PORT": str(free_port()),
            "MLFLOW_TRACKING_URI": versions.tracking_uri,
        }
        self.client = MlflowClient(versions.tracking_uri)
        self._merges = 0
        self._open_database()

    def _open_database(self) -> None:
        self.database = Database(self.state / "pinrail.db")
        self.journal = SqliteJournal(self.database)
        self._queue = Queue(self.database)

    def lose_state(self) -> None:
        """Remove the whole state directory, while no receiver runs."""
        shutil.rmtree(self.state)
        self._open_database()

    def merge(self, version: int) -> str:
        """Pin a version and have it fetched; each merge is a new commit even where it pins the same."""
        commit = self.commit(version)
        self._queue.enqueue("push")
        return commit

    def commit(self, version: int) -> str:
        """Pin a version, and tell nobody."""
        self._merges += 1
        text = (
            f"# merge {self._merges}\nenvironment: staging\n"
            "registry: {stage: Staging, alias: staging}\ngate: {}\n"
            f"models:\n  {self.model}: {{version: {version}, port: {self.port}, replicas: {self.replicas}}}\n"
        )
        return self.origin.commit({"environments/staging.yaml": text})

    def push(self) -> int:
        """Deliver a signed push as GitHub does; returns the status of the answer."""
        body = push_payload()
        connection = http.client.HTTPConnection("127.0.0.1", int(self.environ["PINRAIL_PUBLIC_PORT"]), timeout=10)
        with closing(connection):
            connection.request("POST", "/webhooks/github", body, github_headers(body))
            return connection.getresponse().status

    @contextmanager
    def receiver(self, crash: Crash | None = None) -> Iterator[BaseProcess]:
        """A receiver in a process of its own; with ``crash`` it kills itself there. Killed at the end."""
        self._begun_before = self._begun()
        process = command_line.context.Process(target=run_receiver, args=(self.environ, crash, self._server_command))
        process.start()
        try:
            yield process
        finally:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
            process.join()

    @contextmanager
    def program(self) -> Iterator[BaseProcess]:
        """``pinrail up``."""
        log = self.state / "receiver.log"
        process = command_line.start(["up"], {**os.environ, **self.environ}, self.state, log)
        try:
            eventually(lambda: self._listens() or self._must_run(process, log), 60)
            yield process
        finally:
            process.terminate()
            process.join(60)
            assert not process.is_alive(), log.read_text()

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """``pinrail ARGUMENTS``, run to its end."""
        return command_line.run(arguments, {**os.environ, **self.environ}, self.state)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.environ["PINRAIL_PUBLIC_PORT"]))) == 0

    @staticmethod
    def _must_run(process: BaseProcess, log: Path) -> bool:
        assert process.is_alive(), log.read_text()
        return False

    def settle(self, version: int) -> None:
        """Wait until the receiver has fetched, and registry, servers and record all say this version and no more."""
        eventually(lambda: self._begun() > self._begun_before, 30)
        eventually(lambda: self.agrees(version), 60)

    def agrees(self, version: int) -> bool:
        """Nothing is under way, and all say the same."""
        if not self.idle() or self.verified() != version or self.alias() != version:
            return False
        staged = [v for v, stage in self.stages().items() if stage == "Staging"]
        serving = [(s.spec.version, s.role, len(s.urls), s.differs) for s in self.servers()]
        wanted = [(version, Role.LIVE, self.replicas, "")]
        return (staged, serving, self.answers()) == ([version], wanted, version)

    def answers(self) -> int | None:
        """The version behind the public port; None: nobody, or not well."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return int(self.health()["version"])
        return None

    def lift(self) -> None:
        """Let what failed be tried again, as ``pinrail retry`` does."""
        self.journal.lift(Slot("staging", self.model))

    def idle(self) -> bool:
        """No job waits or runs, and no deployment is open."""
        query = "SELECT count(*) FROM jobs WHERE state IN ('queued', 'retry', 'leased')"
        open_jobs = self.database.connection().execute(query).fetchone()[0]
        return not open_jobs and all(d.state.terminal for d in self.deployments())

    def _begun(self) -> int:
        """How often a job was begun, by whichever receiver."""
        return int(self.database.connection().execute("SELECT coalesce(sum(attempts), 0) FROM jobs").fetchone()[0])

    def bring_up(self, version: int) -> None:
        """Merge a first version and have it verified."""
        self.merge(version)
        with self.receiver():
            eventually(lambda: self.verified() == version, 60)

    def verified(self) -> int | None:
        """The last version that was proven live."""
        found = [v.version for v in self.journal.verified().values()]
        return found[0] if found else None

    def servers(self) -> list[Server]:
        """Every model server that runs."""
        return list(ProcessTarget(self.state).observe())

    def deployments(self) -> list[Deployment]:
        """All deployments, newest first."""
        return self.journal.recent(10_000)

    def alias(self) -> int:
        """The version that the registry calls staging."""
        return int(self.client.get_registered_model(self.model).aliases["staging"])

    def stages(self) -> dict[int, str]:
        """The stages of all versions that have one."""
        found = self.client.search_model_versions(f"name = '{self.model}'")
        return {int(v.version): v.current_stage for v in found if v.current_stage != "None"}

    def health(self, port: int = 0) -> dict[str, Any]:
        """What answers on the public port, or on another. OSError: nobody, or not well."""
        with closing(http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=5)) as connection:
            connection.request("GET", "/health", headers={"Connection": "close"})
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise OSError(f"answered {answer.status}")
            found: dict[str, Any] = json.load(answer)
            return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        target = ProcessTarget(self.state)
        for server in target.observe():
            target.retire(server)


class Watcher:
    """Asks the public port, or another, who is there, over and over, until stopped."""

    def __init__(self, world: World, port: int = 0) -> None:
        self.port = port
        self.versions: Counter[int] = Counter()
        self.failures: list[str] = []
        self._world = world
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(0.02):
            try:
                self.versions[self._world.health(self.port)["version"]] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))


def wait_for_death(process: BaseProcess, seconds: float = 30) -> None:
    """The receiver has killed itself, where it was told to."""
    eventually(lambda: not process.is_alive(), seconds)
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"the receiver ended with {process.exitcode}"
