"""The one place that builds real I/O: from settings to :class:`Services`."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from receiver.adapters.docker import Docker
from receiver.adapters.git.mirror import GitSource
from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.adapters.prober import HttpProber
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.adapters.sqlite.schema import migrate, state_errors
from receiver.adapters.sqlite.state_lock import make_private
from receiver.core.redact import Redactor
from receiver.ports import Target
from receiver.services import Services
from receiver.settings import Settings, TargetName
from receiver.targets.compose.build import image_name
from receiver.targets.compose.project import COMPOSE, FRONT_IMAGE, Place
from receiver.targets.compose.target import ComposeTarget
from receiver.targets.process import isolation
from receiver.targets.process.target import ProcessTarget
from serving.model.download import Bounds
from serving.model.loader import Cache

log = logging.getLogger(__name__)

REMEMBERED, MIRROR, PROPOSALS = "target", "mirror.git", "proposals.git"  # in the state directory
START_BYTES = 500 << 20  # what a model server may need while it starts


def open_database(settings: Settings) -> Database:
    """The receiver's memory, created where it is not there yet. Rejected: its schema is not this Pinrail's."""
    file = _state_file(settings)
    with state_errors(file):
        make_private(file.parent)
    return Database(file)


def migrate_state(settings: Settings) -> None:
    """Bring the state file to this Pinrail's schema, and make the evidence key; for the receiver.

    The receiver holds the state lock. Rejected: the key cannot be read or made.
    """
    migrate(_state_file(settings))
    log.info("evidence is signed by %s", settings.evidence_key.public)


def build(settings: Settings, database: Database, stop: threading.Event | None = None) -> Services:
    """Everything that the flow depends on. Several processes may look at one state directory; one may act.

    ``stop`` ends what hangs outside.
    """
    state, redact = settings.pinrail_state_dir, Redactor(settings.secrets)
    return Services(
        source=GitSource(
            settings.pinrail_repo_url or "",
            settings.pinrail_branch,
            state / MIRROR,
            token=token_of(settings),
            stop=stop,
        ),
        registry=build_registry(settings),
        target=build_target(settings),
        prober=HttpProber(settings.pinrail_host),
        journal=SqliteJournal(database, redact),
        outbox=SqliteOutbox(database, redact),
        stabilise_seconds=settings.pinrail_stabilise_seconds,
        heal=settings.pinrail_heal,
        host=settings.pinrail_host,
        own_ports=settings.own_ports,
        unconfined=partial(why_unconfined, settings),
        evidence_key=settings.known_evidence_key,
    )


def build_registry(settings: Settings) -> MlflowRegistry:
    """The registry, and the versions of it that are on this machine."""
    uri = settings.mlflow_tracking_uri
    bounds = Bounds(settings.pinrail_download_seconds, settings.pinrail_version_mb)
    return MlflowRegistry(uri, Cache(settings.pinrail_state_dir / "cache", uri, bounds))


def _process_target(settings: Settings) -> Target:
    return ProcessTarget(
        settings.pinrail_state_dir,
        host=settings.pinrail_host,
        dashboard=_dashboard(settings),
        confine=settings.pinrail_confine,
    )


def _compose_target(settings: Settings) -> Target:
    return ComposeTarget(Docker(), compose_place(settings))


def compose_place(settings: Settings) -> Place:
    """Where the containers of the compose target are, and what they are made of."""
    return Place(
        settings.pinrail_project,
        settings.pinrail_state_dir,
        settings.pinrail_host,
        _serving_image(settings),
        front_image=settings.pinrail_front_image or FRONT_IMAGE,
        log_requests=settings.pinrail_log_requests,
        dashboard=_dashboard(settings),
    )


def _dashboard(settings: Settings) -> str:
    return f"http://127.0.0.1:{settings.pinrail_admin_port}"


# A new target: its name here and in ``Settings.pinrail_target``.
TARGETS: Mapping[TargetName, Callable[[Settings], Target]] = {"process": _process_target, "compose": _compose_target}


def why_unconfined(settings: Settings) -> str:
    """Why a model that serves has the rights of this user; empty: it has fewer."""
    return "" if target_name(settings) == "compose" else isolation.why_unconfined(wanted=settings.pinrail_confine)


def build_target(settings: Settings) -> Target:
    """Where model servers run."""
    return TARGETS[target_name(settings)](settings)


def target_name(settings: Settings) -> TargetName:
    """Which target the settings name. ``auto`` stays with what the receiver of this state directory chose before.

    Else a docker engine that is started later would move every server at the receiver's next start.
    """
    remembered = settings.pinrail_state_dir / REMEMBERED
    if settings.pinrail_target != "auto":
        return settings.pinrail_target
    if remembered.exists():
        return next((name for name in TARGETS if name == remembered.read_text()), "process")
    docker = Docker()
    has_image = COMPOSE.is_dir() and docker.answers() and docker.has_image(_serving_image(settings))
    return "compose" if has_image else "process"


def remember_target(settings: Settings) -> None:
    """Note what ``auto`` means in this state directory from now on."""
    (settings.pinrail_state_dir / REMEMBERED).write_text(target_name(settings))


def _serving_image(settings: Settings) -> str:
    return settings.pinrail_serving_image or (image_name(settings.pinrail_base_image) if COMPOSE.is_dir() else "")


def parallel_starts(settings: Settings) -> int:
    """How many model servers may start at once: two per processor, as far as the memory is there."""
    if settings.pinrail_parallel is not None:
        return settings.pinrail_parallel
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(2, min(2 * (os.cpu_count() or 1), memory // START_BYTES))


def _state_file(settings: Settings) -> Path:
    return settings.pinrail_state_dir / "pinrail.db"


def token_of(settings: Settings) -> str | None:
    """The token for the repository, where there is one."""
    return settings.github_token.get_secret_value() if settings.github_token else None
