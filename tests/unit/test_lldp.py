# SPDX-License-Identifier: Apache-2.0
"""Which neighbor is the switch port: exactly one, or none with the reason."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.lldp import cabling
from sriov_agent.core.model import LldpId
from tests.frozen import replace
from tests.topology import HOST, LEAF_A, PF_A, neighbor

LEAF = neighbor()
OWN = LldpId("mac", "52:54:00:aa:00:01")
THIS_HOST = neighbor(
    chassis_id=OWN, port_id=OWN, system_name=HOST, capabilities=frozenset({"Station"})
)
LOCAL = frozenset({(OWN, OWN)})


def test_the_one_switch_heard_is_where_the_pf_is_cabled():
    found = cabling(PF_A, [LEAF], LOCAL)
    assert (found.switch_port, found.reason) == (LEAF_A, "")
    assert found.switch_port.system_name == "leaf1"
    assert found.neighbors == (LEAF,)


def test_nobody_heard():
    assert cabling(PF_A, [], LOCAL).reason == "no LLDP neighbor"


def test_the_hosts_own_frame_reflected_by_the_nic_is_no_neighbor():
    assert cabling(PF_A, [THIS_HOST, LEAF], LOCAL).switch_port == LEAF_A

    alone = cabling(PF_A, [replace(THIS_HOST, capabilities=frozenset({"Bridge"}))], LOCAL)
    assert alone.switch_port is None
    assert "reflected" in alone.reason


def test_a_switch_may_announce_no_capabilities():
    assert cabling(PF_A, [replace(LEAF, capabilities=frozenset())], LOCAL).switch_port == LEAF_A


@pytest.mark.parametrize("capabilities", [{"Router"}, {"Bridge", "Station"}])
def test_whoever_forwards_is_a_switch(capabilities):
    heard = replace(LEAF, capabilities=frozenset(capabilities))
    assert cabling(PF_A, [heard], LOCAL).switch_port == LEAF_A


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"capabilities": frozenset({"Station", "Tel"})}, "neither a bridge nor a router"),
        ({"ttl": 0}, "expired"),
    ],
)
def test_who_cannot_be_the_switch_is_refused_by_name(changed, why):
    found = cabling(PF_A, [replace(LEAF, **changed)], LOCAL)
    assert found.switch_port is None
    assert found.reason.endswith(f"'leaf1' port 'swp1': {why})")


def test_a_guest_that_plays_a_switch_makes_it_ambiguous_and_both_are_named():
    forged = neighbor(leaf=9, port="Ethernet1/99")
    for heard in ([LEAF, forged], [forged, LEAF]):
        found = cabling(PF_A, heard, LOCAL)
        assert found.switch_port is None
        assert found.reason == (
            "ambiguous LLDP neighbors: 'leaf1' port 'swp1', 'leaf9' port 'Ethernet1/99'"
        )


def test_the_same_port_heard_twice_is_one_port():
    again = replace(LEAF, system_name="renamed", ttl=30)
    assert cabling(PF_A, [LEAF, again], LOCAL).switch_port == LEAF_A


def test_names_from_the_wire_are_escaped():
    hostile = neighbor(leaf=2, system_name="\x1b[2Jleaf\n", port_id=LldpId("ifname", "p\x1f2"))
    reason = cabling(PF_A, [LEAF, hostile], LOCAL).reason
    assert reason.isprintable()
    assert r"'\x1b[2Jleaf\n' port 'p\x1f2'" in reason


NEIGHBORS = st.builds(
    neighbor,
    leaf=st.integers(1, 3),
    port=st.sampled_from(["swp1", "swp2"]),
    ttl=st.sampled_from([0, 120]),
    capabilities=st.frozensets(st.sampled_from(["Bridge", "Router", "Station"])),
) | st.just(THIS_HOST)


@given(st.lists(NEIGHBORS, max_size=5), st.randoms())
def test_the_answer_is_one_port_that_was_heard_or_a_reason_in_whatever_order(heard, random):
    found = cabling(PF_A, heard, LOCAL)
    assert (found.switch_port is None) == bool(found.reason)
    if found.switch_port:
        ids = (found.switch_port.chassis_id, found.switch_port.port_id)
        assert ids in {(one.chassis_id, one.port_id) for one in heard} - LOCAL

    shuffled = list(heard)
    random.shuffle(shuffled)
    again = cabling(PF_A, shuffled, LOCAL)
    assert (again.switch_port, again.reason) == (found.switch_port, found.reason)
