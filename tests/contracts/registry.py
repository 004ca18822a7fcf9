"""What every model registry does, fake or real. A test class that inherits these gives a ``rig``."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import pytest

from ml.evidence import CheckOutcome, Evidence, Verdict
from receiver.core.errors import ArtifactsChanged, Rejected, Retryable
from receiver.core.state import RegistryView
from receiver.ports import Registry, Resolved
from serving.model.digest import digest_tree
from tests.support.registry_views import resolve, view_of

FILES: Mapping[str, str | bytes] = {"MLmodel": "flavors: {}\n", "data/weights.bin": b"\x00\xff\x01"}
EVIDENCE = Evidence(
    model="",
    version=1,
    environment="staging",
    model_digest="sha256:" + "1" * 64,
    data_digest="sha256:" + "2" * 64,
    gate_digest="sha256:" + "3" * 64,
    verdicts=(Verdict("accuracy", CheckOutcome.PASS, 0.81, ">=", 0.8),),
    measured_at=1000.0,
)


@dataclass(frozen=True)
class Rig:
    """A registry, and the far side of it."""

    registry: Registry
    register: Callable[[str, Mapping[str, str | bytes]], int]  # a READY version with these artifacts; its number
    set_status: Callable[[str, int, str], None]
    lose_artifacts: Callable[[str, int], None]
    record: Callable[[Evidence], None]
    describe: Callable[[str, int, str], None]
    damage: Callable[[str, int, str], None]  # the evidence for this environment
    set_reachable: Callable[[bool], None]


def new_name() -> str:
    """A model that nobody else uses: the server is shared."""
    return f"model-{uuid.uuid4().hex[:8]}"


class RegistryContract:
    """See :class:`receiver.ports.Registry`."""

    @pytest.fixture
    def model(self, rig: Rig) -> str:
        """A registered model with three versions."""
        name = new_name()
        for _ in range(3):
            rig.register(name, FILES)
        return name

    def test_a_model_that_is_not_registered_has_no_view(self, rig: Rig, model: str) -> None:
        other = new_name()
        found = rig.registry.observe({model: (), other: (1,)})
        assert found == {model: RegistryView(model, {}, {}, {}, newest=3), other: None}

    def test_wanted_versions_are_described_and_one_that_is_missing_is_known_to_be(self, rig: Rig, model: str) -> None:
        rig.set_status(model, 1, "PENDING_REGISTRATION")
        rig.record(replace(EVIDENCE, model=model, version=2))
        view = view_of(rig.registry, model, 1, 2, 3, 7)
        found = {
            number: v and (v.model, v.version, v.status, list(v.evidence)) for number, v in view.versions.items()
        }
        assert found == {
            1: (model, 1, "PENDING_REGISTRATION", []),
            2: (model, 2, "READY", ["staging"]),
            3: (model, 3, "READY", []),
            7: None,
        }

    def test_one_observation_answers_for_many_models_and_versions(self, rig: Rig, model: str) -> None:
        others = [new_name() for _ in range(60)]
        rig.register(others[0], FILES)
        found = rig.registry.observe({model: (1, 3, 9), **dict.fromkeys(others, (1,))})
        there = {(name, v.version) for name, view in found.items() if view for v in view.versions.values() if v}
        assert there == {(model, 1), (model, 3), (others[0], 1)}
        assert [name for name, view in found.items() if view is None] == others[1:]

    def test_versions_are_the_ready_ones_in_order(self, rig: Rig, model: str) -> None:
        assert list(rig.registry.versions(model)) == [1, 2, 3]
        rig.set_status(model, 2, "FAILED_REGISTRATION")
        assert list(rig.registry.versions(model)) == [1, 3]
        assert list(rig.registry.versions(new_name())) == []

    def test_an_alias_is_set_moved_and_deleted_however_often_one_asks(self, rig: Rig, model: str) -> None:
        for version in (1, 1, 3, 2, 2):
            rig.registry.set_alias(model, "staging", version)
            assert view_of(rig.registry, model).aliases == {"staging": version}
        rig.registry.set_alias(model, "production", 2)
        assert view_of(rig.registry, model).aliases == {"staging": 2, "production": 2}
        for _ in range(2):
            rig.registry.set_alias(model, "staging", None)
            assert view_of(rig.registry, model).aliases == {"production": 2}

    def test_a_version_moves_between_stages_alone(self, rig: Rig, model: str) -> None:
        rig.registry.set_stage(model, 1, "Production")
        rig.registry.set_stage(model, 3, "Production")
        assert view_of(rig.registry, model).stages == {1: "Production", 3: "Production"}, "none is hidden"
        for _ in range(2):
            rig.registry.set_stage(model, 1, "Archived")
            assert view_of(rig.registry, model).stages == {1: "Archived", 3: "Production"}
        rig.registry.set_stage(model, 3, "None")
        assert view_of(rig.registry, model).stages == {1: "Archived"}

    def test_what_is_not_there_cannot_be_named_and_nothing_changes(self, rig: Rig, model: str) -> None:
        rig.registry.set_alias(model, "staging", 1)
        with pytest.raises(Rejected):
            rig.registry.set_alias(model, "staging", 9)
        with pytest.raises(Rejected):
            rig.registry.set_stage(model, 9, "Staging")
        with pytest.raises(Rejected, match="Bogus"):
            rig.registry.set_stage(model, 1, "Bogus")
        with pytest.raises(Rejected):
            rig.registry.set_alias(new_name(), "staging", 1)
        assert view_of(rig.registry, model).aliases == {"staging": 1}
        assert view_of(rig.registry, model).stages == {}

    def test_a_version_is_fetched_by_content(self, rig: Rig) -> None:
        model = new_name()
        first = rig.register(model, FILES)
        second = rig.register(model, {**FILES, "data/weights.bin": b"other"})
        fetched = rig.registry.fetch(model, first)
        assert (fetched.path / "data/weights.bin").read_bytes() == b"\x00\xff\x01"
        assert fetched.digest == digest_tree(fetched.path)
        assert (fetched.model, fetched.version) == (model, first)
        assert fetched.run_id
        assert rig.registry.fetch(model, first) == fetched, "downloaded again, and the same"
        assert rig.registry.fetch(model, second).digest != fetched.digest

    def test_a_version_is_resolved_once_it_was_fetched(self, rig: Rig, model: str) -> None:
        assert resolve(rig.registry, model, 1) is None
        assert resolve(rig.registry, model, 1, "staging") is None
        fetched = rig.registry.fetch(model, 1)
        assert resolve(rig.registry, model, 1) == Resolved(fetched, None)
        assert resolve(rig.registry, model, 2) is None, "of other versions that says nothing"

    def test_evidence_is_resolved_once_it_was_read_and_again_when_it_is_replaced(self, rig: Rig, model: str) -> None:
        fetched = rig.registry.fetch(model, 1)
        assert resolve(rig.registry, model, 1, "staging") == Resolved(fetched, None), "none is recorded"
        for value in (0.81, 0.82):
            evidence = replace(EVIDENCE, model=model, verdicts=(replace(EVIDENCE.verdicts[0], value=value),))
            rig.record(evidence)
            assert resolve(rig.registry, model, 1, "staging") == Resolved(fetched, None, unread=True)
            assert rig.registry.evidence(model, 1, "staging") == evidence
            assert resolve(rig.registry, model, 1, "staging") == Resolved(fetched, evidence)
            assert resolve(rig.registry, model, 1, "production") == Resolved(fetched, None)

    def test_evidence_that_is_damaged_is_refused_until_it_is_replaced(self, rig: Rig, model: str) -> None:
        fetched = rig.registry.fetch(model, 1)
        rig.record(replace(EVIDENCE, model=model))
        rig.damage(model, 1, "staging")
        assert resolve(rig.registry, model, 1, "staging") == Resolved(fetched, None, unread=True)
        with pytest.raises(Rejected) as refused:
            rig.registry.evidence(model, 1, "staging")
        with pytest.raises(Rejected) as again:
            resolve(rig.registry, model, 1, "staging")
        assert str(again.value) == str(refused.value)
        assert resolve(rig.registry, model, 1) == Resolved(fetched, None), "of an override, nobody asks for evidence"
        rig.record(replace(EVIDENCE, model=model, measured_at=2000.0))
        assert resolve(rig.registry, model, 1, "staging") == Resolved(fetched, None, unread=True)

    def test_artifacts_that_are_missing_are_refused_while_the_version_is_described_the_same(
        self, rig: Rig, model: str
    ) -> None:
        assert resolve(rig.registry, model, 2) is None
        rig.lose_artifacts(model, 2)
        with pytest.raises(Rejected) as refused:
            rig.registry.fetch(model, 2)
        with pytest.raises(Rejected) as again:
            resolve(rig.registry, model, 2)
        assert str(again.value) == str(refused.value)
        rig.describe(model, 2, "its artifacts are back")
        assert resolve(rig.registry, model, 2) is None, "so that it is fetched"

    def test_what_was_fetched_is_not_resolved_while_the_version_is_not_ready(self, rig: Rig, model: str) -> None:
        rig.registry.fetch(model, 1)
        rig.set_status(model, 1, "FAILED_REGISTRATION")
        with pytest.raises(Rejected, match="FAILED_REGISTRATION"):
            resolve(rig.registry, model, 1)

    def test_a_missing_version_is_refused_by_name_with_what_there_is(self, rig: Rig, model: str) -> None:
        with pytest.raises(Rejected, match=rf"{model}.*1.*3"):
            rig.registry.fetch(model, 7)
        with pytest.raises(Rejected, match=r"no version|has no model|none"):
            rig.registry.fetch(new_name(), 1)

    @pytest.mark.parametrize("status", ["PENDING_REGISTRATION", "FAILED_REGISTRATION"])
    def test_a_version_that_is_not_ready_is_refused(self, rig: Rig, model: str, status: str) -> None:
        rig.set_status(model, 2, status)
        with pytest.raises(Rejected, match=status):
            rig.registry.fetch(model, 2)

    def test_a_version_without_its_artifacts_is_refused(self, rig: Rig, model: str) -> None:
        rig.lose_artifacts(model, 2)
        with pytest.raises(Rejected, match="artifacts"):
            rig.registry.fetch(model, 2)

    def test_what_was_fetched_is_there_with_the_registry_down(self, rig: Rig, model: str) -> None:
        fetched = rig.registry.fetch(model, 1)
        rig.set_reachable(False)
        assert rig.registry.artifacts(model, 1, fetched.digest) == fetched.path

    def test_other_bytes_than_asked_for_are_refused(self, rig: Rig, model: str) -> None:
        with pytest.raises(ArtifactsChanged, match="unexpected artifacts"):
            rig.registry.artifacts(model, 1, "sha256:" + "0" * 64)

    def test_evidence_is_read_as_it_was_recorded(self, rig: Rig, model: str) -> None:
        evidence = replace(EVIDENCE, model=model, version=2)
        assert rig.registry.evidence(model, 2, "staging") is None
        rig.record(evidence)
        assert rig.registry.evidence(model, 2, "staging") == evidence
        assert rig.registry.evidence(model, 2, "production") is None
        assert rig.registry.evidence(model, 1, "staging") is None

    def test_damaged_evidence_is_refused_and_no_evidence(self, rig: Rig, model: str) -> None:
        rig.record(replace(EVIDENCE, model=model, version=2))
        rig.damage(model, 2, "staging")
        with pytest.raises(Rejected, match="evidence"):
            rig.registry.evidence(model, 2, "staging")

    def test_without_an_answer_everything_is_tried_again_later(self, rig: Rig, model: str) -> None:
        rig.set_reachable(False)
        for ask in (
            lambda: rig.registry.observe({model: ()}),
            lambda: rig.registry.versions(model),
            lambda: rig.registry.fetch(model, 1),
            lambda: rig.registry.artifacts(model, 1, "sha256:" + "0" * 64),
            lambda: rig.registry.evidence(model, 1, "staging"),
            lambda: rig.registry.metrics(model, 1),
            lambda: rig.registry.lineage(model, 1),
            lambda: rig.registry.set_alias(model, "staging", 1),
            lambda: rig.registry.set_stage(model, 1, "Staging"),
        ):
            with pytest.raises(Retryable):
                ask()
        rig.set_reachable(True)
        assert view_of(rig.registry, model).aliases == {}
