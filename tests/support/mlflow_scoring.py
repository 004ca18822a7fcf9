"""MLflow's own model server, to compare answers with."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port

START_SECONDS = 90


SCRIPT = """
import sys, uvicorn, mlflow.pyfunc as p
from starlette.applications import Starlette
from mlflow.pyfunc.scoring_server import init
app = Starlette()
for number, path in enumerate(sys.argv[2:]):
    app.mount(f"/{number}", init(p.load_model(path)))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
"""


@contextmanager
def running_scoring_server(models: Sequence[Path], log: Path, python: str = sys.executable) -> Iterator[list[str]]:
    """What ``mlflow models serve --env-manager local`` starts, for all models in one process. Yields their URLs.

    ``python``: of the environment that has their packages.
    """
    port = free_port()
    root = Path(__file__).parents[2]  # a model of a test's own class is found there
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [python, "-c", SCRIPT, str(port), *map(str, models)],
            cwd=root,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    urls = [f"http://127.0.0.1:{port}/{number}" for number in range(len(models))]
    try:
        _wait(process, urls[0], log)
        yield urls
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/ping", timeout=5):
                return
        except OSError:
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
    raise RuntimeError(f"MLflow's scoring server did not start:\n{log.read_text()[-4000:]}")


def score(url: str, body: bytes, content_type: str) -> tuple[int, bytes]:
    """Ask it; status and body."""
    request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": content_type})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
