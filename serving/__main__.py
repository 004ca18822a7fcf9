"""``python -m serving``: serve one exact version of a model, from the cache or, once, from the registry.

MLFLOW_TRACKING_URI and MLflow's other variables say where the registry is; with the version in the cache it is not
asked. Exit status: 0 told to end, 1 the model cannot be served, 2 wrong options.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.errors import ServingError
from serving.lifecycle.server import run_on_orders, run_on_port


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to end; the exit status."""
    options = _parser().parse_args(argv)
    try:
        if options.control is not None:
            described = {
                name: getattr(options, name) for name in ("model", "version", "digest", "environment", "stage")
            }
            run_on_orders(options.control, lambda: load(options), described)
        else:
            run_on_port(options.host, options.port, lambda: load(options))
    except ServingError as error:
        sys.stderr.write(f"{options.model} version {options.version} cannot be served: {error}\n")
        return 1
    return 0


def load(options: argparse.Namespace) -> Any:
    """Fetch or find the version, load it and build its app. ServingError: it cannot be had or is no model."""
    # Late: the control socket answers, and --help is there, before the numeric libraries are imported.
    from serving.app import Identity, build_app
    from serving.model.loader import Cache
    from serving.model.predictor import load_predictor

    path = Cache(options.cache).obtain(options.model, options.version, options.digest)
    identity = Identity(
        model=options.model,
        version=options.version,
        digest=options.digest,
        environment=options.environment,
        stage=options.stage or None,  # compose cannot leave an option out
        revision=options.revision,
    )
    app = build_app(identity, load_predictor(path))
    if options.metrics_port is not None:
        from serving.metrics import serve_metrics

        serve_metrics(app.metrics, options.metrics_port, options.host)
    return app


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True, help="its registered name")
    parser.add_argument("--version", required=True, type=int, help="the exact version; aliases are not resolved")
    parser.add_argument("--digest", required=True, help="sha256:<hex> of its artifacts; anything else is not served")
    parser.add_argument("--environment", required=True, help="shown in /health")
    parser.add_argument("--stage", help="shown in /health")
    parser.add_argument("--revision", help="the commit that asked for it, shown in /health")
    parser.add_argument("--cache", required=True, type=Path, help="the directory of fetched versions")
    parser.add_argument("--host", default="127.0.0.1", help="the address for --port and --metrics-port (%(default)s)")
    parser.add_argument("--metrics-port", type=int, help="show Prometheus's numbers under /metrics there")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--port", type=int, help="serve on this port")
    place.add_argument("--control", type=Path, help="serve where the control socket at this path says")
    return parser


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # a prediction that never comes back would keep its thread, and with it the process
