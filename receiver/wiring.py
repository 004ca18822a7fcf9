"""The one place that builds real I/O: from settings to :class:`Services`."""

from receiver.adapters.git import GitSource
from receiver.adapters.journal import Journal
from receiver.adapters.outbox import Outbox
from receiver.adapters.prober import HttpProber
from receiver.adapters.registry import MlflowRegistry
from receiver.adapters.sqlite import Database
from receiver.services import Services
from receiver.settings import Settings
from receiver.targets.process import ProcessTarget
from serving.loader import Cache


def open_database(settings: Settings) -> Database:
    """The receiver's memory, made where it is not there yet."""
    return Database(settings.pinrail_state_dir / "pinrail.db")


def build(settings: Settings, database: Database, mirror: str = "mirror.git") -> Services:
    """Everything that the flow depends on. ``mirror`` differs where another process looks at the same time."""
    state = settings.pinrail_state_dir
    token = settings.github_token.get_secret_value() if settings.github_token else None
    return Services(
        source=GitSource(settings.pinrail_repo_url, settings.pinrail_branch, state / mirror, token=token),
        registry=MlflowRegistry(settings.mlflow_tracking_uri, Cache(state / "cache")),
        target=ProcessTarget(state, host=settings.pinrail_host),
        prober=HttpProber(),
        journal=Journal(database),
        outbox=Outbox(database),
        stabilise_seconds=settings.pinrail_stabilise_seconds,
        heal=settings.pinrail_heal,
    )
