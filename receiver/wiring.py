"""The one place that builds real I/O: from settings to :class:`Services`."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from receiver.adapters.docker import Docker
from receiver.adapters.gate_runner import GateRunner
from receiver.adapters.git.command import parse_remote
from receiver.adapters.git.commit_log import CommitLog
from receiver.adapters.git.compaction import MirrorCompaction
from receiver.adapters.git.mirror import GitSource
from receiver.adapters.github.client import GitHubClient
from receiver.adapters.github.dispatcher import Dispatcher, Handler
from receiver.adapters.github.pulls import Pulls
from receiver.adapters.github.sender import GitHubSender
from receiver.adapters.github.statuses import Statuses
from receiver.adapters.inference_log.collection import LogCollection
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.drift_checks import DriftChecks
from receiver.adapters.inference_log.live_checks import LiveChecks, LiveServices
from receiver.adapters.known_versions import KnownVersions
from receiver.adapters.log_rotation import LogRotation
from receiver.adapters.mlflow.registry import MlflowRegistry
from receiver.adapters.prober import HttpProber
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.outbox import Sender, SqliteOutbox
from receiver.adapters.sqlite.queue import Queue
from receiver.adapters.sqlite.requests import RequestRecords
from receiver.adapters.sqlite.schema import migrate, state_errors
from receiver.adapters.sqlite.state_lock import make_private
from receiver.admin.actions import Actions
from receiver.admin.details import Sources
from receiver.core.links import Links, repository_page, web_page
from receiver.core.messages import GITHUB, RealisedFigures, RevertNeeded
from receiver.core.redact import Redactor
from receiver.operations import ChangeOperations, Operations
from receiver.ports import ArtifactCache, Target
from receiver.pull_requests.candidates import Candidates
from receiver.pull_requests.open_pull_request import Upstream
from receiver.pull_requests.realised_comment import RealisedCommenter
from receiver.pull_requests.revert import Reverter
from receiver.pull_requests.reviewer import GitHub, Reviewer
from receiver.reconciler.background import BackgroundTask
from receiver.reconciler.cache_cleanup import CacheCleanup
from receiver.reconciler.way_back_check import WayBackCheck
from receiver.services import Services
from receiver.settings import Settings, TargetName
from receiver.targets.compose.build import image_name
from receiver.targets.compose.project import COMPOSE, FRONT_IMAGE, Place
from receiver.targets.compose.target import ComposeTarget
from receiver.targets.process.packages import PACKAGES, ModelPackages
from receiver.targets.process.target import ProcessTarget
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
            token=_token(settings),
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
        isolated=target_name(settings) == "compose",
        evidence_key=settings.known_evidence_key,
    )


def build_registry(settings: Settings) -> MlflowRegistry:
    """The registry, and the versions of it that are on this machine."""
    uri = settings.mlflow_tracking_uri
    return MlflowRegistry(uri, Cache(settings.pinrail_state_dir / "cache", uri, settings.pinrail_download_seconds))


def _process_target(settings: Settings) -> Target:
    return ProcessTarget(settings.pinrail_state_dir, host=settings.pinrail_host)


def _compose_target(settings: Settings) -> Target:
    place = Place(
        settings.pinrail_project,
        settings.pinrail_state_dir,
        settings.pinrail_host,
        _serving_image(settings),
        front_image=settings.pinrail_front_image or FRONT_IMAGE,
        log_requests=settings.pinrail_log_requests,
    )
    return ComposeTarget(Docker(), place)


# A new target: its name here and in ``Settings.pinrail_target``.
TARGETS: Mapping[TargetName, Callable[[Settings], Target]] = {"process": _process_target, "compose": _compose_target}


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


def build_github(settings: Settings) -> GitHubClient | None:
    """The repository's API; None without a token, or where the URL names no repository."""
    token = _token(settings)
    if token is None or settings.repository is None:
        return None
    return GitHubClient(settings.repository, token, settings.github_api_url)


def parallel_starts(settings: Settings) -> int:
    """How many model servers may start at once: two per processor, as far as the memory is there."""
    if settings.pinrail_parallel is not None:
        return settings.pinrail_parallel
    memory = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(2, min(2 * (os.cpu_count() or 1), memory // START_BYTES))


def build_upstream(settings: Settings) -> Upstream:
    """The repository and branch to which pin changes are proposed."""
    github = build_github(settings)
    remote = parse_remote(settings.pinrail_repo_url or "", _token(settings))
    remote = replace(remote, mirror=settings.pinrail_state_dir / MIRROR, signing_key=settings.signing_key)
    return Upstream(remote, settings.pinrail_branch, Pulls(github) if github else None, public_redactor(settings))


def build_sources(settings: Settings, services: Services, database: Database) -> Sources:
    """What the pages show beside the journal, and what can be done there. Showing asks nothing of the network."""
    url = settings.pinrail_repo_url or ""
    links = Links(repository_page(url), web_page(settings.mlflow_tracking_uri))
    commits = CommitLog(settings.pinrail_state_dir / MIRROR, parse_remote(url, _token(settings)))
    versions = KnownVersions(Cache(settings.pinrail_state_dir / "cache"))
    actions = build_actions(settings, services, database)
    return Sources(commits, versions, links, settings.pinrail_labels_token, actions)


def build_actions(settings: Settings, services: Services, database: Database) -> Actions | None:
    """What can be done from the pages; None without a token."""
    if settings.pinrail_admin_token is None:
        return None
    redact = Redactor(settings.secrets)
    requests, queue = RequestRecords(database, redact), Queue(database, redact)

    def operations(who: str) -> tuple[Operations, ChangeOperations]:
        changes = ChangeOperations(services, lambda: build_upstream(settings), requests, who)
        return Operations(services.journal, queue, requests, who), changes

    return Actions(settings.pinrail_admin_token, services, operations, redact)


def build_senders(settings: Settings, services: Services) -> dict[str, Sender]:
    """The sender of each channel. Without a token, messages to GitHub count as delivered."""
    github = build_github(settings)
    if github is None:
        return {GITHUB: lambda _: None}
    reverter = Reverter(services.registry, build_upstream(settings))
    handlers: dict[str, Handler] = {
        **GitHubSender(Statuses(github)).handlers(),
        str(RevertNeeded.kind): reverter,
        str(RealisedFigures.kind): RealisedCommenter(Pulls(github), settings.pinrail_branch),
    }
    return {GITHUB: Dispatcher(handlers, public_redactor(settings))}


def build_background_tasks(settings: Settings, services: Services) -> list[BackgroundTask]:
    """The tasks beside deployments: cache cleanup and, with a token, pull requests and candidates.

    They use a git mirror of their own: deployments do not wait for it.
    """
    client, state, branch = build_github(settings), settings.pinrail_state_dir, settings.pinrail_branch
    live = LiveServices(services.journal, services.registry, services.outbox, proposes=client is not None)
    caches: dict[str, ArtifactCache] = {"sets of packages": ModelPackages(state), "versions": Cache(state / "cache")}
    found = [
        BackgroundTask("housekeeping", CacheCleanup(services, caches, settings.pinrail_cache_mb * 1e6).tidy),
        BackgroundTask("logs", LogRotation(state / "logs").run),
        BackgroundTask("inference logs", LogCollection(state, services.journal).run),
        BackgroundTask("live versions", LiveChecks(state, live).run),
        BackgroundTask("drift", DriftChecks(state, services.journal, services.outbox).run),
        BackgroundTask("ways back", WayBackCheck(services).run),
        BackgroundTask("mirrors", MirrorCompaction([state / MIRROR, state / PROPOSALS]).run),
    ]
    if client is None:
        return found
    source = GitSource(settings.pinrail_repo_url or "", branch, state / PROPOSALS, token=_token(settings))
    pulls = Pulls(client)
    github = GitHub(source, pulls, Statuses(client), branch, public_redactor(settings))
    found.append(BackgroundTask("plans", Reviewer(services, github).run))
    if settings.pinrail_candidates:
        gate = GateRunner(
            settings.mlflow_tracking_uri,
            state / "logs",
            settings.pinrail_evaluation_dir,
            LogDirectories(state).all_parquet,
            settings.evidence_key,
            state / PACKAGES,
        )
        candidates = Candidates(replace(services, source=source), build_upstream(settings), pulls, gate)
        found.append(BackgroundTask("candidates", candidates.run))
    return found


def public_redactor(settings: Settings) -> Redactor:
    """For texts on GitHub, which strangers may read: neither secrets nor where the registry is."""
    return Redactor([*settings.secrets, *settings.registry_addresses])


def _state_file(settings: Settings) -> Path:
    return settings.pinrail_state_dir / "pinrail.db"


def _token(settings: Settings) -> str | None:
    return settings.github_token.get_secret_value() if settings.github_token else None
