"""``policy: {isolation: required}``: the flow serves nothing new where a model would have the receiver's rights."""

from dataclasses import replace
from pathlib import Path

import pytest

from ml.environment.file import parse_environment
from receiver.core.deployment import Outcome
from receiver.services import Services
from receiver.settings import Settings
from receiver.wiring import build, open_database
from tests.support.flow import MODEL, Flow
from tests.support.one_pass import reconcile

STAGING = f"""\
environment: staging
registry: {{stage: Staging, alias: staging}}
policy: {{isolation: required}}
gate: {{accuracy: {{min: 0.8}}}}
models:
  {MODEL}: {{version: 1, port: 8000, override: {{version: 1, reason: in a hurry}}}}
"""


def outcomes(services: Services) -> list[Outcome]:
    return list(reconcile(services, "push").outcomes.values())


def test_an_environment_that_requires_isolation_is_served_with_it_and_refused_without(tmp_path: Path) -> None:
    flow = Flow(tmp_path)
    flow.registry.register(MODEL, {"MLmodel": "v1"})
    assert parse_environment(STAGING.encode(), "staging.yaml").needs_isolation
    flow.source.commit({"environments/staging.yaml": STAGING.encode()})
    assert outcomes(replace(flow.services, unconfined=lambda: "nothing confines it")) == [Outcome.REFUSED]
    assert not flow.target.servers
    assert outcomes(replace(flow.services, unconfined=str)) == [Outcome.LIVE]


@pytest.mark.parametrize(("target", "isolated"), [("process", False), ("compose", True)])
def test_containers_are_isolated_and_processes_only_where_they_are_confined(
    target: str, isolated: bool, tmp_path: Path
) -> None:
    settings = Settings(
        pinrail_state_dir=tmp_path,
        pinrail_repo_url="file:///nowhere",
        pinrail_target=target,
        pinrail_confine=False,
    )
    database = open_database(settings)
    assert (build(settings, database).unconfined() == "") is isolated
    database.close()
