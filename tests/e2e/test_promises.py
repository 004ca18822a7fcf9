"""The promises that carry a number of zero, on a real receiver under load. The others are in tests/bench."""

from pathlib import Path

import pytest

from tests.bench.promotions import burst, swap
from tests.support.models import Versions
from tests.support.waiting import eventually
from tests.support.world import World


@pytest.mark.long
@pytest.mark.timeout(180)
def test_promotions_fail_no_request_and_deliveries_are_not_lost(tmp_path: Path, versions: Versions) -> None:
    with World(tmp_path, versions, stabilise_seconds=0.2) as world, world.program():
        world.commit(versions.good)
        assert world.push() == 202
        eventually(lambda: world.verified() == versions.good, 60)

        swaps = swap(world, versions, promotions=4)
        assert swaps.answers > 100
        assert swaps.failures == []
        assert swaps.wrong_version == 0

        sent = burst(world, versions, deliveries=300)
        assert sent.lost == 0
        assert sent.jobs <= 20, "deliveries that arrive together share a look"
