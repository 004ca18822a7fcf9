"""What the admin listener shows, gathered from the state file and from registry and servers.

Everything that somebody outside may have written passes through the redactor on its way out.
"""

from collections.abc import Callable
from dataclasses import replace

from receiver.adapters.sqlite.journal import Journal, Quarantine
from receiver.adapters.sqlite.queries import DeliveryRow, JobRow, StateQueries
from receiver.admin.views import (
    DeliveriesView,
    DeploymentsView,
    EnvironmentsView,
    deployment_views,
    environments_view,
)
from receiver.core.errors import PinrailError
from receiver.core.redact import Redactor
from receiver.planning.status import StatusReport


class AdminQueries:
    """Answers the admin listener's questions. Safe to ask from several threads."""

    def __init__(
        self, journal: Journal, records: StateQueries, report: Callable[[], StatusReport], redact: Redactor
    ) -> None:
        self._journal = journal
        self._records = records
        self._report = report
        self._redact = redact
        self._last = StatusReport()

    def environments(self) -> EnvironmentsView:
        """Every slot as it is now or, with ``problem``, as it was when registry and servers last answered."""
        try:
            self._last = self._report()
        except PinrailError as error:
            return environments_view(self._last, self._redact, str(error))
        return environments_view(self._last, self._redact)

    def deployments(self, limit: int, environment: str | None = None, model: str | None = None) -> DeploymentsView:
        """The last deployments, newest first."""
        return DeploymentsView(deployment_views(self._journal, self._redact, limit, environment, model))

    def deliveries(self, limit: int, job: int | None = None) -> DeliveriesView:
        """The last deliveries, newest first; with ``job``, those that joined it."""
        return DeliveriesView([self._delivery(row) for row in self._records.deliveries(limit, job)])

    def quarantined(self) -> list[Quarantine]:
        """What is in quarantine, newest first."""
        return [replace(entry, reason=self._redact.lines(entry.reason)) for entry in self._journal.quarantined()]

    def jobs(self) -> list[JobRow]:
        """The job that runs, the one that waits, and the last one if it failed."""
        at_hand = self._records.jobs_at_hand()
        last = self._records.last_job()
        failed = [last] if last is not None and last.state == "dead" else []
        return [replace(job, note=self._redact.line(job.note)) for job in [*at_hand, *failed]]

    def _delivery(self, row: DeliveryRow) -> DeliveryRow:
        job_note = None if row.job_note is None else self._redact.line(row.job_note)
        return replace(row, note=self._redact.line(row.note), job_note=job_note)
