"""Gathers what the admin listener shows, from the records and from the world.

Everything that somebody outside may have written passes through the redactor on its way out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from receiver.adapters.sqlite.journal import Journal, Quarantine
from receiver.adapters.sqlite.queries import DeliveryRow, JobRow, StateQueries
from receiver.admin.views import DeliveryView, DeploymentView, EnvironmentView, Truth, deployment_views, iso
from receiver.core.errors import PinrailError
from receiver.core.redact import Redactor
from receiver.planning.status import SlotStatus


class AdminQueries:
    """Gathers what is shown. Safe to ask from several threads."""

    def __init__(
        self, journal: Journal, records: StateQueries, rows: Callable[[], Sequence[SlotStatus]], redact: Redactor
    ) -> None:
        self._journal = journal
        self._records = records
        self._rows = rows
        self._redact = redact
        self._clean = redact.line
        self._lines = redact.lines  # for reasons: a model server's last words are several
        self._last: Sequence[EnvironmentView] = ()

    def truth(self) -> Truth:
        """Ask registry and servers, through the callable that the receiver was built with."""
        try:
            self._last = [self._environment(row) for row in self._rows()]
        except PinrailError as error:
            return Truth(self._last, self._clean(str(error)))
        return Truth(self._last)

    def deployments(
        self, limit: int, environment: str | None = None, model: str | None = None
    ) -> list[DeploymentView]:
        """The last deployments, newest first."""
        return deployment_views(self._journal, self._redact, limit, environment, model)

    def deliveries(self, limit: int, job: int | None = None) -> list[DeliveryView]:
        """The last deliveries, newest first."""
        return [self._delivery(row) for row in self._records.deliveries(limit, job)]

    def quarantined(self) -> list[Quarantine]:
        """What is held, newest first."""
        return [replace(entry, reason=self._lines(entry.reason)) for entry in self._journal.quarantined()]

    def jobs(self) -> list[JobRow]:
        """The job that runs, the one that waits, and the last one if it failed."""
        at_hand = self._records.jobs_at_hand()
        last = self._records.last_job()
        failed = [last] if last is not None and last.state == "dead" else []
        return [replace(job, note=self._clean(job.note)) for job in [*at_hand, *failed]]

    def _environment(self, row: SlotStatus) -> EnvironmentView:
        return EnvironmentView(
            row.environment,
            row.model,
            row.pinned,
            row.alias_version,
            row.stage_version,
            row.serving_version,
            row.state,
            self._lines(row.reason),
            row.url,
            None if row.since is None else iso(row.since),
        )

    def _delivery(self, row: DeliveryRow) -> DeliveryView:
        return DeliveryView(
            row.id,
            row.sender,
            row.event,
            iso(row.received_at),
            row.verdict,
            self._clean(row.note),
            row.job,
            row.job_state,
            None if row.job_note is None else self._clean(row.job_note),
        )
