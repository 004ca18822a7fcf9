"""docs/benchmarks.md: how to repeat it, and a part per section, each replaced when it is measured."""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

TITLES = {
    "serving": "Serving: Pinrail and its peers",
    "profile": "Profile: where a request's time goes",
    "log": "Inference log: what recording costs",
    "replicas": "Replicas: what a second one brings",
    "swap": "Swap: promotions under load",
    "reconcile": "Reconcile: 1,000 pins in sync",
    "waiting": "Looking: a version of 2 GB that waits for its soak",
    "beside": "Side by side: many models in one receiver",
}

HEAD = """# Benchmarks

Written by `make bench`. It installs each peer below `.venv-bench/` from `requirements/bench-*.txt`, trains one Telco
churn pipeline (one-hot, scaling, logistic regression; 19 columns) and measures on the machine that it runs on. Needed
beside what `make test` needs: two cores, and [wrk](https://github.com/wg/wrk) (`apt-get install -y wrk`).

    make bench                          # everything, some 8 minutes after the first installation
    make bench ARGS="serving --quick"   # one section, one short round: to see that it works

Compare ratios, not absolute numbers: a busy or throttled machine moves all of a section's numbers together.

What is compared, and how:

- Each server has one core (`taskset`), wrk has another, and nothing else is meant to run. All servers load the same
  version, from local files. In each round every server is started, measured and ended in turn; shown are medians.
- Before a server is measured, its labels for 1,000 customers must equal those of the original pipeline. Then every
  answer must have status 200; one failure voids the server's round.
- Each is asked in the most compact form that it takes: Pinrail for one record, or for `features`; MLflow, BentoML and
  the tuned FastAPI app for rows without names, MLServer for columns. Plain FastAPI takes a list of records.
- Cold start is from spawning the process to its first prediction, with compiled bytecode in place. Memory is the
  proportional set size of all its processes, after the load.
- The peers run in their favour: MLServer predicts without a second process, access logs are off where there is an
  option, and MLflow, MLServer, BentoML and the tuned FastAPI app answer with labels alone. Pinrail and plain FastAPI
  answer with labels and probabilities. The constant-answer app (uvicorn, httptools, uvloop) does not look at its
  request: what it costs is what uvicorn costs, and hardly any Python server can be faster.
"""


def merged(old: str, new: Mapping[str, str]) -> str:
    """The page with the new sections in the place of their old ones, and the other old ones as they were."""
    parts = {title: text.strip() for title, text in re.findall(r"^## (.+)\n((?:(?!^## ).*\n?)*)", old, re.MULTILINE)}
    parts |= {TITLES[name]: text.strip() for name, text in new.items()}
    there = [f"## {title}\n\n{parts[title]}\n" for title in TITLES.values() if title in parts]
    return "\n".join([HEAD, *there])


def machine() -> str:
    """Processor, cores and Python."""
    names = re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    processor = names[0] if names else platform.machine()
    cores, python = len(os.sched_getaffinity(0)), platform.python_version()
    return f"{processor}, {cores} cores, Python {python}"
