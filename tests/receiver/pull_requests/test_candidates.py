"""New versions: measured once, the best proposed in one pull request, and never forced on anybody."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ml.environment.file import parse_environment
from ml.evidence import Evidence, Outcome, Verdict
from receiver.adapters.git.command import parse_remote
from receiver.core.errors import Rejected, Retryable
from receiver.core.pins import read_pins
from receiver.core.state import Slot
from receiver.pull_requests.candidates import MOST, Candidates, rank
from receiver.pull_requests.promotion import Change, promote
from receiver.pull_requests.proposal import Forge, propose
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
        outcome, op = (Outcome.PASS, ">=") if value >= 0.8 else (Outcome.FAIL, "<")
        for path, raw in files.items():
            evidence = self.flow.evidence(version, parse_environment(raw, path))
            self.flow.registry.record(replace(evidence, verdicts=(Verdict("accuracy", outcome, value, op, 0.8),)))


class Road:
    """A review whose candidates are looked for as well."""

    def __init__(self, review: Review) -> None:
        self.review = review
        self.flow = review.flow
        self.gate = FakeGate(review.flow)
        self.restart()
        self.look()
        self.gate.runs.clear()

    def restart(self) -> None:
        pulls = self.review.github.pulls
        forge = Forge(parse_remote(self.review.origin.url), "main", pulls)
        services = replace(self.flow.services, source=self.review.proposals)
        self.candidates = Candidates(services, forge, pulls, self.gate)

    def register(self, accuracy: float = 0.81) -> int:
        """A new version, which nobody has measured yet."""
        version = self.flow.registry.register(
            MODEL, {"MLmodel": f"v{accuracy}{len(self.flow.registry.models[MODEL])}"}
        )
        self.gate.accuracy[version] = accuracy
        return version

    def look(self) -> None:
        self.candidates.look(threading.Event())

    def titles(self, state: str = "open") -> list[str]:
        return [pull["title"] for pull in self.review.hosted.pulls.values() if pull["state"] == state]


@pytest.fixture
def road(tmp_path: Path) -> Iterator[Road]:
    """Version 3 is pinned and live in staging."""
    with reviewing(tmp_path) as review:
        review.merge(review.flow.files(3, 1))
        yield Road(review)


def test_without_a_new_version_nothing_is_measured_and_github_is_not_asked(road: Road) -> None:
    road.look()
    assert (road.gate.runs, road.review.hosted.calls) == ([], [])


def test_a_new_version_that_passes_is_proposed_for_the_first_environment(road: Road) -> None:
    road.register()
    road.look()
    assert road.titles() == ["Promote churn-model v4 to staging (was v3)"]
    (pull,) = road.review.hosted.pulls.values()
    assert pull["head"] == BRANCH
    assert "| accuracy | ✅ pass |" in pull["body"]
    files = {path: road.review.origin.text(BRANCH, path).encode() for path in road.flow.files(1, 1)}
    assert [read_pins(files).pin(e, MODEL).version for e in ("staging", "production")] == [4, 1]


def test_the_best_of_several_is_proposed_and_of_equals_the_newer(road: Road) -> None:
    for accuracy in (0.85, 0.9, 0.9, 0.82):
        road.register(accuracy)
    road.look()
    assert road.titles() == ["Promote churn-model v6 to staging (was v3)"]


def test_a_better_one_updates_the_pull_request_in_place(road: Road) -> None:
    road.register(0.82)
    road.look()
    first = dict(road.review.hosted.pulls)
    road.register(0.84)
    road.look()
    assert list(road.review.hosted.pulls) == list(first)
    assert road.titles() == ["Promote churn-model v5 to staging (was v3)"]
    assert "version: 5" in road.review.origin.text(BRANCH, STAGING_FILE)


def test_a_worse_one_changes_nothing(road: Road) -> None:
    road.register(0.84)
    road.look()
    road.register(0.82)
    road.look()
    assert road.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_one_that_fails_goes_nowhere_and_is_measured_once(road: Road) -> None:
    version = road.register(0.7)
    for _ in range(3):
        road.look()
    road.restart()
    road.look()
    assert road.gate.runs == [version]
    assert road.titles() == []
    assert version in road.flow.registry.versions(MODEL)


def test_one_that_cannot_be_measured_is_not_tried_at_every_look(road: Road) -> None:
    broken, good = road.register(0.9), road.register(0.82)
    road.gate.broken.add(broken)
    for _ in range(3):
        road.look()
    assert sorted(road.gate.runs) == [broken, good]
    assert road.titles() == ["Promote churn-model v5 to staging (was v3)"]
    road.gate.broken.clear()
    road.restart()
    road.look()
    assert road.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_a_version_that_ci_has_measured_already_is_not_measured_again(road: Road) -> None:
    road.flow.register(4)
    road.look()
    assert road.gate.runs == []
    assert road.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_another_gate_is_another_question(road: Road) -> None:
    version = road.register()
    road.look()
    files = {name: raw.replace(b"min: 0.8}", b"min: 0.805}") for name, raw in road.flow.files(3, 1).items()}
    road.review.merge(files)
    road.look()
    assert road.gate.runs == [version, version]


def test_a_look_at_what_stayed_the_same_asks_github_nothing(road: Road) -> None:
    road.register()
    road.look()
    before = len(road.review.hosted.calls)
    road.look()
    assert road.review.hosted.calls[before:] == []
    road.restart()
    road.look()
    assert len(road.review.hosted.pulls) == 1
    assert road.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_a_proposal_that_a_person_closed_is_not_opened_again_but_a_newer_version_is(road: Road) -> None:
    road.register(0.9)
    road.look()
    (number,) = road.review.hosted.pulls
    road.review.hosted.pulls[number]["state"] = "closed"
    road.restart()
    road.look()
    assert road.titles() == []
    road.register(0.82)
    road.look()
    assert road.titles() == ["Promote churn-model v5 to staging (was v3)"]


def test_a_version_that_was_rolled_back_is_not_proposed_again(road: Road) -> None:
    version = road.register()
    road.look()
    road.flow.prober.tired.add(version)
    road.review.merge(road.flow.files(version, 1))
    road.review.merge(road.flow.files(3, 1))
    road.review.hosted.pulls.clear()
    road.restart()
    road.look()
    assert road.titles() == []


def test_a_persons_own_promotion_of_the_same_pin_goes_first(road: Road) -> None:
    number = road.review.open(road.flow.files(2, 1), branch=f"promote/{MODEL}-v2-to-staging")
    road.register()
    road.look()
    assert road.titles() == ["A change"]
    road.review.hosted.pulls[number]["state"] = "closed"
    road.look()
    assert road.titles() == ["Promote churn-model v4 to staging (was v3)"]


def test_a_proposal_that_gave_way_to_a_persons_comes_again_after_it(road: Road) -> None:
    lesser, best = road.register(0.82), road.register(0.9)
    road.look()
    promotion = promote(parse_remote(road.review.origin.url), "main", Change(MODEL, lesser, "staging"))
    propose(road.review.github.pulls, promotion, "main", "I know why.")
    assert road.titles() == [promotion.title]
    road.review.merge(road.flow.files(lesser, 1))
    (number,) = (n for n, pull in road.review.hosted.pulls.items() if pull["state"] == "open")
    road.review.hosted.pulls[number] |= {"state": "closed", "merged": True}
    road.look()
    assert road.titles() == [f"Promote churn-model v{best} to staging (was v{lesser})"]


def test_only_the_newest_of_very_many_are_measured(road: Road) -> None:
    versions = [road.register(0.7) for _ in range(MOST + 3)]
    road.look()
    assert sorted(road.gate.runs) == versions[3:]


def test_an_environment_without_a_gate_gets_no_proposals(road: Road) -> None:
    files = {
        name: raw.replace(b"gate: {accuracy: {min: 0.8}}", b"gate: {}") for name, raw in road.flow.files(3, 1).items()
    }
    road.review.merge(files)
    road.register()
    road.look()
    assert (road.gate.runs, road.titles()) == ([], [])


def test_a_github_that_is_down_is_told_later(road: Road) -> None:
    version = road.register()
    road.review.hosted.faults.append(Fault(503))
    with pytest.raises(Retryable):
        road.look()
    road.look()
    assert road.titles() == ["Promote churn-model v4 to staging (was v3)"]
    assert road.gate.runs == [version]


def test_a_refusal_of_github_is_not_repeated_at_every_look(road: Road) -> None:
    road.register()
    road.review.hosted.faults += [None, None, None, Fault(403)]
    road.look()
    before = len(road.review.hosted.calls)
    road.look()
    assert road.review.hosted.calls[before:] == []


def test_a_registry_that_is_away_is_asked_later(road: Road) -> None:
    road.register()
    road.flow.registry.reachable = False
    with pytest.raises(Retryable):
        road.look()
    road.flow.registry.reachable = True
    road.look()
    assert len(road.titles()) == 1


def _evidence(version: int, *verdicts: Verdict) -> Evidence:
    return Evidence("m", version, "staging", "", "", "", verdicts, 1.0)


def test_less_is_better_where_the_check_says_so_and_accuracy_counts_before_what_stands_first() -> None:
    def loss(value: float) -> Verdict:
        return Verdict("log_loss", Outcome.PASS, value, "<=", 0.5)

    def accuracy(value: float) -> Verdict:
        return Verdict("accuracy", Outcome.PASS, value, ">=", 0.5)

    assert rank(_evidence(1, loss(0.3))) > rank(_evidence(2, loss(0.4)))
    assert rank(_evidence(1, loss(0.4), accuracy(0.9))) > rank(_evidence(2, loss(0.3), accuracy(0.8)))
    assert rank(_evidence(2, accuracy(0.9))) > rank(_evidence(1, accuracy(0.9)))
