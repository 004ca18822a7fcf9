"""What every target does, fake or real. A test class that inherits these gives a ``rig``."""

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from receiver.core.errors import Rejected
from receiver.core.state import Role, Server, ServerSpec, Slot
from receiver.ports import Target
from tests.support.ports import free_port

STAGING = Slot("staging", "churn-model")
PRODUCTION = Slot("production", "churn-model")


def spec(version: int, port: int, slot: Slot = STAGING) -> ServerSpec:
    """A spec whose digest follows from the version."""
    return ServerSpec(slot, version, f"sha256:{version:064x}", slot.environment.title(), port, "c" * 40)


def asked_version(port: int) -> int | None:
    """Which version answers on this loopback port; None: nobody does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(ConnectionError):
        connection.request("GET", "/health")
        return int(json.loads(connection.getresponse().read())["version"])
    return None


@dataclass(frozen=True)
class Rig:
    """A target with nothing in it, and what a test needs to know about it."""

    target: Target
    broken: int  # a version that does not become healthy
    public_version: Callable[[int], int | None]
    kill: Callable[[Server], None]
    occupy: Callable[[int], contextlib.AbstractContextManager[object]]  # another program takes a port
    kill_replica: Callable[[Server], None]  # one of several


@contextlib.contextmanager
def occupied(port: int) -> Iterator[socket.socket]:
    """Another program listens on the port."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        yield listening


class TargetContract:
    """See :class:`receiver.ports.Target`."""

    def test_a_started_server_has_no_traffic(self, rig: Rig) -> None:
        port = free_port()
        server = rig.target.start(spec(1, port))
        assert server.role is Role.CANDIDATE
        assert server.spec == spec(1, port)
        assert list(rig.target.observe()) == [server]
        assert rig.public_version(port) is None

    def test_what_runs_already_is_not_started_again(self, rig: Rig) -> None:
        port = free_port()
        server = rig.target.start(spec(1, port))
        assert rig.target.start(spec(1, port)) == server
        rig.target.switch(server)
        again = rig.target.start(spec(1, port))
        assert (again.id, again.role) == (server.id, Role.LIVE)

    def test_a_server_that_does_not_become_healthy_is_rejected_and_leaves_nothing(self, rig: Rig) -> None:
        with pytest.raises(Rejected, match=f"staging/churn-model v{rig.broken}"):
            rig.target.start(spec(rig.broken, free_port()))
        assert list(rig.target.observe()) == []

    def test_traffic_moves_to_the_new_server_and_the_old_one_stands_by(self, rig: Rig) -> None:
        port = free_port()
        old, new = rig.target.start(spec(1, port)), rig.target.start(spec(2, port))
        rig.target.switch(old)
        assert rig.public_version(port) == 1
        rig.target.switch(new)
        assert rig.public_version(port) == 2
        assert {s.id: s.role for s in rig.target.observe()} == {old.id: Role.STANDBY, new.id: Role.LIVE}

    def test_switching_twice_changes_nothing(self, rig: Rig) -> None:
        port = free_port()
        server = rig.target.start(spec(1, port))
        rig.target.switch(server)
        rig.target.switch(server)
        assert [s.role for s in rig.target.observe()] == [Role.LIVE]
        assert rig.public_version(port) == 1

    def test_a_standby_takes_traffic_back_when_the_new_server_is_dead(self, rig: Rig) -> None:
        port = free_port()
        old, new = rig.target.start(spec(1, port)), rig.target.start(spec(2, port))
        rig.target.switch(old)
        rig.target.switch(new)
        rig.kill(new)
        assert [s.id for s in rig.target.observe()] == [old.id]
        rig.target.switch(old)
        assert rig.public_version(port) == 1

    def test_a_dead_server_gets_no_traffic_and_who_has_it_keeps_it(self, rig: Rig) -> None:
        port = free_port()
        old, new = rig.target.start(spec(1, port)), rig.target.start(spec(2, port))
        rig.target.switch(old)
        rig.kill(new)
        with pytest.raises(Rejected, match="v2 cannot have traffic"):
            rig.target.switch(new)
        assert rig.public_version(port) == 1

    def test_a_port_of_another_program_is_named_and_the_old_server_keeps_serving(self, rig: Rig) -> None:
        here, taken = free_port(), free_port()
        old = rig.target.start(spec(1, here))
        rig.target.switch(old)
        moved = rig.target.start(spec(1, taken))
        with rig.occupy(taken), pytest.raises(Rejected, match=f"port {taken}"):
            rig.target.switch(moved)
        assert rig.public_version(here) == 1

    def test_a_slot_can_move_to_another_port(self, rig: Rig) -> None:
        before, after = free_port(), free_port()
        old = rig.target.start(spec(1, before))
        rig.target.switch(old)
        new = rig.target.start(spec(1, after))
        rig.target.switch(new)
        rig.target.retire(old)
        assert (rig.public_version(before), rig.public_version(after)) == (None, 1)

    def test_a_retired_server_is_gone_and_retiring_it_again_is_fine(self, rig: Rig) -> None:
        port = free_port()
        server = rig.target.start(spec(1, port))
        rig.target.retire(server)
        rig.target.retire(server)
        assert list(rig.target.observe()) == []

    def test_retiring_the_live_server_empties_the_slot(self, rig: Rig) -> None:
        port = free_port()
        server = rig.target.start(spec(1, port))
        rig.target.switch(server)
        rig.target.retire(server)
        assert list(rig.target.observe()) == []
        assert rig.public_version(port) is None

    def test_slots_do_not_touch_each_other(self, rig: Rig) -> None:
        here, there = free_port(), free_port()
        ours, theirs = rig.target.start(spec(1, here)), rig.target.start(spec(1, there, PRODUCTION))
        rig.target.switch(ours)
        rig.target.switch(theirs)
        rig.target.switch(rig.target.start(spec(2, here)))
        assert (rig.public_version(here), rig.public_version(there)) == (2, 1)
        assert {s.id: s.role for s in rig.target.observe()}[theirs.id] is Role.LIVE

    def test_two_slots_exchange_their_ports_and_the_old_servers_stand_by(self, rig: Rig) -> None:
        here, there = free_port(), free_port()
        old = [rig.target.start(spec(1, here)), rig.target.start(spec(2, there, PRODUCTION))]
        for server in old:
            rig.target.switch(server)
        new = [rig.target.start(spec(3, there)), rig.target.start(spec(2, here, PRODUCTION))]
        with pytest.raises(Rejected, match=f"port {there}"):
            rig.target.switch(new[0])
        rig.target.exchange(new)
        rig.target.exchange(new)  # done twice, it comes to the same
        assert (rig.public_version(here), rig.public_version(there)) == (2, 3)
        roles = {s.id: s.role for s in rig.target.observe()}
        assert [roles[server.id] for server in new] == [Role.LIVE, Role.LIVE]
        assert Role.LIVE not in [roles[server.id] for server in old]
        with pytest.raises(Rejected, match=f"port {here}"):
            rig.target.switch(old[0])
        for server in old:
            rig.target.retire(server)
        assert (rig.public_version(here), rig.public_version(there)) == (2, 3)

    def test_a_chain_of_slots_moves_on_by_one_port(self, rig: Rig) -> None:
        ports = [free_port() for _ in range(3)]
        old = [rig.target.start(spec(1, ports[0])), rig.target.start(spec(2, ports[1], PRODUCTION))]
        for server in old:
            rig.target.switch(server)
        rig.target.exchange([rig.target.start(spec(1, ports[1])), rig.target.start(spec(2, ports[2], PRODUCTION))])
        for server in old:
            rig.target.retire(server)
        assert [rig.public_version(port) for port in ports] == [None, 1, 2]

    def test_where_one_port_cannot_be_had_nobody_moves(self, rig: Rig) -> None:
        here, there, taken = free_port(), free_port(), free_port()
        for server in (rig.target.start(spec(1, here)), rig.target.start(spec(2, there, PRODUCTION))):
            rig.target.switch(server)
        new = [rig.target.start(spec(1, there)), rig.target.start(spec(2, taken, PRODUCTION))]
        with rig.occupy(taken), pytest.raises(Rejected, match=f"port {taken}"):
            rig.target.exchange(new)
        assert (rig.public_version(here), rig.public_version(there)) == (1, 2)
        rig.kill(new[0])
        with pytest.raises(Rejected, match="does not answer"):
            rig.target.exchange(new)
        assert (rig.public_version(here), rig.public_version(there)) == (1, 2)

    def test_one_port_is_never_given_to_two_slots(self, rig: Rig) -> None:
        here, there = free_port(), free_port()
        for server in (rig.target.start(spec(1, here)), rig.target.start(spec(2, there, PRODUCTION))):
            rig.target.switch(server)
        with pytest.raises(Rejected, match=f"port {there} would be given to staging.* and to production"):
            rig.target.exchange([rig.target.start(spec(3, there)), rig.target.start(spec(4, there, PRODUCTION))])
        assert (rig.public_version(here), rig.public_version(there)) == (1, 2)

    def test_a_dead_server_has_a_log_tail(self, rig: Rig) -> None:
        server = rig.target.start(spec(1, free_port()))
        rig.kill(server)
        assert server.id in rig.target.log_tail(server)

    def test_a_version_that_lists_no_packages_needs_none(self, rig: Rig) -> None:
        wanted = spec(1, free_port())
        assert (rig.target.unverified_packages(wanted), rig.target.missing_packages(wanted)) == ("", "")
        rig.target.install(wanted)
        assert list(rig.target.observe()) == []
