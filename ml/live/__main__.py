"""``python -m ml.live LOGS``: join waiting labels to the inference logs in a directory, and measure the versions.

The receiver runs it as a program of its own, which gives its memory back.
"""

import argparse
from pathlib import Path

from ml.live.join import update
from ml.live.label_store import LabelStore

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m ml.live", description="Join labels and measure live versions.")
    parser.add_argument("logs", type=Path, help="the directory of all logs; the labels are beside it")
    logs = parser.parse_args().logs
    store = LabelStore(logs.parent)
    for model in store.counts():
        update(store, logs, model)
