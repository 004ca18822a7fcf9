"""What the admin listener shows, gathered from the state file and from registry and servers.

Text that may come from outside passes through the redactor.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ml.live.label_store import LabelStore
from ml.live.labels import Counts, Realised
from receiver.adapters.inference_log.directories import LogDirectories
from receiver.adapters.inference_log.losses import totals
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.queries import DeliveryQuery, DeliveryRow, DeploymentQuery, JobRow, StateQueries
from receiver.admin.overview import Cell, Overview, OverviewFilter, overview
from receiver.admin.strip import DAY_SECONDS, DAYS, NOTHING, Strip, strip
from receiver.admin.views import (
    DeliveriesView,
    DeploymentsView,
    EnvironmentsView,
    LiveFigures,
    deployment_view,
    environments_view,
    live_figures,
)
from receiver.core.deployment import Outcome
from receiver.core.errors import PinrailError
from receiver.core.quarantine import Quarantine
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.planning.status import SlotStatus, StatusReport


class AdminQueries:
    """The admin listener's queries. Thread-safe."""

    def __init__(self, database: Database, report: Callable[[], StatusReport], redact: Redactor) -> None:
        journal, records = SqliteJournal(database), StateQueries(database)
        self._state = database.path.parent
        self._labels = LabelStore(LogDirectories(self._state).root)
        self._journal = journal
        self._records = records
        self._report = report
        self._redact = redact
        self._last = StatusReport()
        self._strips: Mapping[Slot, Strip] = {}
        self._drawn: object = None

    def environments(self) -> EnvironmentsView:
        """The present status of every slot or, with ``problem``, the last one that could be observed."""
        try:
            self._last = self._report()
        except PinrailError as error:
            return environments_view(self._last, self._redact, self.figures(), str(error))
        return environments_view(self._last, self._redact, self.figures())

    def overview(self, rows: Sequence[SlotStatus], wanted: OverviewFilter) -> Overview:
        """The table of all slots. It reads the journal alone."""
        last, strips = self._records.last_entries(), self._month()

        def cell(row: SlotStatus) -> Cell:
            slot = Slot(row.environment, row.model)
            entry = last.get(slot)
            began = entry.at if entry is not None and entry.state is not Outcome.LIVE else None
            return Cell(row, row.since if row.state == "in sync" else began, strips.get(slot, NOTHING))

        return overview(rows, wanted, cell)

    def deployments(self, wanted: DeploymentQuery) -> DeploymentsView:
        """A page of deployments, newest first."""
        numbers, end = self._records.deployment_page(wanted)
        found = [deployment for number in numbers if (deployment := self._journal.find(number)) is not None]
        realised = self.realised()
        views = [deployment_view(one, self._journal.steps(one.id), self._redact, realised) for one in found]
        return DeploymentsView(views, None if end is None else str(end))

    def realised(self) -> Sequence[Realised]:
        """How good each version's answers were, by the labels that came later."""
        return self._labels.realised()

    def figures(self) -> LiveFigures:
        """What is known of all versions that were live."""
        return live_figures(self._state, self._journal)

    def dropped(self) -> Mapping[tuple[str, str, str], int]:
        """How many requests were not recorded, by environment, model and reason."""
        return totals(LogDirectories(self._state).root)

    def label_counts(self) -> Mapping[str, Counts]:
        """How many labels each model has."""
        return self._labels.counts()

    def deliveries(self, wanted: DeliveryQuery) -> DeliveriesView:
        """A page of deliveries, newest first."""
        rows, end = self._records.delivery_page(wanted)
        return DeliveriesView([self._delivery(row) for row in rows], None if end is None else str(end))

    def next_fetch(self, poll_seconds: float | None) -> float | None:
        """When the branch is fetched next without a push; None: now, or that is not known."""
        current, last = self._records.current_jobs(), self._records.last_job()
        if current:
            return current[0].not_before if current[0].state == "retry" else None
        if poll_seconds is None or last is None or last.ended_at is None:
            return None
        return last.ended_at + poll_seconds

    def quarantined(self) -> list[Quarantine]:
        """What is in quarantine, newest first."""
        return [replace(entry, reason=self._redact.lines(entry.reason)) for entry in self._journal.quarantined()]

    def jobs(self) -> list[JobRow]:
        """The running and the waiting job, and the last one if it failed."""
        current = self._records.current_jobs()
        last = self._records.last_job()
        failed = [last] if last is not None and last.state == "dead" else []
        return [replace(job, note=self._redact.line(job.note)) for job in [*current, *failed]]

    def _month(self) -> Mapping[Slot, Strip]:
        """Each slot's last days; drawn again when the journal has changed, and every minute."""
        now = time.time()
        drawn = (self._records.journal_version(), now // 60)
        if drawn != self._drawn:
            begin = now - DAYS * DAY_SECONDS
            before, events = self._records.live_before(begin), self._records.events_since(begin)
            slots = before.keys() | events.keys()
            self._strips = {slot: strip(before.get(slot), events.get(slot, ()), now) for slot in slots}
            self._drawn = drawn
        return self._strips

    def _delivery(self, row: DeliveryRow) -> DeliveryRow:
        job_note = None if row.job_note is None else self._redact.line(row.job_note)
        return replace(row, note=self._redact.line(row.note), job_note=job_note)
