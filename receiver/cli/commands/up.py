"""``pinrail up``: the receiver and, with ``--with-mlflow``, a registry beside it for a first try."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal
from urllib.parse import urlsplit

import typer

from receiver.adapters.mlflow.local_server import answers, running_mlflow
from receiver.adapters.sqlite.state_lock import make_private
from receiver.core.errors import Rejected
from receiver.daemon.run import run
from receiver.settings import Settings, load_settings

HERE = ("127.0.0.1", "localhost")


def start(tunnel: Literal["ngrok", "none"] | None, *, with_mlflow: bool) -> None:
    """Run the receiver until a signal; then MLflow ends too, if it was started here."""
    settings = load_settings("pinrail_repo_url", "pinrail_webhook_secret")
    with local_registry(settings) if with_mlflow else nullcontext():
        run(settings, tunnel)


def local_registry(settings: Settings) -> AbstractContextManager[object]:
    """MLflow at MLFLOW_TRACKING_URI, kept below the state directory; one that answers there already is used.

    Rejected: the address is not one of this machine's loopback, or the port is taken.
    """
    place = urlsplit(settings.mlflow_tracking_uri)
    if place.scheme != "http" or place.hostname not in HERE or place.path.strip("/"):
        raise Rejected(
            f"MLFLOW_TRACKING_URI: found {settings.mlflow_tracking_uri}, allowed with --with-mlflow "
            "http://127.0.0.1:PORT: leave --with-mlflow out to use your own MLflow"
        )
    if answers(settings.mlflow_tracking_uri):  # left by a receiver that was killed, or somebody else's
        return nullcontext()
    make_private(settings.pinrail_state_dir)
    typer.echo(f"starting MLflow on {settings.mlflow_tracking_uri}, which takes some seconds", err=True)
    return running_mlflow(settings.pinrail_state_dir / "mlflow", place.port or 80)
