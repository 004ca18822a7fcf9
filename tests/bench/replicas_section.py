"""What a second replica brings a slow model: the same load on one and on two, as processes behind one port."""

import contextlib
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from receiver.core.state import ServerSpec, Slot
from receiver.targets.process.target import ProcessTarget
from serving.model.digest import digest_tree
from serving.model.loader import Cache
from tests.bench.figures import at_least, goals, number, ratio, table
from tests.bench.wrk import BenchError
from tests.support.ports import free_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of type hints
    import mlflow.pyfunc
    from mlflow.models import infer_signature

    class Slow(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        """Works for 20 ms of processor time per row."""

        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
            """Burn, then answer with the number itself."""
            import time  # pickled by value: what it needs comes along

            until = time.thread_time() + 0.02 * len(model_input)
            while time.thread_time() < until:
                pass
            return model_input["number"]


CONNECTIONS = (4, 16)
REPLICAS = (1, 2)


@dataclass(frozen=True, slots=True)
class Rate:
    """Answers per second of so many replicas over so many connections."""

    replicas: int
    connections: int
    per_second: float


def measure(seconds: float) -> list[Rate]:
    """Serve the model with one and with two replicas, and ask both over kept-alive connections."""
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="pinrail-bench-") as directory,
        _served(Path(directory)) as (target, spec),
    ):
        for replicas in REPLICAS:
            wanted = ServerSpec(*spec, free_port(), "bench", replicas=replicas)
            sys.stderr.write(f"{replicas} replicas\n")
            server = target.start(wanted, at_once=replicas)
            target.switch(server)
            try:
                for connections in CONNECTIONS:
                    _ask(wanted.port, connections, 0.5)  # warm
                    found.append(Rate(replicas, connections, _ask(wanted.port, connections, seconds)))
            finally:
                target.retire(server)
    return found


def render(rates: list[Rate]) -> str:
    """Goal and table as Markdown."""
    by = {(rate.replicas, rate.connections): rate.per_second for rate in rates}
    gains = {connections: ratio(by[2, connections], by[1, connections]) for connections in CONNECTIONS}
    wanted = [at_least("two replicas against one, 16 connections, two cores", 1.9, gains[16])]
    rows = [
        (f"{count} connections", *(number(by[replicas, count]) for replicas in REPLICAS), number(gain or 0))
        for count, gain in gains.items()
    ]
    note = "A pyfunc model that works for 20 ms per row. The clients run on the same two cores."
    head = ("answers per second", "1 replica", "2 replicas", "ratio")
    return f"{goals(wanted)}\n\n{table(head, rows)}\n\n{note}"


@contextlib.contextmanager
def _served(directory: Path) -> Iterator[tuple[ProcessTarget, tuple[Slot, int, str, str | None]]]:
    """A target in whose cache the model is, and what is served of it."""
    target = ProcessTarget(directory / "state")
    example = pd.DataFrame({"number": [1.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = directory / "model"
        mlflow.pyfunc.save_model(
            str(model), python_model=Slow(), signature=infer_signature(example), input_example=example,
            pip_requirements=["pandas"],
        )  # fmt: skip
    digest = digest_tree(model)
    place = Cache(directory / "state/cache").path_of(digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    model.rename(place)
    yield target, (Slot("staging", "slow"), 1, digest, None)


def _ask(port: int, connections: int, seconds: float) -> float:
    """Answers per second over so many connections. BenchError: one was not well."""
    stop, counts, failures = threading.Event(), [0] * connections, list[bytes]()
    body = b'{"number": 4.0}'
    head = (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )

    def ask(place: int) -> None:  # with next to no work: it is done on the cores that are measured
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            while not stop.is_set() and not failures:
                connection.sendall(head.encode() + body)
                answer = connection.recv(65536)  # a short answer is one packet
                if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"}"):
                    failures.append(answer[:200])
                counts[place] += 1

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(connections)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    if failures:
        raise BenchError(f"a prediction failed: {failures[0]!r}")
    return sum(counts) / (time.monotonic() - began)
