"""``pinrail up``: two listeners, the controller and the outbox, on one state directory, until a signal stops them.

A signal has deployments give way. Model servers keep running; the next receiver finds them, and goes on.
"""

import gc
import logging
import sys
import threading
from contextlib import ExitStack
from functools import partial
from typing import Literal

import mlflow.tracking.client  # noqa: F401 - now, rather than in the middle of the first deployment

from receiver.adapters.apprise import notifiers
from receiver.adapters.sqlite.deliveries import Inbox
from receiver.adapters.sqlite.outbox import SqliteOutbox
from receiver.adapters.sqlite.queue import Queue
from receiver.adapters.sqlite.state_lock import exclusive
from receiver.admin.app import admin_config
from receiver.core.redact import Redactor
from receiver.daemon.delivery import OutboxDelivery
from receiver.daemon.ingress import PATH, Ingress
from receiver.daemon.listener import Listener
from receiver.daemon.logs import configure_logs
from receiver.daemon.signals import ShutdownSignal
from receiver.daemon.startup_summary import log_startup_summary
from receiver.daemon.wiring import build_background_tasks, build_sources
from receiver.github_wiring import build_senders
from receiver.intake.app import PublicApp, Senders
from receiver.intake.github import Watched
from receiver.intake.server import server_config
from receiver.planning.status import StatusBoard
from receiver.reconciler.controller import Controller
from receiver.reconciler.fetcher import Fetcher
from receiver.settings import Settings
from receiver.wiring import (
    build,
    migrate_state,
    open_database,
    parallel_starts,
    remember_target,
)
from serving.http.bounded import allow_open_files

log = logging.getLogger(__name__)

# How long one thread may keep the interpreter: webhooks are to be answered at once while the controller computes.
SWITCH_SECONDS = 0.001
STOP_SECONDS = 4.5  # after a signal; whatever hangs for longer is left behind, and found at the next start


def run(settings: Settings, tunnel: Literal["ngrok", "none"] | None = None) -> None:
    """Run the receiver; by default with a tunnel where there is a token for one.

    Rejected: another one holds this state directory, a port is taken, or there is no token for the tunnel asked for.
    """
    redact = Redactor(settings.secrets)
    configure_logs(redact)
    sys.setswitchinterval(SWITCH_SECONDS)
    allow_open_files()
    shutdown = ShutdownSignal()
    with exclusive(settings.pinrail_state_dir), ExitStack() as cleanup:
        opening = tunnel == "ngrok" or (tunnel is None and settings.ngrok_authtoken is not None)
        _start(settings, redact, cleanup, tunnel=opening)
        # What libraries are made of stays: to look through it for garbage stops every thread for a fifth of a second.
        gc.collect()
        gc.freeze()
        shutdown.wait()
        log.info("stopping: deployments give way, and go on at the next start; model servers keep running")
        shutdown.end_at_the_next()
        shutdown.end_after(STOP_SECONDS)


def _start(settings: Settings, redact: Redactor, cleanup: ExitStack, *, tunnel: bool) -> None:
    """Start everything; ``cleanup`` stops it in reverse, so that nothing is taken in that nobody would keep."""
    migrate_state(settings)
    database = open_database(settings)
    stop = threading.Event()
    services = build(settings, database, stop)
    remember_target(settings)
    ingress = Ingress(settings, tunnel=tunnel, report=partial(log_startup_summary, settings, services.source))
    queue = Queue(database, redact)
    inbox = Inbox(database, queue)
    cleanup.callback(inbox.close)
    status_board = StatusBoard()
    background_tasks = build_background_tasks(settings, services)
    poll_seconds = settings.pinrail_poll_seconds
    controller = Controller(
        services, status_board, parallel=parallel_starts(settings), poll_seconds=poll_seconds, after=background_tasks
    )
    fetcher = Fetcher(services, queue, controller, poll_seconds, background_tasks)
    admin_port, sources = settings.pinrail_admin_port, build_sources(settings, services, database, stop)
    admin = Listener(admin_config(database, status_board.report, admin_port, redact, sources), "admin")
    cleanup.callback(admin.stop)
    public = Listener(server_config(PublicApp(_senders(settings), inbox), settings.pinrail_public_port), "public")
    # Bound before the first job: a receiver that can't have its ports must not deploy.
    urls = [url.get_secret_value() for url in settings.pinrail_notify_urls]
    delivery = OutboxDelivery(
        SqliteOutbox(database, redact), {**notifiers(urls, redact), **build_senders(settings, services)}
    )
    for task in background_tasks:
        task.start()
        cleanup.callback(task.stop)
    delivery.start()
    cleanup.callback(delivery.stop)
    controller.start()
    cleanup.callback(controller.stop)
    fetcher.start()
    cleanup.callback(fetcher.stop)
    public.start()
    cleanup.callback(public.stop)
    admin.start()
    log.info("webhooks: http://127.0.0.1:%d%s", public.port, PATH)
    ingress.start()
    cleanup.callback(ingress.stop)
    for end in (stop.set, *(task.end for task in background_tasks), fetcher.end, controller.end):
        cleanup.callback(end)  # all at once, before any of them is waited for


def _senders(settings: Settings) -> Senders:
    mlflow = settings.pinrail_mlflow_webhook_secret
    return Senders(
        settings.webhook_secrets,
        Watched(settings.repository, settings.pinrail_branch),
        mlflow.get_secret_value().encode() if mlflow else None,
    )
