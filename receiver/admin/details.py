"""The pages about one model, one deployment and one version: what they show, from this machine's records alone."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import SecretStr

from ml.evidence import CheckOutcome, Evidence
from ml.evidence_key import signer
from receiver.adapters.git.commit_log import CommitNote
from receiver.adapters.known_versions import KnownVersion
from receiver.adapters.sqlite.database import Database
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.requests import RequestRecords
from receiver.admin.actions import Actions
from receiver.admin.pages import Comparison, DeploymentPage, ModelPage, Moment, VersionPage
from receiver.admin.queries import AdminQueries
from receiver.admin.timeline import timeline
from receiver.admin.views import DeploymentView, deployment_view
from receiver.core.deployment import Deployment, Outcome
from receiver.core.links import Links
from receiver.core.plan import ActionKind
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.core.times import iso, seconds_of
from receiver.planning.status import SlotStatus

DEPLOYMENTS = 500  # of a slot, that its timeline is drawn from
LISTED = 15


@dataclass(frozen=True, slots=True)
class Sources:
    """What else this machine knows; by default nothing."""

    commits: Callable[[Collection[str]], Mapping[str, CommitNote]] = lambda _: {}
    versions: Callable[[str, int], KnownVersion | None] = lambda _model, _version: None
    links: Links = field(default_factory=Links)
    labels_token: SecretStr | None = None
    """Who has it may post labels; None: nobody may."""
    actions: Actions | None = None
    """What can be done from the pages; None: nothing."""
    stabilise_seconds: float | None = None
    """How long a new version is watched; None: that is not known."""
    poll_seconds: float | None = None
    """How often the branch is fetched without a push; None: that is not known."""
    trusted: Callable[[str], Collection[str]] = lambda _: ()
    """The public keys whose evidence counts in an environment."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the receiver stops: whatever is open then ends."""


class Details:
    """Gathers the pages. Thread-safe. Each method returns None where nothing of that name is on record."""

    def __init__(self, database: Database, queries: AdminQueries, redact: Redactor, sources: Sources) -> None:
        self._journal = SqliteJournal(database)
        self._requests = RequestRecords(database)
        self._queries = queries
        self._redact = redact
        self._sources = sources

    @property
    def can_act(self) -> bool:
        """Something can be done from the pages."""
        return self._sources.actions is not None

    @property
    def links(self) -> Links:
        """Addresses of pages elsewhere."""
        return self._sources.links

    def model(self, slot: Slot, days: int | None) -> ModelPage | None:
        """Everything about one slot, and when its model was live in the other environments."""
        key = (slot.environment, slot.model)
        rows = [row for row in self._queries.environments().environments if row.model == slot.model]
        row = next((row for row in rows if row.environment == slot.environment), None)
        environments = dict.fromkeys([*(row.environment for row in rows), slot.environment])
        histories = {name: self._history(Slot(name, slot.model)) for name in environments}
        if row is None and not histories[slot.environment]:
            return None
        notes = self._notes(deployment for history in histories.values() for deployment in history)

        def describe(deployment: Deployment) -> str:
            return self._redact.line(_sentence(deployment, notes.get(deployment.draft.revision)))

        own = histories[slot.environment]
        figures = self._queries.environments()
        return ModelPage(
            slot,
            row,
            self._moments(slot, row),
            next((each for each in figures.drift if (each.environment, each.model) == key), None),
            next((each for each in figures.ways_back if (each.environment, each.model) == key), None),
            [name for name in environments if name != slot.environment],
            timeline(histories, days, time.time(), describe),
            [entry for entry in self._queries.quarantined() if entry.slot == slot],
            [
                replace(freeze, reason=self._redact.line(freeze.reason))
                for freeze in self._journal.frozen()
                if freeze.covers(slot)
            ],
            [self._view(deployment) for deployment in reversed(own[-LISTED:])],
            notes,
            self._compared(slot.model, row, own),
            [one for one in self._queries.realised() if (one.environment, one.model) == key],
            [self._redact.within(request) for request in self._requests.of(slot)],
        )

    @property
    def stopping(self) -> threading.Event:
        """Set when the receiver stops."""
        return self._sources.stopping

    def deployment(self, number: int) -> DeploymentPage | None:
        """One deployment with its steps."""
        found = self._journal.find(number)
        if found is None:
            return None
        view = self._view(found)
        moments = [] if found.state.terminal else list(self._end_of_watch(found))
        note = self._notes([found]).get(found.draft.revision)
        return DeploymentPage(view, note, moments, self._redact.within(self._waived(found)))

    def view(self, number: int) -> DeploymentView | None:
        """One deployment alone."""
        found = self._journal.find(number)
        return None if found is None else self._view(found)

    def version(self, model: str, version: int) -> VersionPage | None:
        """What the gate measured of a version, what it needs, and where it was deployed."""
        known = self._sources.versions(model, version)
        recent = self._journal.recent(DEPLOYMENTS, None, model)
        deployed = [deployment for deployment in recent if deployment.draft.to_version == version]
        if known is None and not deployed:
            return None
        rows = self._queries.environments().environments
        return VersionPage(
            model,
            version,
            self._redact.within(replace(known, reports={})) if known is not None else None,
            [
                name
                for name, one in (known.evidence.items() if known is not None else ())
                if known is not None and name in known.reports and self._vouches(one)
            ],
            [row for row in rows if (row.model, row.serving_version) == (model, version)],
            [self._view(deployment) for deployment in deployed[:LISTED]],
            [one for one in self._queries.realised() if (one.model, one.version) == (model, version)],
        )

    def _moments(self, slot: Slot, row: SlotStatus | None) -> list[Moment]:
        """What is going to happen, and when."""
        found = [] if row is None or row.eligible is None else [Moment("Eligible", seconds_of(row.eligible))]
        for running in self._journal.running():
            if running.draft.slot == slot:
                found += self._end_of_watch(running)
        fetch = self._queries.next_fetch(self._sources.poll_seconds)
        return found if fetch is None else [*found, Moment("Next fetch of the branch", fetch)]

    def _end_of_watch(self, running: Deployment) -> Iterator[Moment]:
        seconds = self._sources.stabilise_seconds
        for step in self._journal.steps(running.id):
            if step.action.kind is ActionKind.WATCH and step.result is None and seconds is not None:
                yield Moment("Watched until", step.started_at + seconds)

    def _waived(self, deployment: Deployment) -> list[str]:
        """What stood against a version that an override let in, as far as this machine knows."""
        draft = deployment.draft
        if draft.override is None or draft.to_version is None:
            return []
        known = self._sources.versions(draft.slot.model, draft.to_version)
        evidence = None if known is None else known.evidence.get(draft.slot.environment)
        if evidence is None:
            return [f"no evidence for {draft.slot.environment} is on this machine"]
        return [str(verdict) for verdict in evidence.verdicts if verdict.outcome is not CheckOutcome.PASS]

    def report(self, model: str, version: int, environment: str) -> bytes | None:
        """The report of a gate, as the page that signed evidence names; None: there is none that is believed."""
        known = self._sources.versions(model, version)
        evidence = known.evidence.get(environment) if known is not None else None
        if known is None or evidence is None or not self._vouches(evidence):
            return None
        found = known.reports.get(environment)
        return None if found is None else self._redact.lines(found.decode()).encode()

    def _vouches(self, evidence: Evidence) -> bool:
        signed = signer(evidence)
        return signed is not None and signed in self._sources.trusted(evidence.environment)

    def _history(self, slot: Slot) -> list[Deployment]:
        return self._journal.recent(DEPLOYMENTS, slot.environment, slot.model)[::-1]

    def _notes(self, deployments: Iterable[Deployment]) -> Mapping[str, CommitNote]:
        notes = self._sources.commits({deployment.draft.revision for deployment in deployments})
        return {commit: self._redact.within(note) for commit, note in notes.items()}

    def _view(self, deployment: Deployment) -> DeploymentView:
        return deployment_view(deployment, self._journal.steps(deployment.id), self._redact, self._queries.realised())

    def _compared(self, model: str, row: SlotStatus | None, history: Sequence[Deployment]) -> Comparison:
        pinned = row.pinned if row is not None else None
        if pinned is None:
            return Comparison()
        live = [d.draft.to_version for d in history if d.state is Outcome.LIVE]
        previous = next((version for version in reversed(live) if version not in (None, pinned)), None)
        here, before = self._metrics(model, pinned), self._metrics(model, previous)
        names = [*here, *(name for name in before if name not in here)]
        return Comparison(pinned, previous, [(name, here.get(name), before.get(name)) for name in names])

    def _metrics(self, model: str, version: int | None) -> Mapping[str, float]:
        known = None if version is None else self._sources.versions(model, version)
        return {} if known is None else known.metrics


def _sentence(deployment: Deployment, note: CommitNote | None) -> str:
    """A deployment in one line: what, how it ended, when, why and by whom."""
    draft = deployment.draft
    versions = " → ".join("nothing" if v is None else f"v{v}" for v in (draft.from_version, draft.to_version))
    said = f"{draft.slot} {versions}: {deployment.state}, {iso(deployment.started_at)}, by {draft.cause}"
    said += f", commit {draft.revision[:10]}"
    if note is not None:
        pull = f", #{note.pull_request}" if note.pull_request is not None else ""
        said += f" by {note.author}{pull} ({note.subject})"
    reason = deployment.reason.partition("\n")[0]
    return f"{said}: {reason}" if reason else said
