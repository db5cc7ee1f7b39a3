# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import to_builtins

from sriov_agent.core.model import RELEASED, SETTINGS, LinkState, Segment, VfSettings
from sriov_agent.core.state import ALL, PortBinding, Scope
from sriov_agent.exceptions import InvalidField
from tests.frozen import replace
from tests.topology import LEAF_A, binding, claim, port_id, port_mac
from tests.worlds import vf_settings

MAYBE_ASKED = st.builds(
    lambda settings, names: settings.without(names),
    vf_settings(shared=True),
    st.sets(st.sampled_from(SETTINGS)),
)


@given(MAYBE_ASKED, vf_settings(shared=True))
def test_setting_what_differs_leaves_nothing_that_differs(asked, seen):
    after = replace(seen, **asked.differing(seen).items())

    assert asked.differing(after).items() == {}
    assert {name: after.items()[name] for name in asked.items()} == asked.items()


@given(MAYBE_ASKED)
def test_what_is_not_asked_does_not_differ(asked):
    assert VfSettings().differing(asked) == VfSettings()
    assert asked.differing(asked) == VfSettings()


@pytest.mark.parametrize("asked", [VfSettings(vlan=0), VfSettings(trust=False)])
def test_zero_and_false_are_asked_for(asked):
    assert len(asked.items()) == 1
    assert asked.differing(VfSettings(vlan=15, trust=True)) == asked


def test_a_setting_that_is_not_listed_does_not_differ():
    assert VfSettings(trust=True).differing(VfSettings()) == VfSettings()


def test_an_unused_vf_has_every_setting():
    assert set(RELEASED.items()) == set(SETTINGS)


def test_a_binding_that_asks_for_nothing_has_an_unused_vfs_settings_but_mac_and_vlan():
    settings = binding(1, vlan=0).vf_settings()
    assert settings == replace(RELEASED, mac=port_mac(1))
    assert set(settings.items()) == set(SETTINGS)


def test_a_binding_is_brought_to_one_form():
    port = binding(
        1,
        port_id=port_id(0xABC).upper(),
        mac="02-5A-00-00-00-01",
        pci_slot="0000:3B:02.0",
        link_state="disable",
    )
    assert port == binding(
        1,
        port_id=port_id(0xABC),
        mac="02:5a:00:00:00:01",
        pci_slot="0000:3b:02.0",
        link_state=LinkState.DISABLE,
    )


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"port_id": "web1"}, "id"),
        ({"mac": "01:00:5e:00:00:01"}, "mac_address"),
        ({"mac": None}, "mac_address"),
        ({"vlan": 4095}, "vlan"),
        ({"vlan": "15"}, "vlan"),
        ({"vlan": None}, "vlan"),
        ({"physical_network": "../x"}, "physical_network"),
        ({"vnic_type": "made-up"}, "vnic_type"),
        ({"vnic_type": None}, "vnic_type"),
        ({"vnic_type": ["direct"]}, "vnic_type"),
        ({"revision_number": -1}, "revision_number"),
        ({"revision_number": True}, "revision_number"),
        ({"pci_slot": "ens1v0"}, "pci_slot"),
        ({"name": "x" * 256}, "name"),
        ({"name": None}, "name"),
        ({"qos": 8}, "qos"),
        ({"vlan": 0, "qos": 1}, "qos"),
        ({"spoofchk": "true"}, "spoofchk"),
        ({"trust": 1}, "trust"),
        ({"link_state": "up"}, "link_state"),
        ({"link_state": None}, "link_state"),
        ({"min_tx_rate": -1}, "min_tx_rate"),
        ({"min_tx_rate": 200, "max_tx_rate": 100}, "min_tx_rate"),
        ({"max_tx_rate": 2**32}, "max_tx_rate"),
        ({"max_tx_rate": 0.5}, "max_tx_rate"),
    ],
)
def test_a_binding_is_refused_for_the_field_that_cannot_be(given, field):
    with pytest.raises(InvalidField) as caught:
        binding(1, **given)
    assert caught.value.field == field


def test_a_guarantee_needs_no_limit():
    assert binding(1, min_tx_rate=200, max_tx_rate=0).min_tx_rate == 200
    assert binding(1, min_tx_rate=200, max_tx_rate=200).max_tx_rate == 200


def test_a_switch_port_is_known_by_its_ids_and_not_by_what_it_is_called():
    assert replace(LEAF_A, system_name="renamed", port_description="uplink?") == LEAF_A
    assert replace(LEAF_A, pf="0000:5e:00.0") != LEAF_A


@pytest.mark.parametrize(
    ("seen", "cleared"),
    [
        (port_mac(1), True),
        (port_mac(9), True),
        ("02:fe:00:00:00:01", False),
        (RELEASED.mac, False),
    ],
)
def test_release_clears_the_ports_mac_and_the_one_before_it_but_no_other(seen, cleared):
    held = replace(claim(1, "0000:3b:00.0", 0), former_mac=port_mac(9))
    released = held.release(replace(RELEASED, mac=seen))

    assert released == (RELEASED if cleared else RELEASED.without(["mac"]))


def test_where_the_ports_mac_is_not_known_release_clears_whatever_is_there():
    held = replace(claim(1, "0000:3b:00.0", 0), mac="")
    assert held.release(replace(RELEASED, mac=port_mac(5))) == RELEASED


def test_a_scope_is_all_ports_or_the_ones_it_names():
    assert port_id(1) in ALL
    assert port_id(1) in Scope(frozenset({port_id(1)}))
    assert port_id(2) not in Scope(frozenset({port_id(1)}))
    assert port_id(1) not in Scope(frozenset())


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"trunk": ["15"]}, "expected vlan, network_id and tagged"),
        ({"trunk": [{"id": 15}]}, "expected vlan, network_id and tagged"),
        ({"trunk": "15"}, "expected a list"),
        ({"trunk": [{"vlan": 4095}]}, "1..4094"),
        ({"trunk": [{"vlan": "15"}]}, "trunk"),
        ({"trunk": [{"vlan": 15, "tagged": "no"}]}, "trunk"),
        ({"trunk": [{"vlan": 15, "network_id": "web"}]}, "UUID"),
        ({"trunk": [Segment(15), Segment(15, tagged=False)]}, "twice in one trunk"),
        ({"trunk": [Segment(15, tagged=False), Segment(16, tagged=False)]}, "at most one"),
        ({"trunk": [Segment(15)], "vlan": 16}, "has no VLAN of its own"),
    ],
)
def test_a_trunk_that_no_link_can_carry_is_refused(given, why):
    with pytest.raises(InvalidField, match=why):
        binding(1, **({"vlan": 0} | given))


def test_a_trunk_is_the_same_after_json():
    network = "11111111-2222-4333-8444-555555555555"
    given = binding(1, vlan=0, trunk=[Segment(16, network), Segment(15, tagged=False)])
    again = PortBinding(**json.loads(json.dumps(to_builtins(given))))
    assert again == given
    assert again.trunk == (Segment(15, tagged=False), Segment(16, network))
