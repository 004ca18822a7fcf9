"""What every prober does, fake or real. A test class that inherits these gives a ``rig``."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from receiver.core.errors import Rejected
from receiver.core.state import Server
from receiver.ports import Prober, Target
from tests.contracts.target import spec


@dataclass(frozen=True)
class Rig:
    """A prober, and servers for it to ask."""

    prober: Prober
    target: Target
    start: Callable[[int], Server]  # a healthy server of a version, without traffic
    artifacts: Path  # of every version
    fails_smoke: int  # a version whose answers are wrong
    fails_watch: int  # a version that answers well at first, and fails under traffic
    without_example: tuple[int, Path]  # a version, and its artifacts


class ProberContract:
    """See :class:`receiver.ports.Prober`."""

    def test_a_good_version_is_proven_without_traffic_and_stays_well_under_it(self, rig: Rig) -> None:
        server = rig.start(1)
        rig.prober.prove(server, rig.artifacts)
        rig.target.switch(server)
        rig.prober.watch(server, 0.2)

    def test_a_version_without_an_input_example_is_named_before_a_server_of_it_is_started(self, rig: Rig) -> None:
        rig.prober.require_example(spec(1, 8000), rig.artifacts)
        version, artifacts = rig.without_example
        with pytest.raises(Rejected, match=f"v{version} has no input example"):
            rig.prober.require_example(spec(version, 8000), artifacts)

    def test_a_version_with_wrong_answers_is_rejected_before_it_has_traffic(self, rig: Rig) -> None:
        server = rig.start(rig.fails_smoke)
        with pytest.raises(Rejected):
            rig.prober.prove(server, rig.artifacts)

    def test_a_version_that_fails_under_traffic_passes_its_proof_and_is_rejected_by_the_watch(self, rig: Rig) -> None:
        server = rig.start(rig.fails_watch)
        rig.prober.prove(server, rig.artifacts)
        rig.target.switch(server)
        with pytest.raises(Rejected):
            rig.prober.watch(server, 5)

    def test_proving_again_comes_to_the_same(self, rig: Rig) -> None:
        server = rig.start(1)
        rig.prober.prove(server, rig.artifacts)
        rig.prober.prove(server, rig.artifacts)
