"""A dashboard from which something can be done, and what it writes to."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import SecretStr

from receiver.adapters.sqlite.queue import Queue
from receiver.adapters.sqlite.requests import RequestRecords
from receiver.admin.actions import Actions
from receiver.admin.app import admin_config
from receiver.admin.details import Sources
from receiver.core.redact import Redactor
from receiver.daemon.listener import Listener
from receiver.operations import ChangeOperations, Operations
from receiver.planning.status import SlotStatus, StatusReport
from tests.support.github_server import FakeGitHub
from tests.support.promotion_scenario import STAGING, PromotionScenario

TOKEN = "a token of the tests"
PATH = "/models/staging/churn-model"
ROW = SlotStatus("staging", "churn-model", 2, 2, 2, 2, "in sync", "", None, None, None)


@dataclass
class Acting:
    """A dashboard with a token, and what it writes to."""

    client: httpx.Client
    scenario: PromotionScenario
    requests: RequestRecords

    def post(self, name: str, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        given = {"who": "Ann", "token": TOKEN, **fields}
        return self.client.post(f"{PATH}/{name}", data=given, headers=headers)

    def recorded(self) -> list[tuple[str, str]]:
        return [(entry.who, entry.action) for entry in self.requests.of(STAGING)]


@contextmanager
def acting_dashboard(directory: Path, github: FakeGitHub, url: str) -> Iterator[Acting]:
    """Versions 1 and 2 were live in staging, and 3 is registered."""
    scenario = PromotionScenario(directory, url, github)
    scenario.register("long", "long", "long")
    for version in (1, 2):
        scenario.pin(version, 1)
        scenario.run()
    services, requests = scenario.services, RequestRecords(scenario.flow.database)

    def build(who: str) -> tuple[Operations, ChangeOperations]:
        changes = ChangeOperations(services, lambda: scenario.upstream, requests, who)
        return Operations(services.journal, Queue(scenario.flow.database), requests, who), changes

    offered = Actions(SecretStr(TOKEN), services, build, Redactor([TOKEN]))
    config = admin_config(
        scenario.flow.database, lambda: StatusReport("1f" * 20, None, [ROW]), 0, None, Sources(actions=offered)
    )
    listener = Listener(config, "admin")
    listener.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.port}", timeout=30) as client:
        yield Acting(client, scenario, requests)
    listener.stop()
