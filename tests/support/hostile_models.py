"""Models whose author wants a verdict that they do not deserve, or the machine."""

import tempfile
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ml.evaluation.server_process import Artifacts
from ml.registry import versions as registry
from serving.model.digest import digest_tree
from serving.model.loader import Cache

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of type hints: its own, and where there are none
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

CODE = """\
import os, subprocess, sys, time
import mlflow.pyfunc
from mlflow.models import set_model
from mlflow.types.type_hints import TypeFromExample

class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
{load}
    def predict(self, context, model_input: TypeFromExample, params=None):
        return [0] * len(model_input)

set_model(Model())
"""
SIGNATURE = ModelSignature(Schema([ColSpec(DataType.long, "n")]), Schema([ColSpec(DataType.long, "y")]))

REPLACES_THE_CHECKS = """
try:
    import ml.gates
    from ml.evidence import CheckOutcome, Verdict
    perfect = Verdict("accuracy", CheckOutcome.PASS, 0.999, ">=", 0.99)
    for name in list(ml.gates.CHECKS):
        ml.gates.CHECKS[name] = lambda *_: [perfect]
except ImportError:
    pass
"""
PRINTS_400_MB = """
for _ in range(400):
    os.write(1, b"x" * 1000000)
"""
LEAVES_A_GRANDCHILD = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execlp("sleep", "sleep", "{seconds}")
    os._exit(0)
os.wait()
"""
KILLS_ITS_PARENT = """
os.kill(os.getppid(), 9)
"""
ANSWERS_FOREVER = """
import serving.app
async def forever(self, scope, receive, send):
    import asyncio
    if scope["path"] != "/predict":
        return await self._others(scope, receive, send)
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    while True:
        await send({{"type": "http.response.body", "body": b" " * {bytes}, "more_body": True}})
        await asyncio.sleep({seconds})
serving.app.ModelServer.__call__ = forever
"""
PRIES = """
import ctypes, errno, resource, socket
def unix(path):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, 0, 0):
        raise OSError(ctypes.get_errno(), "ptrace")
    libc.ptrace(17, pid, 0, 0)
def pry(attempt):
    try:
        return str(attempt())
    except OSError as error:
        return "PermissionError" if error.errno == errno.EXDEV else type(error).__name__  # a link, says Landlock
found = [
{attempts}]
self.predict = lambda context, rows, params=None: [found[n] for n in rows["n"]]
"""
CLAIMS_AN_ADDRESS = """
import serving.lifecycle.server
honest = serving.lifecycle.server._ControlledServer._status
serving.lifecycle.server._ControlledServer._status = lambda self: {{**honest(self), "private_url": {url!r}}}
"""
TAKES_700_MB = """
self.taken = b"x" * 700000000
"""
STARTS_300_PROCESSES = """
for _ in range(300):
    subprocess.Popen(["sleep", "3607"])
"""


def prying(attempts: Sequence[str]) -> str:
    """The load of a model that answers a row with how its n-th attempt went: an expression."""
    return PRIES.format(attempts="".join(f"    pry(lambda: {attempt}),\n" for attempt in attempts))


def save(load: str, directory: Path, helper: str = "") -> None:
    """Save a model that answers 0 to every row, and does something more when it is loaded.

    ``helper``: the code of a module beside it, of that name.
    """
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = Path(scratch) / "model.py"
        script.write_text(CODE.format(load=" " * 8 + "pass\n"))
        beside = Path(scratch) / "helper.py"
        beside.write_text(helper)
        mlflow.pyfunc.save_model(
            str(directory),
            python_model=str(script),
            signature=SIGNATURE,
            input_example=pd.DataFrame({"n": [1, 2]}),
            pip_requirements=["mlflow"],
            code_paths=[str(beside)],
        )
    (directory / "model.py").write_text(CODE.format(load=textwrap.indent(load, " " * 8)))


def cached(load: str, scratch: Path) -> Artifacts:
    """Such a model in a cache of model versions."""
    save(load, scratch / "model")
    digest, cache = digest_tree(scratch / "model"), scratch / "cache"
    cache.mkdir(exist_ok=True)
    (scratch / "model").rename(Cache(cache).path_of(digest))
    return Artifacts("hostile", 1, digest, cache)


def register(client: Any, model: str, load: str, helper: str = "") -> int:
    """Register such a model; its version."""
    run_id = client.create_run("0", run_name="hostile").info.run_id
    with tempfile.TemporaryDirectory() as scratch:
        save(load, Path(scratch) / "model", helper)
        client.log_artifacts(run_id, scratch + "/model", "model")
    client.set_terminated(run_id)
    return registry.register(client, model, run_id, {})
