"""Builds what the receiver has beside the flow: the pages' sources and actions, and the background tasks."""

import threading
from collections.abc import Collection
from dataclasses import replace
from functools import partial

from receiver.adapters.docker import Docker
from receiver.adapters.gate_runner import GateRunner
from receiver.adapters.git.command import parse_remote
from receiver.adapters.git.commit_log import CommitLog
from receiver.adapters.git.compaction import MirrorCompaction
from receiver.adapters.git.mirror import GitSource
from receiver.adapters.github.pulls import Pulls
from receiver.adapters.github.statuses import Statuses
from receiver.adapters.inference_log.collection import LogCollection
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.drift_checks import DriftChecks
from receiver.adapters.inference_log.live_checks import LiveChecks, LiveServices
from receiver.adapters.known_versions import KnownVersions
from receiver.adapters.log_rotation import LogRotation
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.queue import Queue
from receiver.adapters.sqlite.requests import RequestRecords
from receiver.adapters.version_pages import VersionPages
from receiver.admin.actions import Actions
from receiver.admin.details import Sources
from receiver.core.errors import Rejected
from receiver.core.links import Links, repository_page, web_page
from receiver.core.pins import read_pins
from receiver.core.redact import Redactor
from receiver.github_wiring import build_github, build_upstream, public_redactor
from receiver.operations import ChangeOperations, Operations
from receiver.ports import ArtifactCache
from receiver.pull_requests.candidates import Candidates
from receiver.pull_requests.reviewer import GitHub, Reviewer
from receiver.reconciler.background import BackgroundTask
from receiver.reconciler.cache_cleanup import CacheCleanup
from receiver.reconciler.way_back_check import WayBackCheck
from receiver.services import Services
from receiver.settings import Settings
from receiver.targets.compose.packages import ImagePackages
from receiver.targets.process.packages import PACKAGES, ModelPackages
from receiver.wiring import MIRROR, PROPOSALS, build_registry, compose_place, target_name, token_of
from serving.model.loader import Cache


def build_sources(settings: Settings, services: Services, database: Database, stop: threading.Event) -> Sources:
    """What the pages show beside the journal, and what can be done there. Showing asks nothing of the network."""
    url = settings.pinrail_repo_url or ""
    links = Links(repository_page(url), web_page(settings.mlflow_tracking_uri))
    commits = CommitLog(settings.pinrail_state_dir / MIRROR, parse_remote(url, token_of(settings)))
    versions = KnownVersions(Cache(settings.pinrail_state_dir / "cache"))
    return Sources(
        commits,
        versions,
        links,
        settings.pinrail_labels_token,
        build_actions(settings, services, database),
        settings.pinrail_stabilise_seconds,
        settings.pinrail_poll_seconds,
        partial(_trusted, services),
        stop,
    )


def _trusted(services: Services, environment: str) -> Collection[str]:
    """Whose evidence counts in an environment, by the last valid pins."""
    snapshot = services.journal.remembered_pins()
    try:
        return () if snapshot is None else services.trusted(read_pins(snapshot.files).environment(environment)) or ()
    except Rejected:  # there is no such environment any more
        return ()


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


def build_background_tasks(settings: Settings, services: Services) -> list[BackgroundTask]:
    """The tasks beside deployments: cache cleanup and, with a token, pull requests and candidates.

    They use a git mirror of their own: deployments do not wait for it.
    """
    client, state, branch = build_github(settings), settings.pinrail_state_dir, settings.pinrail_branch
    live = LiveServices(services.journal, services.registry, services.outbox, proposes=client is not None)
    caches: dict[str, ArtifactCache] = {"sets of packages": ModelPackages(state)}
    if target_name(settings) == "compose":
        caches["images of packages"] = ImagePackages(Docker(), compose_place(settings))
    caches["versions"] = Cache(state / "cache")  # the last: they say which packages are in use
    found = [
        BackgroundTask("housekeeping", CacheCleanup(services, caches, settings.pinrail_cache_mb * 1e6).tidy),
        BackgroundTask("logs", LogRotation(state / "logs").run),
        BackgroundTask("inference logs", LogCollection(state, services.journal).run),
        BackgroundTask("live versions", LiveChecks(state, live).run),
        BackgroundTask("drift", DriftChecks(state, services.journal, services.outbox).run),
        BackgroundTask("ways back", WayBackCheck(services).run),
        BackgroundTask("version pages", VersionPages(Cache(state / "cache"), build_registry(settings)).run),
        BackgroundTask("mirrors", MirrorCompaction([state / MIRROR, state / PROPOSALS]).run),
    ]
    if client is None:
        return found
    source = GitSource(settings.pinrail_repo_url or "", branch, state / PROPOSALS, token=token_of(settings))
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
            settings.pinrail_version_mb,
            confine=settings.pinrail_confine,
        )
        candidates = Candidates(replace(services, source=source), build_upstream(settings), pulls, gate)
        found.append(BackgroundTask("candidates", candidates.run))
    return found
