"""New versions: measured once, the best proposed in one pull request, and never forced on anybody."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ml.environment.file import parse_environment
from ml.evidence import CheckOutcome, Evidence, Verdict
from receiver.adapters.git.command import parse_remote
from receiver.core.errors import Rejected, Retryable
from receiver.core.pins import read_pins
from receiver.core.state import Slot
from receiver.pull_requests.candidates import MOST, Candidates, rank
from receiver.pull_requests.open_pull_request import Upstream, open_pull_request
from receiver.pull_requests.promotion import PinChange, push_promotion_branch
from tests.support.evidence import KEY
from tests.support.flow import MODEL, Flow
from tests.support.github_server import Fault
from tests.support.github_spec import require_description
from tests.support.review import Review, reviewing

require_description()

BRANCH = f"promote/{MODEL}-candidate-to-staging"
STAGING_FILE = "environments/staging.yaml"


class FakeGate:
    """Measures what it was told; versions in ``broken`` cannot be measured."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.accuracy: dict[int, float] = {}
        self.broken: set[int] = set()
        self.runs: list[int] = []

    def run(self, slot: Slot, version: int, files: Mapping[str, bytes], stop: threading.Event) -> None:
        self.runs.append(version)
        if version in self.broken:
            raise Rejected(f"v{version} cannot be loaded")
        value = self.accuracy.get(version, 0.81)
        outcome, op = (CheckOutcome.PASS, ">=") if value >= 0.8 else (CheckOutcome.FAIL, "<")
        for path, raw in files.items():
            evidence = self.flow.evidence(version, parse_environment(raw, path))
            verdict = Verdict("accuracy", outcome, value, op, 0.8)
            self.flow.registry.record(KEY.sign(replace(evidence, verdicts=(verdict,))))


class PromotionScenario:
    """A review whose candidates are looked for as well."""

    def __init__(self, review: Review) -> None:
        self.review = review
        self.flow = review.flow
        self.gate = FakeGate(review.flow)
        self.restart()
        self.run_candidates()
        self.gate.runs.clear()

    def restart(self) -> None:
        pulls = self.review.github.pulls
        upstream = Upstream(parse_remote(self.review.origin.url), "main", pulls)
        services = replace(self.flow.services, source=self.review.source)
        self.candidates = Candidates(services, upstream, pulls, self.gate)

    def register(self, accuracy: float = 0.81) -> int:
        """A new version, which nobody has measured yet."""
        version = self.flow.registry.register(
            MODEL, {"MLmodel": f"v{accuracy}{len(self.flow.registry.models[MODEL])}"}
        )
        self.gate.accuracy[version] = accuracy
        return version

    def run_candidates(self) -> None:
        self.candidates.run(threading.Event())

    def titles(self, state: str = "open") -> list[str]:
        return [pull["title"] for pull in self.review.hosted.pulls.values() if pull["state"] == state]


@pytest.fixture
def scenario(tmp_path: Path) -> Iterator[PromotionScenario]:
    """Version 3 is pinned and live in staging."""
    with reviewing(tmp_path) as review:
        review.merge(review.flow.files(3, 1))
        yield PromotionScenario(review)


def test_without_a_new_version_nothing_is_measured_and_github_is_not_asked(scenario: PromotionScenario) -> None:
    scenario.run_candidates()
    assert (scenario.gate.runs, scenario.review.hosted.calls) == ([], [])


def test_a_new_version_that_passes_is_proposed_for_the_first_environment(scenario: PromotionScenario) -> None:
    scenario.register()
    scenario.run_candidates()
    assert scenario.titles() == ["Promote churn-model v4 to staging (was v3)"]
    (pull,) = scenario.review.hosted.pulls.values()
    assert pull["head"] == BRANCH
    assert "| accuracy | ✅ pass |" in pull["body"]
    files = {path: scenario.review.origin.text(BRANCH, path).encode() for path in scenario.flow.files(1, 1)}
    assert [read_pins(files).pin(e, MODEL).version for e in ("staging", "production")] == [4, 1]


def test_the_best_of_several_is_proposed_and_of_equals_the_newer(scenario: PromotionScenario) -> None:
    for accuracy in (0.85, 0.9, 0.9, 0.82):
        scenario.register(accuracy)
    scenario.run_candidates()
    assert scenario.titles() == ["Promote churn-model v6 to staging (was v3)"]


def test_a_better_one_updates_the_pull_request_in_place(scenario: PromotionScenario) -> None:
    scenario.register(0.82)
    scenario.run_candidates()
    first = dict(scenario.review.hosted.pulls)
    scenario.register(0.84)
    scenario.run_candidates()
    assert list(scenario.review.hosted.pulls) == list(first)
    assert scenario.titles() == ["Promote churn-model v5 to staging (was v3)"]
    assert "version: 5" in scenario.review.origin.text(BRANCH, STAGING_FILE)


def test_a_worse_one_changes_nothing(scenario: PromotionScenario) -> None:
    scenario.register(0.84)
    scenario.run_candidates()
    scenario.register(0.82)
    scenario.run_candidates()
    assert scenario.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_one_that_fails_goes_nowhere_and_is_measured_once(scenario: PromotionScenario) -> None:
    version = scenario.register(0.7)
    for _ in range(3):
        scenario.run_candidates()
    scenario.restart()
    scenario.run_candidates()
    assert scenario.gate.runs == [version]
    assert scenario.titles() == []
    assert version in scenario.flow.registry.versions(MODEL)


def test_one_that_cannot_be_measured_is_not_tried_at_every_look(scenario: PromotionScenario) -> None:
    broken, good = scenario.register(0.9), scenario.register(0.82)
    scenario.gate.broken.add(broken)
    for _ in range(3):
        scenario.run_candidates()
    assert sorted(scenario.gate.runs) == [broken, good]
    assert scenario.titles() == ["Promote churn-model v5 to staging (was v3)"]
    scenario.gate.broken.clear()
    scenario.restart()
    scenario.run_candidates()
    assert scenario.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_a_version_that_ci_has_measured_already_is_not_measured_again(scenario: PromotionScenario) -> None:
    scenario.flow.register(4)
    scenario.run_candidates()
    assert scenario.gate.runs == []
    assert scenario.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_another_gate_is_another_question(scenario: PromotionScenario) -> None:
    version = scenario.register()
    scenario.run_candidates()
    files = {name: raw.replace(b"min: 0.8}", b"min: 0.805}") for name, raw in scenario.flow.files(3, 1).items()}
    scenario.review.merge(files)
    scenario.run_candidates()
    assert scenario.gate.runs == [version, version]


def test_a_look_at_what_stayed_the_same_asks_github_nothing(scenario: PromotionScenario) -> None:
    scenario.register()
    scenario.run_candidates()
    before = len(scenario.review.hosted.calls)
    scenario.run_candidates()
    assert scenario.review.hosted.calls[before:] == []
    scenario.restart()
    scenario.run_candidates()
    assert len(scenario.review.hosted.pulls) == 1
    assert scenario.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_a_proposal_that_a_person_closed_is_not_opened_again_but_a_newer_version_is(
    scenario: PromotionScenario,
) -> None:
    scenario.register(0.9)
    scenario.run_candidates()
    (number,) = scenario.review.hosted.pulls
    scenario.review.hosted.pulls[number]["state"] = "closed"
    scenario.restart()
    scenario.run_candidates()
    assert scenario.titles() == []
    scenario.register(0.82)
    scenario.run_candidates()
    assert scenario.titles() == ["Promote churn-model v5 to staging (was v3)"]


def test_a_version_that_was_rolled_back_is_not_proposed_again(scenario: PromotionScenario) -> None:
    version = scenario.register()
    scenario.run_candidates()
    scenario.flow.prober.slow_watch.add(version)
    scenario.review.merge(scenario.flow.files(version, 1))
    scenario.review.merge(scenario.flow.files(3, 1))
    scenario.review.hosted.pulls.clear()
    scenario.restart()
    scenario.run_candidates()
    assert scenario.titles() == []


def test_a_persons_own_promotion_of_the_same_pin_goes_first(scenario: PromotionScenario) -> None:
    number = scenario.review.open(scenario.flow.files(2, 1), branch=f"promote/{MODEL}-v2-to-staging")
    scenario.register()
    scenario.run_candidates()
    assert scenario.titles() == ["A change"]
    scenario.review.hosted.pulls[number]["state"] = "closed"
    scenario.run_candidates()
    assert scenario.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_a_proposal_that_gave_way_to_a_persons_comes_again_after_it(scenario: PromotionScenario) -> None:
    lesser, best = scenario.register(0.82), scenario.register(0.9)
    scenario.run_candidates()
    promotion = push_promotion_branch(
        parse_remote(scenario.review.origin.url), "main", PinChange(MODEL, lesser, "staging")
    )
    open_pull_request(scenario.review.github.pulls, promotion, "main", "I know why.")
    assert scenario.titles() == [promotion.title]
    scenario.review.merge(scenario.flow.files(lesser, 1))
    (number,) = (n for n, pull in scenario.review.hosted.pulls.items() if pull["state"] == "open")
    scenario.review.hosted.pulls[number] |= {"state": "closed", "merged": True}
    scenario.run_candidates()
    assert scenario.titles() == [f"Promote churn-model v{best} to staging (was v{lesser})"]


def test_only_the_newest_of_very_many_are_measured(scenario: PromotionScenario) -> None:
    versions = [scenario.register(0.7) for _ in range(MOST + 3)]
    scenario.run_candidates()
    assert sorted(scenario.gate.runs) == versions[3:]


def test_an_environment_without_a_gate_gets_no_proposals(scenario: PromotionScenario) -> None:
    files = {
        name: raw.replace(b"gate: {accuracy: {min: 0.8}}", b"gate: {}")
        for name, raw in scenario.flow.files(3, 1).items()
    }
    scenario.review.merge(files)
    scenario.register()
    scenario.run_candidates()
    assert (scenario.gate.runs, scenario.titles()) == ([], [])


def test_a_github_that_is_down_is_updated_later(scenario: PromotionScenario) -> None:
    version = scenario.register()
    scenario.review.hosted.faults.append(Fault(503))
    with pytest.raises(Retryable):
        scenario.run_candidates()
    scenario.run_candidates()
    assert scenario.titles() == ["Promote churn-model v4 to staging (was v3)"]
    assert scenario.gate.runs == [version]


def test_a_refusal_of_github_is_not_repeated_at_every_look(scenario: PromotionScenario) -> None:
    scenario.register()
    scenario.review.hosted.faults += [None, None, None, Fault(403)]
    scenario.run_candidates()
    before = len(scenario.review.hosted.calls)
    scenario.run_candidates()
    assert scenario.review.hosted.calls[before:] == []


def test_a_registry_that_is_away_is_asked_later(scenario: PromotionScenario) -> None:
    scenario.register()
    scenario.flow.registry.reachable = False
    with pytest.raises(Retryable):
        scenario.run_candidates()
    scenario.flow.registry.reachable = True
    scenario.run_candidates()
    assert len(scenario.titles()) == 1


def _evidence(version: int, *verdicts: Verdict) -> Evidence:
    return Evidence("m", version, "staging", "", "", "", verdicts, 1.0)


def test_less_is_better_where_the_check_says_so_and_accuracy_counts_before_what_stands_first() -> None:
    def loss(value: float) -> Verdict:
        return Verdict("log_loss", CheckOutcome.PASS, value, "<=", 0.5)

    def accuracy(value: float) -> Verdict:
        return Verdict("accuracy", CheckOutcome.PASS, value, ">=", 0.5)

    assert rank(_evidence(1, loss(0.3))) > rank(_evidence(2, loss(0.4)))
    assert rank(_evidence(1, loss(0.4), accuracy(0.9))) > rank(_evidence(2, loss(0.3), accuracy(0.8)))
    assert rank(_evidence(2, accuracy(0.9))) > rank(_evidence(1, accuracy(0.9)))
