"""MLflow's own model server, to compare answers with."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port

START_SECONDS = 90


@contextmanager
def running_scoring_server(model: Path, log: Path) -> Iterator[str]:
    """What ``mlflow models serve --env-manager local`` starts, without its shell in between. Yields its URL."""
    port = free_port()
    script = (
        "import sys, uvicorn, mlflow.pyfunc as p; from mlflow.pyfunc.scoring_server import init;"
        "uvicorn.run(init(p.load_model(sys.argv[1])), host='127.0.0.1', port=int(sys.argv[2]))"
    )
    root = Path(__file__).parents[2]  # a model of a test's own class is found there
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(model), str(port)], cwd=root, stdout=sink, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(process, url, log)
        yield url
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
