# SPDX-License-Identifier: Apache-2.0
"""What the device manager keeps: one suite for every state."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_agent.core.model import LldpId
from sriov_agent.exceptions import Unavailable
from sriov_agent.fabric.model import Link, PortStatus
from sriov_agent.fabric.state import records
from sriov_agent.fabric.state.base import Fence
from sriov_agent.fabric.state.sqlite import Sqlite
from tests.etcd import member
from tests.fabric import link, want
from tests.frozen import replace
from tests.topology import PF_A, PF_B

#: Far above what anything here takes: who waits this long fails.
PATIENCE = 60


@pytest.fixture(params=["sqlite", pytest.param("etcd", marks=pytest.mark.etcd)])
def state(request, tmp_path):
    """A state of each kind, started, with nothing in it."""
    if request.param == "sqlite":
        state = Sqlite(tmp_path / "fabric.db")
    else:
        state = member(request.getfixturevalue("etcd").url, prefix=f"/{uuid.uuid4()}/")
    state.start(lambda: None)
    yield state
    state.stop()


def test_a_want_is_kept_whole(state):
    given = want(2, 3, 100, system_name="leaf1", port_description="to compute1", heard=12.5)
    assert state.put_wants([given]) == [given]
    [kept] = state.wants()
    assert (kept, kept.heard) == (given, given.heard)


def test_the_later_want_of_a_link_is_kept(state):
    state.put_wants([want(2, epoch=2, sequence=5)])
    older = [
        want(3, epoch=2, sequence=4),
        want(3, epoch=1, sequence=9),
        want(3, epoch=2, sequence=5),
    ]
    for each in older:
        assert state.put_wants([each]) == []
    assert state.wants() == [want(2, epoch=2, sequence=5)]
    later = want(4, epoch=3, sequence=0)
    assert state.put_wants([later, *older]) == [later]
    assert state.wants() == [later]


def test_the_same_want_once_more_is_kept_as_heard_last(state):
    state.put_wants([want(2, heard=1.0)])
    assert state.put_wants([want(2, heard=60.0)]) == [want(2)]
    assert [kept.heard for kept in state.wants()] == [60.0]


def test_what_one_host_wants_is_told_apart(state):
    hosts = ["compute1", "compute10", "compute1/", "compute", "compute0", "", "/", "ü", "\x7f"]
    wants = {host: [want(2, at=link(host)), want(3, at=link(host, PF_B))] for host in hosts}
    for each in wants.values():
        state.put_wants(each)
    for host, each in wants.items():
        assert set(state.wants(host)) == set(each)
    assert state.wants("compute2") == []
    assert len(state.wants()) == 2 * len(hosts)


def test_wanting_nothing_is_a_want(state):
    state.put_wants([want(2), want(3, at=link(pf=PF_B))])
    state.put_wants([want(sequence=2)])
    assert set(state.wants()) == {want(sequence=2), want(3, at=link(pf=PF_B))}


def test_a_want_that_changed_is_not_dropped(state):
    state.put_wants([want(2), want(3, at=link(pf=PF_B))])
    state.put_wants([want(2, sequence=2)])
    state.drop_wants([want(2), want(3, at=link(pf=PF_B)), want(4, at=link("compute9"))])
    assert state.wants() == [want(2, sequence=2)]


HOSTILE = [
    "",
    "/",
    "a/b",
    "../../owned/leaf1",
    "compute1\n",
    "\x00",
    "%2F",
    "ç漢🙂",
    "\udc80",
    "' OR 1 --",
    "compute1" * 100,
]


def test_hostile_strings_stay_in_their_place(state):
    links = {
        Link(host, pf, LldpId(subtype, chassis), LldpId("local", port))
        for text in HOSTILE
        for host, pf, subtype, chassis, port in [
            (text, PF_A, "mac", "1", "1"),
            ("a", text, "mac", "1", "1"),
            ("a", PF_A, text, "1", "1"),
            ("a", PF_A, "mac", text, "1"),
            ("a", PF_A, "mac", "1", text),
        ]
    }
    wants = [want(2, at=at, system_name=at.host, port_description=at.port_id.value) for at in links]
    assert state.put_wants(wants) == wants
    assert {kept.link for kept in state.wants()} == links
    for text in HOSTILE:
        with state.hold(text) as fence:
            state.set_owned(text, {text: frozenset({7})}, fence)
        state.set_statuses(text, [PortStatus(switch=text, port=text, error=text)])
    for text in HOSTILE:
        assert state.owned(text) == {text: {7}}
    assert {status.error for status in state.statuses()} == set(HOSTILE)
    state.drop_wants(wants)
    assert state.wants() == []


PARTS = st.lists(st.text(alphabet="a/%2F\n\0é\udc80", max_size=4), min_size=2, max_size=2)


@settings(max_examples=300)
@given(PARTS, PARTS)
def test_different_parts_make_different_keys(one, other):
    assert (records.key(*one) == records.key(*other)) == (one == other)
    assert records.key(*one).isascii()
    assert records.key(*one).count("/") == 1


def test_what_is_ours_is_kept_by_switch_and_port(state):
    with state.hold("leaf1") as fence:
        state.set_owned("leaf1", {"swp1": frozenset({2, 3}), "swp2": frozenset({4})}, fence)
        state.set_owned("leaf1", {"swp1": frozenset({2}), "swp3": frozenset()}, fence)
    with state.hold("leaf2") as fence:
        state.set_owned("leaf2", {"swp1": frozenset(range(2, 4095))}, fence)
        state.set_owned("leaf2", {"swp1": frozenset(range(2, 4095))}, fence)
    assert state.owned("leaf1") == {"swp1": {2}, "swp2": {4}}
    assert state.owned("leaf2") == {"swp1": set(range(2, 4095))}
    assert state.owned("leaf3") == {}


def test_only_who_holds_the_switch_says_what_is_ours(state):
    with state.hold("leaf1") as former:
        pass
    with state.hold("leaf1"), state.hold("leaf2") as other:
        for fence in (former, other, Fence()):
            with pytest.raises(Unavailable, match="leaf1"):
                state.set_owned("leaf1", {"swp1": frozenset({2})}, fence)
    assert state.owned("leaf1") == {}


def test_a_switch_is_let_go_when_it_fails(state):
    with pytest.raises(RuntimeError), state.hold("leaf1"):
        raise RuntimeError
    with state.hold("leaf1") as fence:
        state.set_owned("leaf1", {"swp1": frozenset({2})}, fence)


def test_threads_hold_a_switch_one_after_the_other(state):
    inside, most = 0, 0
    guard = threading.Lock()

    def work(number):
        nonlocal inside, most
        with state.hold("leaf1") as fence:
            with guard:
                inside += 1
                most = max(most, inside)
            ours = state.owned("leaf1").get("swp1", frozenset())
            state.set_owned("leaf1", {"swp1": ours | {number}}, fence)
            with guard:
                inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(2, 34)))
    assert most == 1
    assert state.owned("leaf1") == {"swp1": set(range(2, 34))}


def test_one_switch_does_not_wait_for_another(state):
    with state.hold("leaf1"), ThreadPoolExecutor(1) as pool:

        def other():
            with state.hold("leaf2"):
                return True

        assert pool.submit(other).result(PATIENCE)


STATUS = PortStatus(
    switch="leaf1",
    port="swp1",
    seen=frozenset({2}),
    tried=frozenset({2, 3}),
    refused={3: "protected"},
    error="",
    at=12.5,
)


def test_what_became_of_a_switch_takes_the_place_of_what_was(state):
    unseen = PortStatus(switch="leaf1", port="swp2", error="no answer")
    elsewhere = replace(STATUS, switch="leaf2", seen=frozenset())
    state.set_statuses("leaf1", [STATUS, unseen])
    state.set_statuses("leaf2", [elsewhere])
    assert state.statuses() == [STATUS, unseen, elsewhere]
    assert [status.at for status in state.statuses()] == [12.5, 0.0, 12.5]
    state.set_statuses("leaf1", [unseen])
    assert state.statuses() == [unseen, elsewhere]


def test_many_at_once_neither_lose_a_want_nor_go_back(state):
    hosts = [f"compute{number}" for number in range(8)]
    last = 12

    def tell(host):
        return [
            sequence
            for sequence in range(1, last + 1)
            if state.put_wants([want(sequence + 1, at=link(host), sequence=sequence)])
        ]

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(tell, hosts * 2))
    for kept in told:
        assert kept[-1] == last
    assert set(state.wants()) == {want(last + 1, at=link(host), sequence=last) for host in hosts}


def test_a_new_state_is_empty(state):
    assert state.wants() == []
    assert state.statuses() == []
    assert state.owned("leaf1") == {}
