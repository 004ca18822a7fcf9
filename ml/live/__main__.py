"""``python -m ml.live LOGS``: join waiting labels to the inference logs in a directory, and judge the live versions.

The receiver runs it as a program of its own, which gives its memory back. Standard input: a JSON list of what
``policy.live`` asks for, each ``{"environment", "model", "version", "least", "labels"}``.
"""

import argparse
import json
import sys
from pathlib import Path

from ml.live.decide import Asked, decide
from ml.live.join import update
from ml.live.label_store import LabelStore

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m ml.live", description="Join labels and judge live versions.")
    parser.add_argument("logs", type=Path, help="the directory of all logs; the labels are beside it")
    logs = parser.parse_args().logs
    store = LabelStore(logs.parent)
    measured, failed = {}, []
    for model in store.changes():
        try:
            measured[model] = update(store, logs, model)
        except Exception as error:  # noqa: BLE001 - one model's labels must not keep the others' from being judged
            failed.append(f"{model}: {type(error).__name__}: {error}")
    decide(store, [Asked(**asked) for asked in json.load(sys.stdin)])
    for model, seen in measured.items():
        store.note_judged(model, seen)
    sys.exit("; ".join(failed).replace("\n", " ") or 0)
