"""Models whose author wants a verdict that they do not deserve, or the machine."""

import tempfile
import textwrap
import warnings
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
        open({pid!r}, "w").write(str(os.getpid()))
        time.sleep(3600)
    os._exit(0)
"""
KILLS_ITS_PARENT = """
while not os.path.exists({pid!r}):
    time.sleep(0.01)
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
import socket
def pry(attempt):
    try:
        return str(attempt())
    except OSError as error:
        return type(error).__name__
found = [
    pry(lambda: open({labels!r}).read()),
    pry(lambda: open("/proc/{parent}/environ").read()),
    pry(lambda: open(os.path.expanduser("~/gitconfig")).read()),
    pry(lambda: open({labels!r}, "w").write("changed")),
    pry(lambda: socket.create_connection(("127.0.0.1", {port}), 1)),
    pry(lambda: os.kill({parent}, 0)),
]
self.predict = lambda context, rows, params=None: [found[n] for n in rows["n"]]
"""
TAKES_700_MB = """
self.taken = b"x" * 700000000
"""
STARTS_300_PROCESSES = """
for _ in range(300):
    subprocess.Popen(["sleep", "3607"])
"""


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
    cache.mkdir()
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
