"""``pinrail rollback``: propose an earlier version; with ``--now`` it serves again first."""

import sys
from dataclasses import dataclass

from receiver.adapters.sqlite.state_lock import exclusive, holder
from receiver.adapters.time_limit import time_limit
from receiver.cli.commands.promote import show_proposed
from receiver.cli.requests import change_operations
from receiver.core.errors import PinrailError
from receiver.core.state import Slot
from receiver.github_wiring import build_upstream
from receiver.pull_requests.rollback import (
    RollbackPlan,
    await_serving,
    hold_newer,
    plan_rollback,
    propose_later,
    propose_rollback,
)
from receiver.reconciler.reconcile import roll_back_alone
from receiver.services import Services
from receiver.settings import Settings, load_settings
from receiver.wiring import build, open_database

PROPOSE_SECONDS = 30.0  # after a rollback the pull request is the lesser part: the receiver can open it too


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """The command's arguments. ``to`` None: the version verified before."""

    slot: Slot
    to: int | None
    now: bool
    reason: str


def roll_back(request: RollbackRequest, *, as_json: bool) -> None:
    """Open a pull request that pins the earlier version. Rejected: there is none, or no such pin."""
    settings = load_settings("pinrail_repo_url")
    services = build(settings, open_database(settings))
    plan = plan_rollback(services, request.slot, request.to, now=request.now)
    upstream = build_upstream(settings)
    if not request.now:
        show_proposed(propose_rollback(services, upstream, plan, request.reason), as_json=as_json)
        return
    # With --json, standard output holds the answer alone.
    stream = sys.stderr if as_json else sys.stdout
    hold_newer(services, plan, request.reason)
    held = f"v{plan.pinned} is held, v{plan.target} is restored: {request.reason}"
    change_operations(settings, services).record("roll back", plan.slot, held)
    if holder(settings.pinrail_state_dir) is None:
        stream.write(f"no receiver runs on {settings.pinrail_state_dir}: rolling back without it\n")
        _restore_alone(settings, services, plan)
    await_serving(services, plan)
    stream.write(f"{plan.slot}: v{plan.pinned} is held, v{plan.target} serves again\n")
    stream.flush()
    try:
        with time_limit(PROPOSE_SECONDS):
            show_proposed(propose_rollback(services, upstream, plan, request.reason), as_json=as_json)
    except PinrailError as error:
        propose_later(services, plan, request.reason)
        stream.write(f"the pull request could not be opened now, so the receiver opens it later: {error}\n")


def _restore_alone(settings: Settings, services: Services, plan: RollbackPlan) -> None:
    with exclusive(settings.pinrail_state_dir):
        result = roll_back_alone(services, plan.slot)
    if result.reason:
        sys.stderr.write(f"{result.outcome}: {result.reason}\n")
