"""The one place that builds real I/O: from settings to :class:`Services`."""

from serving.loader import Cache

from receiver.adapters.git import GitSource
from receiver.adapters.git_command import parse_remote
from receiver.adapters.journal import Journal
from receiver.adapters.outbox import Outbox
from receiver.adapters.prober import HttpProber
from receiver.adapters.registry import MlflowRegistry
from receiver.adapters.sqlite import Database
from receiver.core.redact import Redactor
from receiver.promotion import Change, Promotion, promote
from receiver.services import Services
from receiver.settings import Settings, load_settings
from receiver.targets.process import ProcessTarget


def open_database(settings: Settings) -> Database:
    """The receiver's memory, made where it is not there yet."""
    return Database(settings.pinrail_state_dir / "pinrail.db")


def build(settings: Settings, database: Database) -> Services:
    """Everything that the flow depends on. Several processes may look at one state directory; one may act."""
    state = settings.pinrail_state_dir
    return Services(
        source=GitSource(
            settings.pinrail_repo_url or "", settings.pinrail_branch, state / "mirror.git", token=_token(settings)
        ),
        registry=MlflowRegistry(settings.mlflow_tracking_uri, Cache(state / "cache", settings.mlflow_tracking_uri)),
        target=ProcessTarget(state, host=settings.pinrail_host, tracking_uri=settings.mlflow_tracking_uri),
        prober=HttpProber(settings.pinrail_host),
        journal=Journal(database),
        outbox=Outbox(database, Redactor(settings.secrets)),
        stabilise_seconds=settings.pinrail_stabilise_seconds,
        heal=settings.pinrail_heal,
    )


def open_services() -> Services:
    """For commands that look and do not act."""
    settings = load_settings("pinrail_repo_url")
    return build(settings, open_database(settings))


def open_journal() -> Journal:
    """For commands that only read the record."""
    return Journal(open_database(load_settings()))


def propose(change: Change) -> Promotion:
    """Push the branch that proposes a change of a pin, to the repository of the settings."""
    settings = load_settings("pinrail_repo_url")
    remote = parse_remote(settings.pinrail_repo_url or "", _token(settings))
    return promote(remote, settings.pinrail_branch, change)


def _token(settings: Settings) -> str | None:
    return settings.github_token.get_secret_value() if settings.github_token else None
