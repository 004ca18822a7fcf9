"""What every target does with several replicas of one server. A test class that inherits these gives a ``rig``."""

from dataclasses import replace

import pytest

from receiver.core.errors import Rejected
from receiver.core.state import Role, ServerSpec
from tests.contracts.target import PRODUCTION, Rig, spec
from tests.support.ports import free_port


def two(version: int, port: int) -> ServerSpec:
    """A spec with two replicas."""
    return replace(spec(version, port), replicas=2)


class ReplicaContract:
    """See :class:`receiver.ports.Target`."""

    def test_replicas_are_one_server_and_move_together(self, rig: Rig) -> None:
        port = free_port()
        old = rig.target.start(spec(1, port))
        rig.target.switch(old)
        new = rig.target.start(two(2, port), at_once=2)
        assert (new.role, len(new.urls), new.missing) == (Role.CANDIDATE, 2, "")
        assert {server.id for server in rig.target.observe()} == {old.id, new.id}
        rig.target.switch(new)
        assert {s.id: (s.role, s.missing, s.differs) for s in rig.target.observe()} == {
            old.id: (Role.STANDBY, "", ""),
            new.id: (Role.LIVE, "", ""),
        }
        assert rig.public_version(port) == 2
        rig.target.switch(old)
        assert {s.id: s.role for s in rig.target.observe()} == {old.id: Role.LIVE, new.id: Role.STANDBY}
        rig.target.retire(old)
        rig.target.retire(new)
        assert list(rig.target.observe()) == []

    def test_one_that_ends_is_missing_and_comes_back_beside_the_other(self, rig: Rig) -> None:
        port = free_port()
        server = rig.target.start(two(1, port))
        rig.target.switch(server)
        rig.kill_replica(server)
        (left,) = rig.target.observe()
        assert (left.id, left.role, left.missing) == (server.id, Role.LIVE, "1 of 2 replicas")
        assert rig.public_version(port) == 1
        again = rig.target.start(two(1, port))
        assert (again.id, again.missing) == (server.id, "")
        assert set(left.urls) < set(again.urls)
        rig.target.switch(again)
        (whole,) = rig.target.observe()
        assert (whole.role, whole.missing, whole.differs) == (Role.LIVE, "", "")

    def test_a_server_without_one_of_its_replicas_gets_no_traffic(self, rig: Rig) -> None:
        port = free_port()
        old, new = rig.target.start(spec(1, port)), rig.target.start(two(2, port))
        rig.target.switch(old)
        rig.kill_replica(new)
        with pytest.raises(Rejected, match="v2 cannot have traffic"):
            rig.target.switch(new)
        assert rig.public_version(port) == 1

    def test_where_replicas_do_not_become_healthy_none_is_left(self, rig: Rig) -> None:
        with pytest.raises(Rejected, match=f"staging/churn-model v{rig.broken}"):
            rig.target.start(two(rig.broken, free_port()), at_once=2)
        assert list(rig.target.observe()) == []

    def test_a_slot_with_replicas_exchanges_its_port_with_one_without(self, rig: Rig) -> None:
        here, there = free_port(), free_port()
        for server in (rig.target.start(two(1, here)), rig.target.start(spec(2, there, PRODUCTION))):
            rig.target.switch(server)
        rig.target.exchange([rig.target.start(two(1, there)), rig.target.start(spec(2, here, PRODUCTION))])
        assert (rig.public_version(here), rig.public_version(there)) == (2, 1)
        live = {s.spec.slot: s for s in rig.target.observe() if s.role is Role.LIVE}
        assert [(s.spec.replicas, s.missing, s.differs) for s in live.values()] in (
            [(2, "", ""), (1, "", "")],
            [(1, "", ""), (2, "", "")],
        )
