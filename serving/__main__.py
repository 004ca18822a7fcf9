"""``python -m serving``: serve one exact version of a model.

A version that is not in the cache is downloaded where MLFLOW_TRACKING_URI names a registry; the receiver, which has
downloaded it by then, sets no such variable.

Exit status: 0 stopped as requested, 1 the model cannot be served, 2 usage.
"""

import argparse
import logging
import os
import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from serving.confinement import places
from serving.confinement.confine import Reach
from serving.confinement.hint import hint
from serving.errors import ModelMissingError, ServingError
from serving.inference_log.settings import read_settings
from serving.lifecycle.server import run_on_port, run_with_control_socket

CAUSE_LENGTH = 500
IDENTITY = (
    *("model", "version", "digest", "environment", "stage", "revision", "log"),
    *("replica", "replicas", "cpus", "memory-mb"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped; returns the exit status."""
    options = _parser().parse_args(argv)
    at_exit = ExitStack()
    try:
        if options.fetch:
            fetch(options)
            return 0
        if options.control is not None:
            identity = {name: getattr(options, name.replace("-", "_")) for name in IDENTITY}
            identity["log"] = options.log.to_json() if options.log is not None else None
            reach = _reach(options) if options.confine else None
            private = None if options.private is None else socket.socket(fileno=options.private)
            run_with_control_socket(options.control, lambda: load(options, at_exit), identity, private, reach)
        else:
            run_on_port(options.host, options.port, lambda: load(options, at_exit))
    except ServingError as error:
        cause = f" ({' '.join(repr(error.__cause__).split())[:CAUSE_LENGTH]})" if error.__cause__ else ""
        sys.stderr.write(f"{options.model} version {options.version} cannot be served: {error}{cause}\n")
        sys.stderr.write(f"{hint(error)}\n")
        return 1
    except Exception as error:  # noqa: BLE001 - the model's own, which may raise anything
        traceback.print_exception(error)
        sys.stderr.write(f"{hint(error)}\n")
        return 1
    finally:
        at_exit.close()
    return 0


def _reach(options: argparse.Namespace) -> Reach:
    from serving.model.loader import Cache

    cache, private = Cache(options.cache), Path(os.environ["TMPDIR"])
    readable = [cache.path_of(options.digest), cache.metrics_path(options.model, options.version)]
    writable = [private, *([options.log_directory] if options.log_directory is not None else [])]
    places.import_from(private)
    return Reach(readable, writable, network=options.egress, hidden=[options.cache.parent])


def fetch(options: argparse.Namespace) -> None:
    """Have the version in the cache; nothing of it is loaded. Raises what ``Cache.fetch`` does."""
    _cache(options).obtain(options.model, options.version, options.digest)


def _cache(options: argparse.Namespace) -> Any:
    from serving.model.download import Bounds
    from serving.model.loader import Cache

    return Cache(options.cache, bounds=Bounds(options.download_seconds, options.version_mb))


def load(options: argparse.Namespace, at_exit: ExitStack) -> Any:
    """Find or download the version, load it and build its app. ServingError: not available, or not a model.

    ``at_exit``: what is to be closed when the server ends.
    """
    # Late: the control socket and --help answer before the numeric libraries are imported.
    from serving.app import Identity, build_app
    from serving.model.predictor import load_predictor

    cache = _cache(options)
    path = cache.find(options.digest)
    if path is None and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise ModelMissingError(
            f"{options.digest} is not in {options.cache}, and MLFLOW_TRACKING_URI names no registry to fetch it from"
        )
    path = path or cache.fetch(options.model, options.version, options.digest).path
    identity = Identity(
        model=options.model,
        version=options.version,
        digest=options.digest,
        environment=options.environment,
        stage=options.stage or None,  # compose passes an empty value where there is none
        revision=options.revision,
        replica=options.replica,
    )
    predictor = load_predictor(path, options.runtime)
    app = build_app(identity, predictor, _inference_log(options, predictor, at_exit), options.dashboard)
    if options.metrics_port is not None:
        from serving.metrics import serve_metrics

        serve_metrics(app.metrics, options.metrics_port, options.host)
    return app


def _inference_log(options: argparse.Namespace, predictor: Any, at_exit: ExitStack) -> Any:
    if options.log is None or options.log_directory is None:
        return None
    from serving.http.quiet import WithoutValues
    from serving.inference_log.log import InferenceLog

    if (options.log.drop or options.log.hash) and logging.lastResort is not None:
        logging.lastResort.addFilter(WithoutValues())
    log = InferenceLog(options.log, options.log_directory, (options.version, options.digest, predictor.model.columns))
    at_exit.callback(log.close)
    return log


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True, help="its name in the registry")
    parser.add_argument("--version", required=True, type=int, help="the exact version; aliases are not resolved")
    parser.add_argument("--digest", required=True, help="sha256:<hex> of its artifacts; others are refused")
    parser.add_argument("--environment", required=True, help="shown in /health")
    parser.add_argument("--stage", help="shown in /health")
    parser.add_argument("--revision", help="the commit that pins it, shown in /health")
    replica = os.environ.get("PINRAIL_REPLICA", "1")
    parser.add_argument("--replica", type=int, default=replica, help="which one it is, shown in /health")
    parser.add_argument("--replicas", type=int, default=1, help="how many there are")
    parser.add_argument("--cpus", type=float, default=0.0, help="what it was confined to, which it says again")
    parser.add_argument("--memory-mb", type=int, default=0, help="the same")
    parser.add_argument("--cache", required=True, type=Path, help="the directory of downloaded versions")
    parser.add_argument(
        "--download-seconds", type=float, default=120.0, help="how long a download may take (%(default)s)"
    )
    parser.add_argument("--version-mb", type=float, default=10_000.0, help="how large a version may be (%(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="the address for --port and --metrics-port (%(default)s)")
    parser.add_argument("--metrics-port", type=int, help="serve Prometheus metrics on this port, at /metrics")
    # From the environment in a container, whose image may be older than these options.
    parser.add_argument(
        "--log",
        type=read_settings,
        default=os.environ.get("PINRAIL_LOG", ""),
        metavar="JSON",
        help="record requests and answers; empty: record none",
    )
    parser.add_argument(
        "--log-directory",
        type=Path,
        default=os.environ.get("PINRAIL_LOG_DIRECTORY"),
        help="where they are recorded, and the key to hash with is",
    )
    parser.add_argument(
        "--dashboard",
        default=os.environ.get("PINRAIL_DASHBOARD", ""),
        metavar="URL",
        help="where the receiver shows this model, for a link on the page",
    )
    parser.add_argument(
        "--runtime", choices=("onnx", "native", "pyfunc", "original"), help="instead of the fastest that can serve it"
    )
    parser.add_argument(
        "--private",
        type=int,
        metavar="FD",
        help="with --control: an inherited listening socket to answer on, whose address the caller then knows",
    )
    parser.add_argument(
        "--confine",
        action="store_true",
        help="with --control: keep the model from all but its own files and TMPDIR, which is private to it",
    )
    parser.add_argument("--egress", action="store_true", help="a confined model may open connections")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--fetch", action="store_true", help="only download the version into the cache, and end")
    place.add_argument("--port", type=int, help="serve on this port")
    place.add_argument("--control", type=Path, help="open a control socket at this path, and wait for a port")
    return parser


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # the thread of a prediction that hangs would keep the process alive
