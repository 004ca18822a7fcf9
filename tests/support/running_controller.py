"""The controller and the fetcher at work on a flow in memory, as a receiver runs them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from receiver.adapters.sqlite.queue import Queue
from receiver.planning.status import StatusBoard
from receiver.reconciler.background import BackgroundTask
from receiver.reconciler.controller import Controller
from receiver.reconciler.fetcher import Fetcher
from tests.support.flow import Flow


@dataclass(frozen=True, slots=True)
class Running:
    """What works, and what a test looks at."""

    controller: Controller
    fetcher: Fetcher
    queue: Queue
    status_board: StatusBoard

    def states(self) -> dict[str, str]:
        """The state of each environment's slot, as the dashboard shows it."""
        return {row.environment: row.state for row in self.status_board.report().slots}

    def reasons(self) -> dict[str, str]:
        """Why each environment's slot is not in sync."""
        return {row.environment: row.reason for row in self.status_board.report().slots}


@contextmanager
def running(
    flow: Flow, poll_seconds: float = 60.0, parallel: int = 4, after: Sequence[BackgroundTask] = ()
) -> Iterator[Running]:
    """A receiver's work, until the end of the block."""
    status_board, queue = StatusBoard(), Queue(flow.database)
    controller = Controller(flow.services, status_board, parallel=parallel, poll_seconds=poll_seconds, after=after)
    fetcher = Fetcher(flow.services, queue, controller, poll_seconds, after)
    controller.start()
    fetcher.start()
    try:
        yield Running(controller, fetcher, queue, status_board)
    finally:
        fetcher.stop()
        controller.stop()
