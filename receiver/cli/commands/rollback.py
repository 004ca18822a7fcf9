"""``pinrail rollback``: propose an earlier version; with ``--now`` the receiver first rolls back to it."""

import sys
from dataclasses import dataclass

from receiver.adapters.sqlite.queue import Queue
from receiver.cli.commands.promote import show_proposed
from receiver.core.state import Slot
from receiver.pull_requests.rollback import await_restored, plan_rollback, propose_rollback, restore
from receiver.settings import load_settings
from receiver.wiring import build, build_upstream, open_database


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
    database = open_database(settings)
    services = build(settings, database)
    plan = plan_rollback(services, request.slot, request.to, now=request.now)
    if request.now:
        restore(services, Queue(database), plan, request.reason)
        restored = await_restored(services, plan)
        result = (
            "serves again" if restored else "is not verified yet; a running receiver continues: see `pinrail status`"
        )
        # With --json, standard output holds the answer alone.
        stream = sys.stderr if as_json else sys.stdout
        stream.write(f"{plan.slot}: v{plan.pinned} is held, v{plan.target} {result}\n")
    show_proposed(propose_rollback(services, build_upstream(settings), plan, request.reason), as_json=as_json)
