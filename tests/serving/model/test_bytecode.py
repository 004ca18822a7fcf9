"""A version's bytes stay what they were, whatever it imports."""

import os
import subprocess
import sys
from pathlib import Path

from serving.model.digest import digest_tree
from tests.support import hostile_models

ASKS = """
import sys
from pathlib import Path
from serving.model.predictor import load_predictor
print(load_predictor(Path(sys.argv[1])).predict_records([{"n": 3}]).labels.tolist())
"""


def test_a_version_with_modules_of_its_own_has_the_same_digest_after_it_was_loaded(tmp_path: Path) -> None:
    loads = "import helper\nself.predict = lambda context, rows, params=None: [helper.answer(n) for n in rows['n']]\n"
    model = tmp_path / "model"
    hostile_models.save(loads, model, "def answer(n):\n    return n + 1\n")
    before = digest_tree(model)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", ASKS, model]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[4]\n"
    assert digest_tree(model) == before
