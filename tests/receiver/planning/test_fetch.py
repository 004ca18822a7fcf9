"""A version is downloaded by the reconciler, once, before it is judged; whoever only looks says what is missing."""

from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.deployment import Outcome
from receiver.core.errors import ArtifactsChanged
from receiver.core.policy import HoldState
from receiver.planning.assess import assess
from receiver.planning.observe import observe_head
from receiver.planning.status import SlotStatus, status_report
from tests.support.evidence import KEY
from tests.support.flow import MODEL, Flow

STAGING = "its artifacts are not here yet: the receiver downloads what is missing, and then decides"


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    flow = Flow(tmp_path, soak="30m")
    flow.register(1)
    return flow


def status(flow: Flow, environment: str = "staging") -> SlotStatus:
    return next(
        row
        for row in status_report(flow.services, observe_head(flow.services)).slots
        if row.environment == environment
    )


def outcomes(flow: Flow) -> list[Outcome]:
    return list(flow.run("timer").outcomes.values())


def test_a_status_downloads_nothing_and_says_that_the_version_is_not_here(flow: Flow) -> None:
    flow.pin(staging=1)
    found = status(flow)
    assert (found.state, found.reason) == ("unfetched", STAGING)
    assert flow.registry.fetches == []
    assert outcomes(flow) == [Outcome.LIVE]
    assert flow.registry.fetches == [(MODEL, 1)]
    assert status(flow).state == "in sync"


def test_a_version_that_waits_for_its_soak_is_downloaded_once(flow: Flow) -> None:
    flow.pin(staging=1)
    flow.run()
    flow.pin(staging=1, production=1)
    for _ in range(3):
        flow.run("timer")
        assert status(flow, "production").state == "waiting"
    assert flow.registry.fetches == [(MODEL, 1)]


def test_evidence_that_was_recorded_since_is_read_before_it_is_judged(flow: Flow) -> None:
    evidence = flow.registry.models[MODEL][1].evidence
    recorded = dict(evidence)
    evidence.clear()
    flow.pin(staging=1)
    assert outcomes(flow) == [Outcome.REFUSED]
    evidence.update(recorded)
    found = status(flow)
    assert (found.state, found.reason.partition(":")[0]) == ("unfetched", "its evidence has not been read yet")
    assert outcomes(flow) == [Outcome.LIVE]
    assert flow.registry.fetches == [(MODEL, 1)], "the artifacts are here"


def test_artifacts_that_were_changed_and_restored_are_downloaded_again_after_a_while(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = flow.registry.models[MODEL][1]
    good, version.digest = version.digest, "sha256:" + "e" * 64
    flow.pin(staging=1)
    assert outcomes(flow) == [Outcome.REFUSED]
    version.digest = good
    seen = len(flow.registry.fetches)
    assert outcomes(flow) == []
    assert len(flow.registry.fetches) == seen, "not at every look"
    assert (status(flow).state, "the model has changed" in status(flow).reason) == ("refused", True)
    monkeypatch.setattr("receiver.planning.assess.REFETCH_SECONDS", -1.0)
    assert status(flow).state == "refused", "looking downloads nothing"
    assert outcomes(flow) == [Outcome.LIVE]
    assert flow.registry.writes


def test_artifacts_that_the_gate_measured_after_we_had_fetched_others_are_downloaded_at_once(flow: Flow) -> None:
    version = flow.registry.models[MODEL][1]
    version.evidence.clear()
    flow.pin(staging=1)
    assert outcomes(flow) == [Outcome.REFUSED]
    version.digest = "sha256:" + "e" * 64
    flow.record(1)
    assert outcomes(flow) == [Outcome.LIVE]
    (live,) = flow.target.servers.values()
    assert live.spec.digest == version.digest


def test_artifacts_that_change_after_they_were_fetched_change_nothing_of_what_is_started(flow: Flow) -> None:
    flow.pin(staging=1)
    flow.run()
    good = flow.registry.models[MODEL][1].digest
    flow.registry.models[MODEL][1].digest = "sha256:" + "e" * 64
    flow.soak = "0s"
    flow.record(1)
    evidence = flow.registry.models[MODEL][1].evidence
    for name, recorded in evidence.items():
        assert not isinstance(recorded, str)
        evidence[name] = KEY.sign(replace(recorded, model_digest=good))
    flow.pin(staging=1, production=1)
    assert outcomes(flow) == [Outcome.LIVE]
    assert {server.spec.digest for server in flow.target.servers.values()} == {good}


def test_missing_artifacts_are_asked_for_once_while_the_registry_describes_the_version_the_same(flow: Flow) -> None:
    version = flow.registry.models[MODEL][1]
    path, version.path = version.path, Path("/nowhere")
    flow.pin(staging=1)
    assert outcomes(flow) == [Outcome.REFUSED]
    found = status(flow)
    assert found.state == "refused"
    assert found.reason == f"the artifacts of {MODEL} version 1 are missing"
    assert outcomes(flow) == [], "the same again is no news"
    assert len(flow.registry.fetches) == 1
    version.path, version.updated = path, version.updated + 1
    assert outcomes(flow) == [Outcome.LIVE]
    assert len(flow.registry.fetches) == 2


def test_damaged_evidence_is_read_once_until_other_evidence_is_recorded(flow: Flow) -> None:
    flow.registry.models[MODEL][1].evidence["staging"] = "the evidence is damaged"
    flow.pin(staging=1)
    assert outcomes(flow) == [Outcome.REFUSED]
    assert [outcomes(flow), outcomes(flow)] == [[], []]
    assert (status(flow).state, status(flow).reason) == ("refused", "the evidence is damaged")
    assert len(flow.registry.evidence_reads) == 1
    flow.record(1)
    assert outcomes(flow) == [Outcome.LIVE]


def test_a_version_that_is_registered_anew_while_it_soaks_is_judged_by_its_new_bytes(flow: Flow) -> None:
    flow.pin(staging=1)
    flow.run()
    flow.pin(staging=1, production=1)
    assert outcomes(flow) == [Outcome.WAITING]
    old = flow.registry.models[MODEL][1]
    flow.registry.models[MODEL][1] = replace(old, digest="sha256:" + "e" * 64)
    assert status(flow, "production").state == "unfetched"
    assert outcomes(flow) == [Outcome.REFUSED]
    assert "the model has changed" in status(flow, "production").reason


def test_other_bytes_found_before_the_start_are_refused_with_nothing_written_and_judged_anew(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(model: str, version: int, digest: str) -> Path:
        monkeypatch.undo()
        raise ArtifactsChanged(f"{model} version {version} has other artifacts than it should")

    monkeypatch.setattr(flow.registry, "artifacts", other)
    flow.pin(staging=1)
    report = flow.run()
    (deployment,) = flow.journal.history(report.seen.slots()[0])
    assert (deployment.state, "other artifacts" in deployment.reason) == (Outcome.REFUSED, True)
    assert (flow.registry.writes, flow.target.servers, flow.journal.quarantined(deployment.draft.revision)) == (
        [],
        {},
        [],
    )
    assert outcomes(flow) == [Outcome.LIVE], "what is there now is as it was measured"


def test_a_version_without_an_input_example_is_refused_before_anything_is_tried(flow: Flow) -> None:
    flow.pin(staging=1)
    flow.prober.without_example.add(1)
    assert outcomes(flow) == [Outcome.REFUSED]
    assert (status(flow).state, status(flow).reason) == ("refused", "v1 has no input example")
    assert not flow.target.servers
    assert not flow.journal.quarantined()
    flow.prober.without_example.clear()
    assert outcomes(flow) == [Outcome.LIVE]


def test_an_override_needs_no_evidence_not_even_a_sound_one(flow: Flow) -> None:
    flow.registry.models[MODEL][1].evidence["staging"] = "the evidence is damaged"
    files = flow.files(1, None)
    path = "environments/staging.yaml"
    files[path] = files[path].replace(b"port: 8000", b'port: 8000, override: {version: 1, reason: "tried by hand"}')
    flow.source.commit(files)
    assert outcomes(flow) == [Outcome.LIVE]


def test_a_registry_that_goes_away_before_the_download_is_asked_again_later(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow.pin(staging=1)
    seen = observe_head(flow.services)
    flow.registry.reachable = False
    assert {row.state for row in status_report(flow.services, seen).slots} == {"unfetched"}, "as it was seen"
    assert set(flow.run("timer").deferred) == {"the registry did not answer"}


def test_deciding_asks_the_registry_nothing(flow: Flow) -> None:
    flow.pin(staging=1, production=1)
    flow.run()
    seen = observe_head(flow.services)
    before = [assess(flow.services, seen, slot) for slot in seen.slots()]
    flow.registry.reachable = False
    assert [assess(flow.services, seen, slot) for slot in seen.slots()] == before
    assert [found.hold.state for found in before if found.hold] == [HoldState.WAITING]


def test_a_pin_that_is_newer_than_the_view_of_the_registry_waits_and_is_not_refused(flow: Flow) -> None:
    flow.register(2)
    flow.pin(staging=1)
    older = observe_head(flow.services).registry
    flow.pin(staging=2)
    seen = replace(observe_head(flow.services), registry=older)
    (found,) = [assess(flow.services, seen, slot) for slot in seen.slots()]
    assert (found.hold, found.retry) == (None, f"the registry has not been asked about {MODEL} v2 yet")
    (found,) = [assess(flow.services, replace(seen, registry={}), slot) for slot in seen.slots()]
    assert (found.hold, found.retry) == (None, f"the registry has not been asked about {MODEL} v2 yet")


def test_what_is_not_registered_is_refused_and_the_registry_is_asked_nothing_more(flow: Flow) -> None:
    flow.pin(staging=7)
    assert outcomes(flow) == [Outcome.REFUSED]
    assert status(flow).reason == (
        f"{MODEL} has no version 7 in the registry; its newest is v1: register it, or correct the pin"
    )
    del flow.registry.models[MODEL]
    assert outcomes(flow) == [Outcome.REFUSED]
    assert status(flow).reason == f"the registry has no model {MODEL}: register it, or correct the pin"


def test_a_refusal_that_is_recorded_already_makes_no_messages(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    flow.pin(staging=7, production=7)
    assert outcomes(flow) == [Outcome.REFUSED, Outcome.REFUSED]
    monkeypatch.setattr(flow.journal, "at", lambda *_: pytest.fail("the statuses of the commit were put together"))
    assert outcomes(flow) == []
