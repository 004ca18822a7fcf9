"""The flow: what is deployed, in which order, and what is rolled back. Faults are thrown at every point of it."""

import itertools
import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from receiver.core.deployment import DRIFT, Outcome
from receiver.core.errors import Rejected, Retryable, VersionFailed
from receiver.core.plan import Action, ActionKind
from receiver.core.quarantine import Freeze, Quarantine, terms_of
from receiver.core.state import Server, ServerSpec, Slot
from receiver.planning.observe import observe_head
from receiver.ports import Snapshot
from receiver.reconciler.reconcile import close_interrupted
from tests.support.flow import MODEL, Flow
from tests.support.killing import Killed, killing, unwrap
from tests.support.registry_views import view_of

STAGING, PRODUCTION = Slot("staging", MODEL), Slot("production", MODEL)


@pytest.fixture
def flow(tmp_path: Path) -> Flow:
    flow = Flow(tmp_path)
    flow.register(1, 2, 3)
    return flow


@pytest.fixture
def settled(flow: Flow) -> Flow:
    """Version 1 is live and verified in both environments."""
    flow.pin(staging=1, production=1)
    flow.run()
    assert flow.serving() == {"staging": 1, "production": 1}
    return flow


def outcomes(flow: Flow, slot: Slot) -> list[Outcome]:
    return [d.state for d in flow.journal.history(slot)]


def notified(flow: Flow) -> list[str]:
    """What people were told, oldest first."""
    rows = flow.database.connection().execute("SELECT body FROM outbox WHERE channel = 'notify' ORDER BY id")
    return [json.loads(row["body"])["title"] for row in rows]


def held(flow: Flow, version: int) -> Quarantine:
    """A quarantine of the pinned version in staging, as the slot is pinned now."""
    seen = observe_head(flow.services)
    environment, pin = seen.pin(STAGING)
    assert environment is not None
    assert pin is not None
    terms = terms_of(environment, pin)
    return Quarantine(STAGING, version, seen.snapshot.commit, "", needs_human=False, since=time.time(), terms=terms)


def last_reason(flow: Flow, slot: Slot) -> str:
    return flow.journal.history(slot)[-1].reason


def test_a_merged_pin_is_served_and_registered(flow: Flow) -> None:
    flow.pin(staging=1)
    flow.run()
    assert flow.serving() == {"staging": 1, "production": None}
    assert flow.aliases() == {"staging": 1}
    assert flow.stages() == {1: "Staging"}
    assert outcomes(flow, STAGING) == [Outcome.LIVE]


def test_both_environments_are_brought_up_lower_one_first(settled: Flow) -> None:
    assert settled.aliases() == {"staging": 1, "production": 1}
    assert settled.stages() == {1: "Production"}
    first, second = settled.journal.recent()[::-1]
    assert (first.draft.slot, second.draft.slot) == (STAGING, PRODUCTION)


def test_an_in_sync_look_writes_nothing(settled: Flow) -> None:
    deployments, writes = len(settled.journal.recent()), len(settled.registry.writes)
    report = settled.run("timer")
    assert not report.outcomes
    assert (len(settled.journal.recent()), len(settled.registry.writes)) == (deployments, writes)


def test_a_merge_that_changes_no_pin_restarts_nothing(settled: Flow) -> None:
    servers = settled.target.observe()
    settled.source.commit({**settled.files(1, 1), "README.md": b"news"})
    settled.run()
    assert settled.target.observe() == servers


def test_a_promotion_archives_who_leaves(settled: Flow) -> None:
    settled.pin(staging=2, production=1)
    settled.run()
    settled.pin(staging=2, production=2)
    settled.run()
    assert settled.serving() == {"staging": 2, "production": 2}
    assert settled.stages() == {1: "Archived", 2: "Production"}
    assert len(settled.target.observe()) == 2


def test_a_git_revert_is_a_legitimate_downgrade_without_gate_or_soak(settled: Flow) -> None:
    settled.pin(staging=2, production=2)
    settled.run()
    settled.registry.models[MODEL][1].evidence.clear()
    settled.pin(staging=2, production=1)
    settled.run()
    assert settled.serving() == {"staging": 2, "production": 1}
    assert settled.stages() == {1: "Production", 2: "Staging"}


def test_a_version_that_fails_its_smoke_test_never_gets_traffic(settled: Flow) -> None:
    settled.prober.failing_smoke.add(2)
    settled.pin(staging=2, production=1)
    settled.run()
    assert settled.serving()["staging"] == 1
    assert (settled.aliases()["staging"], settled.stages()) == (1, {1: "Production"})
    assert outcomes(settled, STAGING)[-1] is Outcome.ROLLED_BACK
    assert "v2 answered 500" in last_reason(settled, STAGING)
    assert 2 not in settled.prober.watched
    assert len(settled.target.observe()) == 2


def test_a_version_that_fails_under_watch_is_rolled_back_traffic_first(settled: Flow) -> None:
    settled.prober.slow_watch.add(2)
    settled.pin(staging=2, production=1)
    settled.run()
    assert settled.serving()["staging"] == 1
    assert settled.aliases()["staging"] == 1
    kinds = [step.action.kind for step in settled.journal.steps(settled.journal.history(STAGING)[-1].id)]
    back = kinds[kinds.index(ActionKind.WATCH) + 1 :]
    assert back.index(ActionKind.SWITCH) < back.index(ActionKind.ALIAS)
    assert ActionKind.START not in back, "the old server was warm"


def test_a_change_of_what_is_recorded_starts_the_same_version_anew(settled: Flow) -> None:
    files = settled.files(1, 1)
    files["environments/staging.yaml"] += b"log: {sample: 0.5}\n"
    settled.source.commit(files)
    settled.run()
    assert settled.serving() == {"staging": 1, "production": 1}
    recorded = {server.spec.slot: server.spec.log for server in settled.target.observe()}
    assert recorded == {STAGING: '{"sample":0.5}', PRODUCTION: ""}


def test_what_failed_is_not_tried_again_until_the_pin_is_changed(settled: Flow) -> None:
    settled.prober.slow_watch.add(2)
    settled.pin(staging=2, production=1)
    settled.run()
    before = len(settled.journal.recent())
    settled.prober.slow_watch.clear()
    settled.source.commit({**settled.files(2, 1), "environments/notes.txt": b"another file"})
    settled.run("timer")
    assert len(settled.journal.recent()) == before
    settled.pin(staging=1, production=1)
    settled.run()
    settled.pin(staging=2, production=1)
    settled.run()
    assert settled.serving()["staging"] == 2


def test_what_was_taken_out_of_staging_has_to_prove_itself_there_anew_before_production(settled: Flow) -> None:
    settled.pin(staging=2, production=1)
    settled.run()
    settled.journal.quarantine(replace(held(settled, 2), reason="complaints from sales", manual=True))
    settled.run()
    assert settled.serving()["staging"] == 1
    settled.pin(staging=1, production=2)
    settled.run()
    assert outcomes(settled, PRODUCTION)[-1] is Outcome.REFUSED
    assert "complaints from sales" in last_reason(settled, PRODUCTION)
    refused = settled.journal.history(PRODUCTION)[-1].draft
    assert (refused.to_version, refused.digest) == (2, None), "the digest of v1 is not its"
    settled.pin(staging=2, production=2)
    settled.run()
    settled.run()
    assert settled.serving() == {"staging": 2, "production": 2}


def test_a_frozen_slot_takes_nothing_new_and_is_healed_and_rolled_back(settled: Flow) -> None:
    settled.journal.freeze(Freeze("staging", None, "the quarter ends", 1.0))
    settled.pin(staging=2, production=1)
    settled.run()
    assert (settled.serving()["staging"], last_reason(settled, STAGING)) == (1, "the quarter ends")
    settled.target.die(next(s for s in settled.target.observe() if s.spec.slot == STAGING))
    settled.run()
    assert settled.serving()["staging"] == 1
    assert settled.journal.unfreeze("staging", None)
    settled.run()
    assert settled.serving()["staging"] == 2


def test_a_server_that_died_comes_back_before_what_is_newly_pinned_is_proven(settled: Flow) -> None:
    settled.target.die(next(s for s in settled.target.observe() if s.spec.slot == STAGING))
    settled.pin(staging=2, production=1)
    settled.run()
    assert settled.serving()["staging"] == 1
    settled.run()
    assert settled.serving()["staging"] == 2


def test_where_the_old_version_cannot_be_restored_the_pinned_one_may_be_the_way_out(settled: Flow) -> None:
    settled.target.die(next(s for s in settled.target.observe() if s.spec.slot == STAGING))
    settled.target.broken = frozenset({1})
    settled.pin(staging=2, production=1)
    settled.run()
    settled.run()
    assert settled.serving()["staging"] == 2


@pytest.mark.parametrize("error", [Rejected("403"), Retryable("503"), OSError(28, "No space left on device")])
def test_what_is_not_the_versions_fault_condemns_no_version_and_goes_on_by_itself(
    settled: Flow, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuses(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(settled.registry, "set_alias", refuses)
        settled.pin(staging=2, production=1)
        settled.run()
    assert outcomes(settled, STAGING)[-1] is Outcome.INTERRUPTED
    assert settled.serving()["staging"] == 1
    assert settled.journal.quarantined() == []
    settled.run()
    assert settled.serving()["staging"] == 2


def test_lifting_the_quarantine_tries_again(settled: Flow) -> None:
    settled.prober.slow_watch.add(2)
    settled.pin(staging=2, production=1)
    settled.run()
    settled.prober.slow_watch.clear()
    settled.journal.lift(STAGING)
    settled.run("retry")
    assert settled.serving()["staging"] == 2


def test_a_candidate_that_never_had_traffic_is_nothing_to_go_back_to(flow: Flow) -> None:
    digest = flow.registry.models[MODEL][1].digest
    flow.target.start(ServerSpec(STAGING, 1, digest, "Staging", 8000, "c" * 40))
    flow.prober.slow_watch.add(2)
    flow.pin(staging=2)
    flow.run()
    assert flow.serving()["staging"] is None


def test_what_was_done_before_a_version_was_verified_is_not_to_be_undone(settled: Flow) -> None:
    assert settled.journal.touched(STAGING) == []
    settled.prober.failing_smoke.add(2)
    settled.pin(staging=2, production=1)
    settled.run()
    assert [action.kind for action in settled.journal.touched(STAGING)][:2] == [ActionKind.START, ActionKind.PROVE]


def test_lifting_one_slots_quarantine_leaves_the_others(flow: Flow) -> None:
    slots = {STAGING, PRODUCTION, Slot("staging", "another-model")}
    for slot in slots:
        flow.journal.quarantine(Quarantine(slot, 2, "c" * 40, "it answered 500", needs_human=False, since=1.0))
    flow.journal.lift(STAGING)
    assert {entry.slot for entry in flow.journal.quarantined()} == slots - {STAGING}


def test_a_first_version_that_fails_leaves_the_registry_as_it_was_found(flow: Flow) -> None:
    flow.registry.set_alias(MODEL, "staging", 3)
    flow.registry.set_stage(MODEL, 3, "Staging")
    flow.prober.slow_watch.add(1)
    flow.pin(staging=1)
    flow.run()
    assert flow.aliases() == {"staging": 3}
    assert flow.stages() == {3: "Staging"}
    assert flow.target.observe() == []
    assert outcomes(flow, STAGING) == [Outcome.ROLLED_BACK]


def test_when_the_rollback_fails_too_the_slot_is_held_for_a_human(settled: Flow) -> None:
    settled.prober.slow_watch |= {1, 2}
    settled.pin(staging=2, production=1)
    settled.run()
    assert outcomes(settled, STAGING)[-1] is Outcome.NEEDS_HUMAN
    assert "the rollback failed too" in last_reason(settled, STAGING)
    before = len(settled.journal.recent())
    settled.run("timer")
    assert len(settled.journal.recent()) == before, "held: no storm of attempts"


def test_a_new_port_that_is_taken_puts_everything_back_where_it_was(settled: Flow) -> None:
    settled.target.foreign_ports.add(9000)
    moved = {path: raw.replace(b"port: 8000", b"port: 9000") for path, raw in settled.files(2, 1).items()}
    settled.source.commit(moved)
    for cause in ("push", "timer"):
        settled.run(cause)
        assert outcomes(settled, STAGING)[-1] is Outcome.INTERRUPTED
        assert settled.serving()["staging"] == 1
        assert (settled.aliases()["staging"], settled.stages()) == (1, {1: "Production", 2: "Archived"})
    settled.target.foreign_ports.clear()
    settled.run("timer")
    assert settled.target.public_version(9000) == 2


def moved(flow: Flow, port: int) -> str:
    """Merge a commit that gives staging's pin another port."""
    now = {path: raw.replace(b"port: 8000", b"port: %d" % port) for path, raw in flow.files(1, 1).items()}
    return flow.source.commit(now)


def test_another_port_is_a_deployment_and_no_drift(tmp_path: Path) -> None:
    flow = Flow(tmp_path, heal=False)
    flow.register(1)
    flow.pin(staging=1)
    flow.run()
    flow.source.commit({p: raw.replace(b"port: 8000", b"port: 9000") for p, raw in flow.files(1, None).items()})
    flow.run()
    assert (flow.target.public_version(9000), flow.target.public_version(8000)) == (1, None)
    last = flow.journal.history(STAGING)[-1]
    assert (last.state, str(last.draft.cause)) == (Outcome.LIVE, "push")


def test_another_port_that_is_taken_leaves_everything_where_it_was_and_is_tried_again(settled: Flow) -> None:
    settled.target.foreign_ports.add(9000)
    moved(settled, 9000)
    settled.run()
    assert outcomes(settled, STAGING)[-1] is Outcome.INTERRUPTED
    assert (settled.serving()["staging"], settled.journal.quarantined()) == (1, [])
    assert [s.spec.port for s in settled.target.observe() if s.spec.slot == STAGING] == [8000]
    settled.target.foreign_ports.clear()
    settled.run("timer")
    assert settled.target.public_version(9000) == 1


def test_a_version_that_does_not_come_up_on_its_new_port_is_not_condemned(settled: Flow) -> None:
    settled.prober.slow_watch.add(1)
    moved(settled, 9000)
    settled.run()
    assert (settled.serving()["staging"], settled.journal.quarantined()) == (1, [])


def test_a_refused_version_moves_nothing_to_the_port_that_is_pinned_beside_it(settled: Flow) -> None:
    settled.registry.models[MODEL][2].evidence.clear()
    settled.source.commit({p: raw.replace(b"port: 8000", b"port: 9000") for p, raw in settled.files(2, 1).items()})
    settled.run()
    assert outcomes(settled, STAGING)[-1] is Outcome.REFUSED
    assert settled.serving()["staging"] == 1


def test_a_frozen_slot_still_says_what_its_gate_refuses(settled: Flow) -> None:
    settled.journal.freeze(Freeze("staging", MODEL, "an audit", 1.0))
    settled.registry.models[MODEL][2].evidence.clear()
    settled.pin(staging=2, production=1)
    settled.run()
    assert outcomes(settled, STAGING)[-1] is Outcome.REFUSED
    assert "has no evidence for staging" in last_reason(settled, STAGING)
    assert settled.journal.unfreeze("staging", MODEL)
    assert settled.serving()["staging"] == 1


def test_a_frozen_slot_keeps_its_port(settled: Flow) -> None:
    settled.journal.freeze(Freeze("staging", MODEL, "an audit", 1.0))
    moved(settled, 9000)
    settled.run()
    assert (settled.serving()["staging"], last_reason(settled, STAGING)) == (1, "an audit")
    settled.journal.unfreeze("staging", MODEL)
    settled.run()
    assert settled.target.public_version(9000) == 1


def test_what_fails_on_a_new_port_gives_way_to_the_warm_server_on_the_old_one(settled: Flow) -> None:
    settled.prober.slow_watch.add(2)
    settled.source.commit({p: raw.replace(b"port: 8000", b"port: 9000") for p, raw in settled.files(2, 1).items()})
    settled.run()
    assert outcomes(settled, STAGING)[-1] is Outcome.ROLLED_BACK
    assert [(s.id, s.spec.port) for s in settled.target.observe() if s.spec.slot == STAGING] == [("fake-1", 8000)]


def test_a_needs_human_slot_does_not_hold_up_the_others(settled: Flow) -> None:
    settled.prober.slow_watch |= {1, 2}
    settled.pin(staging=2, production=1)
    settled.run()
    settled.prober.slow_watch.clear()
    settled.target.die(next(s for s in settled.target.observe() if s.spec.slot == PRODUCTION))
    settled.run("timer")
    assert settled.serving()["production"] == 1


def test_a_refusal_is_recorded_once_and_touches_nothing(settled: Flow) -> None:
    settled.registry.models[MODEL][2].evidence.clear()
    settled.pin(staging=2, production=1)
    writes = len(settled.registry.writes)
    for _ in range(3):
        settled.run()
    assert outcomes(settled, STAGING) == [Outcome.LIVE, Outcome.REFUSED]
    assert "no evidence for staging" in last_reason(settled, STAGING)
    assert len(settled.registry.writes) == writes
    assert settled.serving()["staging"] == 1


def test_a_version_that_does_not_exist_is_refused_before_any_change(settled: Flow) -> None:
    settled.pin(staging=9, production=1)
    settled.run()
    assert "no version 9" in last_reason(settled, STAGING)
    assert settled.serving()["staging"] == 1


@pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION"])
def test_a_version_that_is_not_ready_is_refused(settled: Flow, status: str) -> None:
    settled.registry.models[MODEL][2].status = status
    settled.pin(staging=2, production=1)
    settled.run()
    assert status in last_reason(settled, STAGING)


def test_a_soak_makes_production_wait_and_says_when_to_look_again(tmp_path: Path) -> None:
    flow = Flow(tmp_path, soak="1h")
    flow.register(1)
    flow.pin(staging=1, production=1)
    report = flow.run()
    assert flow.serving() == {"staging": 1, "production": None}
    assert outcomes(flow, PRODUCTION) == [Outcome.WAITING]
    verified = flow.journal.verified()[STAGING].at
    assert report.next_check_at == pytest.approx(verified + 3600)


def test_an_override_waives_gate_and_soak_for_its_version_only_and_is_recorded(settled: Flow) -> None:
    for version in (2, 3):
        settled.registry.models[MODEL][version].evidence.clear()
    files = settled.files(staging=1, production=2)
    line = b'override: {version: 2, reason: "a customer waits"}}'
    files["environments/production.yaml"] = files["environments/production.yaml"].replace(b"8001}", b"8001, " + line)
    settled.source.commit(files)
    settled.run()
    assert settled.serving()["production"] == 2
    assert settled.journal.history(PRODUCTION)[-1].draft.override == "a customer waits"
    files["environments/production.yaml"] = files["environments/production.yaml"].replace(
        b"{version: 2, port", b"{version: 3, port"
    )
    settled.source.commit(files)
    settled.run()
    assert outcomes(settled, PRODUCTION)[-1] is Outcome.REFUSED
    assert settled.serving()["production"] == 2


def test_an_alias_moved_by_hand_is_healed_and_named(settled: Flow) -> None:
    settled.registry.set_alias(MODEL, "production", 3)
    settled.run("timer")
    assert settled.aliases()["production"] == 1
    healed = settled.journal.history(PRODUCTION)[-1]
    assert healed.draft.cause == DRIFT
    assert [str(action) for action in healed.draft.plan] == ["alias production: v3 -> v1"]


def test_a_dead_server_is_started_again(settled: Flow) -> None:
    settled.target.die(settled.target.observe()[0])
    settled.run("timer")
    assert settled.serving() == {"staging": 1, "production": 1}


def test_with_healing_off_drift_is_reported_and_left_alone(tmp_path: Path) -> None:
    flow = Flow(tmp_path, heal=False)
    flow.register(1, 2)
    flow.pin(staging=1)
    flow.run()
    flow.registry.set_alias(MODEL, "staging", 2)
    report = flow.run("timer")
    assert report.drift == ["staging/churn-model: alias staging: v2 -> v1"]
    assert flow.aliases()["staging"] == 2


def test_with_the_registry_down_servers_are_healed_and_new_versions_wait(settled: Flow) -> None:
    settled.registry.reachable = False
    settled.target.die(next(s for s in settled.target.observe() if s.spec.slot == PRODUCTION))
    settled.pin(staging=2, production=1)
    report = settled.run()
    assert settled.serving() == {"staging": 1, "production": 1}
    assert report.deferred
    settled.registry.reachable = True
    settled.run()
    assert settled.serving() == {"staging": 2, "production": 1}


def test_with_git_down_the_last_fetched_head_is_held(settled: Flow) -> None:
    settled.source.reachable = False
    settled.target.die(settled.target.observe()[0])
    report = settled.run("timer")
    assert settled.serving() == {"staging": 1, "production": 1}
    assert report.deferred


def test_pins_that_are_not_valid_change_nothing_anywhere(settled: Flow) -> None:
    files = settled.files(staging=2, production=2)
    files["environments/production.yaml"] += b"version: 1_000\n"
    settled.source.commit(files)
    with pytest.raises(Rejected, match=r"environments/production.yaml:\d+"):
        settled.run()
    assert settled.serving() == {"staging": 1, "production": 1}


def test_with_pins_that_are_not_valid_what_was_verified_is_kept_running_and_nothing_new_comes(settled: Flow) -> None:
    settled.pin(staging=2, production=1)
    settled.registry.models[MODEL][2].evidence.clear()
    settled.run()
    assert outcomes(settled, STAGING)[-1] is Outcome.REFUSED
    settled.source.commit({**settled.files(staging=3, production=3), "environments/production.yaml": b"{"})
    settled.target.die(next(s for s in settled.target.observe() if s.spec.slot == PRODUCTION))
    with pytest.raises(Rejected):
        settled.run()
    assert settled.serving() == {"staging": 1, "production": 1}


def test_an_environment_file_that_disappears_is_refused_never_torn_down(settled: Flow) -> None:
    files = settled.files(staging=1, production=1)
    del files["environments/production.yaml"]
    settled.source.commit(files)
    with pytest.raises(Rejected, match="production still serves models"):
        settled.run()
    assert settled.serving() == {"staging": 1, "production": 1}


def test_a_removed_pin_ends_its_server_and_gives_up_its_alias(settled: Flow) -> None:
    settled.pin(staging=1, production=None)
    settled.run()
    assert settled.serving() == {"staging": 1, "production": None}
    assert settled.aliases() == {"staging": 1}
    assert settled.stages() == {1: "Staging"}
    assert not settled.run("timer").outcomes


def test_a_removal_that_fails_is_not_reported_as_a_rollback_and_continues_at_the_next_reconciliation(
    settled: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(_: Server) -> None:
        raise Rejected("the engine refuses")

    settled.pin(staging=1, production=None)
    with monkeypatch.context() as patched:
        patched.setattr(settled.target, "retire", refuses)
        for _ in range(3):
            settled.run("timer")
    assert set(outcomes(settled, PRODUCTION)[1:]) == {Outcome.NEEDS_HUMAN}
    assert settled.serving()["production"] == 1
    settled.run("timer")
    assert (settled.serving()["production"], outcomes(settled, PRODUCTION)[-1]) == (None, Outcome.LIVE)
    assert notified(settled)[-2:] == [
        "churn-model in production NEEDS A HUMAN: v1 cannot be taken away",
        "churn-model was taken out of production (was v1)",
    ]


def test_a_removed_pin_of_which_nothing_is_left_is_over_and_its_file_may_go(settled: Flow) -> None:
    settled.target.die(next(s for s in settled.target.observe() if s.spec.slot == PRODUCTION))
    settled.registry.models.clear()
    settled.pin(staging=1, production=None)
    settled.run()
    assert settled.journal.verified()[PRODUCTION].version is None
    settled.source.commit({"environments/staging.yaml": settled.files(1, None)["environments/staging.yaml"]})
    assert not settled.run().outcomes


def test_with_the_registry_down_a_removal_waits_or_its_alias_would_stay_for_ever(settled: Flow) -> None:
    settled.pin(staging=1, production=None)
    settled.registry.reachable = False
    assert settled.run().deferred
    assert settled.serving()["production"] == 1
    settled.registry.reachable = True
    settled.run()
    assert (settled.serving()["production"], settled.aliases()) == (None, {"staging": 1})


@pytest.mark.parametrize("name", ["a-model", "z-model"])
def test_a_model_that_is_renamed_takes_the_port_over_from_its_old_name(settled: Flow, name: str) -> None:
    settled.registry.models[name] = {1: replace(settled.registry.models[MODEL][1], stage="None")}
    settled.registry.aliases[name] = {}
    files, path = settled.files(1, 1), "environments/production.yaml"
    override = b'port: 8001, override: {version: 1, reason: "the same under another name"}'
    files[path] = files[path].replace(MODEL.encode(), name.encode()).replace(b"port: 8001", override)
    settled.source.commit(files)
    for _ in range(2):
        report = settled.run()
    assert not report.deferred
    assert [s.spec.slot.model for s in settled.target.observe() if s.spec.port == 8001] == [name]
    assert settled.serving()["production"] == 1
    assert outcomes(settled, Slot("production", name)) == [Outcome.LIVE]


def test_what_cannot_be_healed_is_reported_once_though_its_log_tails_differ_and_a_refusal_stands_between(
    settled: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled.registry.models[MODEL][2].evidence.clear()
    settled.pin(staging=1, production=2)
    settled.run()
    settled.target.die(next(s for s in settled.target.observe() if s.spec.slot == PRODUCTION))
    attempts = itertools.count(1)

    def broken(spec: ServerSpec, _: object) -> Server:
        raise VersionFailed(f"{spec.slot} ended while it was starting.\nprocess {next(attempts)}: out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(settled.target, "start", broken)
        settled.run("timer")
        began = settled.journal.history(PRODUCTION)[-1].started_at
        for _ in range(3):
            settled.run("timer")
    assert outcomes(settled, PRODUCTION) == [Outcome.LIVE, Outcome.REFUSED, Outcome.NEEDS_HUMAN]
    assert settled.journal.history(PRODUCTION)[-1].started_at == began
    assert "process 4" in last_reason(settled, PRODUCTION)
    settled.run("timer")
    assert notified(settled)[2:] == [
        "churn-model v2 was refused for production; v1 stays",
        "churn-model in production NEEDS A HUMAN: v1 cannot be kept as it should be",
        "churn-model v1 is live in production (was v1)",
    ]


def test_a_version_that_fails_again_after_a_retry_is_reported_again(settled: Flow) -> None:
    settled.prober.slow_watch.add(2)
    settled.pin(staging=2, production=1)
    settled.run()
    settled.journal.lift(STAGING)
    settled.run("retry")
    assert notified(settled)[2:] == ["churn-model v2 was rolled back in staging; v1 is back"] * 2


def test_with_git_gone_and_no_mirror_left_what_was_verified_is_kept_running(
    settled: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> Snapshot:
        raise Retryable("the remote cannot be reached and the mirror is damaged")

    monkeypatch.setattr(settled.source, "snapshot", gone)
    settled.target.die(settled.target.observe()[0])
    with pytest.raises(Retryable, match="the mirror is damaged"):
        settled.run("timer")
    assert settled.serving() == {"staging": 1, "production": 1}


def test_a_bug_in_the_middle_is_rolled_back_and_is_not_the_versions_fault(
    settled: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(settled.registry, "set_alias", broken)
        settled.pin(staging=2, production=1)
        settled.run()
    assert settled.serving()["staging"] == 1
    assert outcomes(settled, STAGING)[-1] is Outcome.INTERRUPTED
    assert not settled.journal.quarantined()
    settled.run()
    assert settled.serving()["staging"] == 2


def test_a_bug_while_a_version_is_asked_is_the_versions_fault(settled: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    def overflows(server: Server, *_: object) -> None:
        if server.spec.version == 2:
            raise OverflowError("int too large to convert to float")

    monkeypatch.setattr(settled.prober, "prove", overflows)
    settled.pin(staging=2, production=1)
    settled.run()
    assert settled.serving()["staging"] == 1
    assert outcomes(settled, STAGING)[-1] is Outcome.ROLLED_BACK
    assert [q.version for q in settled.journal.quarantined()] == [2]


def test_a_registry_that_goes_away_in_the_middle_is_retried_not_rolled_back(
    settled: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Retryable("503")

    with monkeypatch.context() as patched:
        patched.setattr(settled.registry, "set_alias", away)
        settled.pin(staging=2, production=1)
        report = settled.run()
    assert outcomes(settled, STAGING)[-1] is Outcome.INTERRUPTED
    assert settled.serving()["staging"] == 1
    assert report.deferred == ["503"]
    settled.run()
    assert settled.serving()["staging"] == 2


def test_a_state_directory_that_was_lost_keeps_what_serves_and_proves_it_anew(settled: Flow, tmp_path: Path) -> None:
    fresh = Flow(tmp_path / "fresh")
    fresh.source, fresh.registry, fresh.target = settled.source, settled.registry, settled.target
    services = fresh.services
    object.__setattr__(services, "source", settled.source)
    object.__setattr__(services, "registry", settled.registry)
    object.__setattr__(services, "target", settled.target)
    servers = settled.target.observe()
    fresh.prober.slow_watch.add(2)
    settled.pin(staging=2, production=1)
    fresh.run()
    assert fresh.serving() == {"staging": 1, "production": 1}
    assert [s.id for s in settled.target.observe()] == [s.id for s in servers]


@pytest.mark.parametrize("bad", [None, "failing_smoke", "slow_watch"])
def test_killed_at_any_journal_write_it_converges_after_a_restart(tmp_path: Path, bad: str | None) -> None:
    """In memory, so that every boundary can be tried; tests/e2e does the same with real processes and SIGKILL."""
    boundary, finished = 0, False
    while not finished:
        boundary += 1
        flow = Flow(tmp_path / str(boundary))
        flow.register(1, 2)
        flow.pin(staging=1, production=1)
        flow.run()
        if bad:
            getattr(flow.prober, bad).add(2)
        flow.pin(staging=2, production=1)
        killing(flow.journal, boundary)
        try:
            flow.run()
            finished = True
        except Killed:
            pass
        unwrap(flow.journal)
        close_interrupted(flow.services, "killed")
        flow.run("startup")
        expected = 1 if bad else 2
        assert flow.serving() == {"staging": expected, "production": 1}, f"after boundary {boundary}"
        assert flow.aliases() == {"staging": expected, "production": 1}
        assert [s.spec.version for s in flow.target.observe() if s.spec.slot == STAGING] == [expected]
        assert all(d.state.terminal for d in flow.journal.recent())
        assert not flow.run("timer").outcomes
    assert boundary >= 10


def test_every_kind_of_action_has_a_handler() -> None:
    from receiver.reconciler.apply import HANDLERS

    assert set(HANDLERS) == set(ActionKind)


def test_an_action_reads_as_what_it_does() -> None:
    assert str(Action(ActionKind.ALIAS, "production", "v4", "v6")) == "alias production: v4 -> v6"


def test_a_restoration_that_fails_again_and_again_is_listed_once_and_counted(settled: Flow) -> None:
    settled.target.die(next(s for s in settled.target.observe() if s.spec.slot == STAGING))
    settled.target.broken = frozenset({1})
    for _ in range(4):
        settled.run("timer")
    last = settled.journal.history(STAGING)[-1]
    assert (last.state, last.repeats) == (Outcome.NEEDS_HUMAN, 3)
    assert last.ended_at is not None
    assert last.ended_at > last.started_at
    rows = settled.database.connection().execute("SELECT count(*) FROM deployments WHERE state = 'needs-human'")
    assert rows.fetchone()[0] == 4
    settled.target.broken = frozenset()
    settled.run("timer")
    assert [d.state for d in settled.journal.history(STAGING)][-2:] == [Outcome.NEEDS_HUMAN, Outcome.LIVE]


def test_of_two_models_in_one_environment_one_fails_and_the_other_goes_live(settled: Flow) -> None:
    """Each has its own outcome; the commit's status names what failed."""
    other = Slot("staging", "second-model")
    for number in (1, 2, 3):
        assert settled.registry.register(other.model, {"MLmodel": f"second v{number}"}) == number

    def pin(churn: int, second: int) -> str:
        text = (
            "environment: staging\nregistry: {stage: Staging, alias: staging}\ngate: {}\nmodels:\n"
            f"  {MODEL}: {{version: {churn}, port: 8000}}\n  {other.model}: {{version: {second}, port: 8010}}\n"
        )
        return settled.source.commit({**settled.files(1, 1), "environments/staging.yaml": text.encode()})

    pin(1, 1)
    settled.run()
    assert settled.target.public_version(8010) == 1
    settled.prober.failing_smoke.add(2)
    commit = pin(2, 3)
    settled.run()
    assert outcomes(settled, STAGING)[-1] is Outcome.ROLLED_BACK
    assert outcomes(settled, other)[-1] is Outcome.LIVE
    assert (settled.target.public_version(8000), settled.target.public_version(8010)) == (1, 3)
    assert view_of(settled.registry, other.model).aliases == {"staging": 3}
    assert settled.aliases()["staging"] == 1
    rows = settled.database.connection().execute("SELECT body FROM outbox WHERE channel = 'github' ORDER BY id")
    messages = [json.loads(row["body"]) for row in rows]
    status = [m for m in messages if m["kind"] == "status" and m["commit"] == commit][-1]
    assert (status["state"], "churn-model v2 was rolled back" in status["description"]) == ("failure", True)
    assert "second-model v3 is live" in status["description"]
