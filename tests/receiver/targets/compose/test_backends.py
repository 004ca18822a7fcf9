"""Names, labels and berths: the pure part of the compose target."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.environment.schema import MOST_REPLICAS
from receiver.core.state import ServerSpec, Slot
from receiver.targets.compose import labels as names
from receiver.targets.compose.backends import BackendPair, orders, read_backends, write_backends
from tests.contracts.target import spec
from tests.support.examples import examples

ANSWER = """
0x55d0c8a2c0 serving two

1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight
3 one 1 r1 172.18.0.2 2 0 1 1 1 15 3 1 6 0 0 0 - 8080 - 0 0 - - 0
3 one 2 r2 192.0.2.1 0 5 1 1 1 15 3 1 6 0 0 0 - 8080 - 0 0 - - 0
3 one 3 s1 172.18.0.4 2 4 1 1 1 15 3 1 6 0 0 0 - 8080 - 0 0 - - 0
4 two 1 r1 172.18.0.4 2 4 1 1 1 15 3 1 6 0 0 0 - 8080 - 0 0 - - 0
4 two 2 r2 172.18.0.5 2 4 1 1 1 15 3 1 6 0 0 0 - 8080 - 0 0 - - 0

"""
OF_AN_EARLIER_PINRAIL = """
0x55d0c8a2c0 live two

1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight
3 model 1 one 172.18.0.2 2 0 1 1 1 15 3 1 6 0 0 0 - 8080 - 0 0 - - 0
3 model 2 two 172.18.0.4 2 0 1 1 1 15 3 1 6 0 0 0 - 8080 - 0 0 - - 0

"""
NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
ADDRESSES = st.ip_addresses(v=4, network="172.18.0.0/16").map(str)


def test_what_a_proxy_says_is_understood() -> None:
    said = read_backends(ANSWER)
    assert said is not None
    assert (said.live, said.standby, said.at) == (("172.18.0.4", "172.18.0.5"), ("172.18.0.2",), "two")


def test_a_proxy_that_an_earlier_pinrail_configured_is_understood() -> None:
    said = read_backends(OF_AN_EARLIER_PINRAIL)
    assert said is not None
    assert (said.live, said.standby, said.at) == (("172.18.0.4",), ("172.18.0.2",), "two")


@pytest.mark.parametrize(
    "answer", ["", "Permission denied", ANSWER.replace("serving two", "serving none"), ANSWER[:200]]
)
def test_what_makes_no_sense_is_no_answer(answer: str) -> None:
    assert read_backends(answer) is None


@settings(max_examples=examples(50))
@given(st.lists(st.lists(ADDRESSES, min_size=1, max_size=3, unique=True), min_size=1, max_size=6))
def test_after_any_switches_the_last_has_the_traffic_and_the_one_before_steps_in(switched: list[list[str]]) -> None:
    backends = BackendPair((("172.18.0.1",), ("172.18.0.1",)), "one")
    for addresses in switched:
        before = backends
        backends = backends.switched_to(tuple(addresses))
        assert sorted(backends.live) == sorted(addresses)
        if set(addresses) & set(before.live):  # replicas of the same server
            assert (backends.at, backends.standby) == (before.at, before.standby)
            continue
        assert backends.standby == before.live
        assert backends.named[before.at] == before.live  # its connections are not touched


def test_a_replica_that_is_replaced_leaves_the_others_in_their_places() -> None:
    backends = BackendPair((("a", "b", "c"), ("x",)), "one")
    assert backends.switched_to(("d", "c", "a")) == BackendPair((("a", "d", "c"), ("x",)), "one")
    assert backends.switched_to(("c",)) == BackendPair((("c",), ("x",)), "one")


def test_the_proxy_hears_of_the_active_backend_last_and_of_every_place() -> None:
    line = orders(BackendPair((("172.18.0.2",), ("172.18.0.4", "172.18.0.5")), "two"))
    assert line.count("\n") == 1
    assert len(line) < 16_000, "HAProxy's buffer"
    named = ["one/r1 addr 172.18.0.2", "one/s2 addr 172.18.0.5", "two/r2 addr 172.18.0.5", "two/s1 addr 172.18.0.2"]
    places = [line.index(f"set server {name} port 8080") for name in named]
    assert places == sorted(places)
    assert places[-1] < line.index("set map /front/live.map serving two")
    assert line.count(" state ready") == 6
    assert line.count(" state maint") == 4 * MOST_REPLICAS - 6


def test_a_proxy_that_starts_between_the_two_files_finds_the_traffic_where_it_was(tmp_path: Path) -> None:
    write_backends(tmp_path, BackendPair((("172.18.0.2",), ("172.18.0.2",)), "one"))
    (tmp_path / "live.map").chmod(0o444)
    write_backends(tmp_path, BackendPair((("172.18.0.2",), ("172.18.0.4",)), "two"))
    one, two = (tmp_path / "berths.cfg").read_text().split("backend two\n")
    assert "server r1 172.18.0.2:8080\n" in one
    assert "server s1 172.18.0.4:8080 backup\n" in one
    assert "server r1 172.18.0.4:8080\n" in two
    assert (tmp_path / "live.map").read_text() == "serving two\n"
    assert (tmp_path / "live.map").stat().st_mode & 0o777 == 0o644


@settings(max_examples=examples(100))
@given(st.sets(st.builds(Slot, NAMES, NAMES), min_size=2, max_size=8))
def test_every_slot_has_a_project_of_its_own_that_compose_accepts(slots: set[Slot]) -> None:
    projects = {slot: names.project_name("pinrail", slot) for slot in slots}
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]*", project) for project in projects.values())
    assert len(set(projects.values())) == len(slots)


def test_a_hyphen_cannot_make_two_slots_one() -> None:
    assert names.project_name("pinrail", Slot("eu", "west-churn")) != names.project_name(
        "pinrail", Slot("eu-west", "churn")
    )


def test_a_plain_name_stays_as_people_know_it() -> None:
    assert names.project_name("pinrail", Slot("staging", "churn-model")) == "pinrail-staging-churn-model"


@settings(max_examples=examples(50))
@given(NAMES, NAMES, st.none() | NAMES, st.integers(1, 2**63 - 1))
def test_labels_carry_the_whole_spec(environment: str, model: str, stage: str | None, version: int) -> None:
    wanted = ServerSpec(Slot(environment, model), version, "sha256:" + "0" * 64, stage, 8000, "c" * 40)
    assert names.read_spec(names.server_labels("pinrail", wanted, "172.18.0.2", ("v1", 1))[names.SPEC]) == wanted
    front = names.front_labels("pinrail", wanted.slot, 8000, "made")[names.SPEC]
    assert names.read_front(front) == (wanted.slot, 8000)


def test_two_starts_of_one_spec_have_different_names() -> None:
    assert names.server_name(spec(6, 8000)) != names.server_name(spec(6, 8000))
    assert names.server_name(spec(6, 8000)).startswith("v6-")
    assert names.front_name(8000) != names.front_name(8000)
