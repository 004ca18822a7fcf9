"""The flow knows the core, the ports and planning; whoever reads it need not know SQLite or GitHub."""

import subprocess
import sys

MOST = 28
OUTSIDE = ("sqlite3", "git", "gidgethub", "httpx", "mlflow", "fastapi", "docker")
PROGRAM = """
import sys
import receiver.reconciler.reconcile
print(*(name for name, module in sys.modules.items() if not hasattr(module, "__path__")))
print(*(name for name in sys.modules if "." not in name))
"""


def test_the_flow_imports_few_modules_and_nothing_of_the_outside() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    modules, top = (line.split() for line in done.stdout.splitlines())
    ours = {name for name in modules if name.partition(".")[0] in ("receiver", "ml", "serving")}
    imported = ours - {"receiver.reconciler.reconcile"}
    assert len(imported) <= MOST, sorted(imported)
    assert not [name for name in imported if name.startswith(("receiver.adapters", "receiver.targets"))]
    assert not set(OUTSIDE) & set(top)
