# SPDX-License-Identifier: Apache-2.0
"""What every driver checks of a change before it makes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.exceptions import InvalidField, Refused
from sriov_agent.fabric.model import Change, PortVlans
from sriov_agent.fabric.switch.base import effective, port_name, targets

VLANS = st.frozensets(st.integers(1, 9))


def vlans(*numbers):
    return frozenset(numbers)


def change(add=(), remove=()):
    return Change(add=frozenset(add), remove=frozenset(remove))


@given(VLANS, VLANS, VLANS)
def test_only_what_is_not_so_already_is_changed(have, add, remove):
    before = {"swp1": PortVlans(vlans=have)}
    found = effective(before, {"swp1": change(add, remove - add)}, needs_a_vlan=False)
    made = found.get("swp1", Change())
    assert made.add.isdisjoint(have)
    assert made.remove <= have
    assert (have | made.add) - made.remove == (have | add) - (remove - add)


@given(VLANS, VLANS, VLANS)
def test_a_trunk_that_needs_a_vlan_is_never_emptied(have, add, remove):
    before = {"swp1": PortVlans(vlans=have)}
    try:
        found = effective(before, {"swp1": change(add, remove - add)}, needs_a_vlan=True)
    except Refused:
        assert not (have | add) - (remove - add)
    else:
        made = found.get("swp1", Change())
        assert not have or (have | made.add) - made.remove


def test_two_members_together_do_not_empty_their_aggregate():
    member = PortVlans(vlans=vlans(5, 6), lag="ae0")
    before = {"swp1": member, "swp2": member}
    with pytest.raises(Refused, match="last VLAN"):
        effective(before, {"swp1": change(remove=[5]), "swp2": change(remove=[6])}, True)


def test_what_one_member_wants_is_not_taken_by_the_other():
    member = PortVlans(vlans=vlans(5, 6), lag="ae0")
    before = {"swp1": member, "swp2": member, "swp3": PortVlans()}
    changes = {
        "swp1": change(add=[7], remove=[5]),
        "swp2": change(add=[8], remove=[6, 7]),
        "swp3": change(add=[7]),
    }
    assert targets(before, changes) == {
        "ae0": change(add=[7, 8], remove=[5, 6]),
        "swp3": change(add=[7]),
    }


@pytest.mark.parametrize(
    ("before", "wanted", "reason"),
    [
        ({}, change(add=[5]), "was not read"),
        ({"swp1": PortVlans(trunk=False)}, change(add=[5]), "no trunk"),
        ({"swp1": PortVlans(every=True)}, change(add=[5], remove=[6]), "open to all"),
        ({"swp1": PortVlans(vlans=vlans(5))}, change(remove=[5]), "last VLAN"),
    ],
)
def test_what_would_be_wrong_is_refused(before, wanted, reason):
    with pytest.raises(Refused, match=rf"swp1.*{reason}"):
        effective(before, {"swp1": wanted}, needs_a_vlan=True)


@pytest.mark.parametrize("before", [{}, {"swp1": PortVlans(trunk=False)}])
def test_a_change_of_nothing_is_none(before):
    assert effective(before, {"swp1": Change()}, needs_a_vlan=True) == {}


def test_a_port_open_to_all_carries_what_comes():
    before = {"swp1": PortVlans(every=True)}
    assert effective(before, {"swp1": change(add=[5])}, needs_a_vlan=True) == {}


@pytest.mark.parametrize("name", ["Ethernet1", "xe-0/0/1", "ae0", "Eth1/1.4", "swp1s0", "p:1_2"])
def test_names_of_interfaces_are_taken(name):
    assert port_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "1", "swp 1", "swp1\n", "swp1;", "-x", "../x", "x" * 65, "é1"]
)
def test_anything_else_is_no_name(name):
    with pytest.raises(InvalidField, match="port"):
        port_name(name)
