"""Waiting for a proposed change: until it is merged, and then until its deployment has ended."""

import sys
import time
from dataclasses import dataclass

from receiver.adapters.github.pulls import Pulls
from receiver.adapters.sqlite.journal import SqliteJournal
from receiver.adapters.sqlite.state_lock import holder
from receiver.adapters.time_limit import time_limit
from receiver.cli.failure import TimeUp
from receiver.cli.following import POLL_SECONDS, follower
from receiver.core.deployment import DRIFT, Deployment, Outcome
from receiver.core.errors import Rejected, Retryable
from receiver.core.pins import read_pins
from receiver.core.redact import Redactor
from receiver.core.state import Slot
from receiver.github_wiring import build_github
from receiver.pull_requests.open_pull_request import ProposedChange
from receiver.pull_requests.promotion import PinChange
from receiver.services import Services
from receiver.settings import Settings
from receiver.wiring import open_database

MERGE_SECONDS = 5.0  # between questions to git and GitHub
ASK_SECONDS = 20.0  # for each of them
CLOSED, SUPERSEDED = "closed", "superseded"
GO_ON = (Outcome.INTERRUPTED, Outcome.WAITING)  # another deployment follows by itself


def require_receiver(settings: Settings) -> None:
    """Rejected: no receiver runs on this machine, so nobody here would see how the deployment ends."""
    if holder(settings.pinrail_state_dir) is None:
        raise Rejected(
            f"no receiver runs on {settings.pinrail_state_dir}: wait where one runs, or leave out --wait and see the "
            "commit's status"
        )


@dataclass(frozen=True, slots=True)
class Wait:
    """One wait; it says on standard error what it waits for."""

    settings: Settings
    services: Services
    change: PinChange
    proposed: ProposedChange

    def outcome(self, timeout: float) -> str:
        """How the deployment of the merged change ended; ``closed``: it was not merged; ``superseded``: another was.

        TimeUp: it is not merged, or its deployment has not ended, after so many seconds.
        """
        deadline = time.monotonic() + timeout
        where = self.proposed.pull.url if self.proposed.pull else self.proposed.promotion.branch
        self._say(f"waiting for the merge of {where}")
        if not self._is_merged(deadline, where):
            self._say(f"{where} was closed, not merged")
            return CLOSED
        slot = Slot(self.change.environment, self.change.model)
        self._say(f"merged; waiting for the deployment of {slot} v{self.change.version}")
        database, redact = open_database(self.settings), Redactor(self.settings.secrets)
        following = follower(SqliteJournal(database), self.settings.pinrail_state_dir, redact, slot, errors=True)
        while time.monotonic() < deadline:
            for ended in following.ended():
                if self._is_replaced_by(ended):
                    return SUPERSEDED
                if ended.state not in GO_ON and ended.draft.to_version == self.change.version:
                    return str(ended.state)
            verified = self.services.journal.verified().get(slot)
            if verified is not None and verified.version == self.change.version:
                self._say(f"{slot} v{self.change.version} is live")
                return str(Outcome.LIVE)
            time.sleep(POLL_SECONDS)
        raise TimeUp(
            f"{slot} v{self.change.version} is merged, and not live after {timeout:g} s: see `pinrail status`"
        )

    def _is_merged(self, deadline: float, where: str) -> bool:
        """The branch head pins the version; False: the pull request was closed. TimeUp: neither."""
        said = ""
        while True:
            try:
                with time_limit(ASK_SECONDS):
                    if self._is_pinned():
                        return True
                    if self._is_closed():
                        return False
                said = ""
            except (Rejected, Retryable) as error:
                if str(error) != said:
                    self._say(f"not known yet: {error}")
                said = str(error)
            if time.monotonic() + MERGE_SECONDS > deadline:
                raise TimeUp(f"{where} is not merged yet")
            time.sleep(MERGE_SECONDS)

    def _is_pinned(self) -> bool:
        snapshot = self.services.source.snapshot()
        if snapshot.stale:
            raise Retryable(snapshot.stale)
        pin = read_pins(snapshot.files).pin(self.change.environment, self.change.model)
        return pin.version == self.change.version

    def _is_closed(self) -> bool:
        pull, github = self.proposed.pull, build_github(self.settings)
        if pull is None or github is None:
            return False
        found = Pulls(github).get(pull.number)
        return found.state == "closed" and not found.merged

    def _is_replaced_by(self, ended: Deployment) -> bool:
        """Another version went live, and not because the one before was healed meanwhile."""
        other = ended.draft.to_version != self.change.version
        return other and ended.state is Outcome.LIVE and ended.draft.cause != DRIFT

    def _say(self, line: str) -> None:
        sys.stderr.write(f"{Redactor(self.settings.secrets).line(line)}\n")
