# SPDX-License-Identifier: Apache-2.0
"""Which port gets which VF, one rule at a time; what holds always is in test_plan_properties."""

import pytest

from sriov_agent.core.intent import intent
from sriov_agent.core.model import RELEASED, Cabling, Segment
from sriov_agent.core.state import Bindings
from tests.frozen import replace
from tests.topology import (
    LEAF_A,
    LEAF_B,
    PF_A,
    PF_B,
    PF_C,
    binding,
    carried,
    claim,
    interface,
    observed,
    pf,
    port_id,
    port_mac,
    switch_port,
    vf,
    vf_address,
)

USED = "netdev v0 is up"
VLAN_SET = "VLAN 15 is set"


def bindings(*ports, **invalid):
    return Bindings(
        ports={port.port_id: port for port in ports},
        invalid={port_id(int(name.removeprefix("port"))): why for name, why in invalid.items()},
    )


def carrying(number, vlan=15):
    """A VF's settings as port ``number`` has them."""
    return binding(number, vlan=vlan).vf_settings()


def choice(*ports, on, **seen):
    """(PF, VF index) for each port that has one, and why the others have none."""
    desired = intent(bindings(*ports), observed(*on, **seen))
    held = {port: (found.pf, found.index) for port, found in desired.claims.items()}
    return {port.port_id: held.get(port.port_id) or desired.unmet[port.port_id] for port in ports}


def test_nothing_is_wanted_for_no_ports():
    desired = intent(Bindings(), observed(pf(PF_A)))
    assert (desired.claims, desired.vfs, desired.interfaces) == ({}, {}, {})
    assert (desired.fabric, desired.held, desired.unmet) == ({}, frozenset(), {})


def test_a_port_gets_claim_settings_interface_and_vlan():
    desired = intent(bindings(binding(1)), observed(pf(PF_A)))
    assert desired.claims == {port_id(1): claim(1, PF_A, 0)}
    assert desired.vfs == {vf_address(PF_A, 0): binding(1).vf_settings()}
    assert desired.interfaces == {port_id(1): interface(binding(1), PF_A, 0)}
    assert desired.fabric == {LEAF_A: carried(15)}
    assert desired.unmet == {}


@pytest.mark.parametrize(
    ("on", "chosen"),
    [
        ([pf(PF_A), pf(PF_B)], (PF_A, 0)),
        ([pf(PF_B), pf(PF_A)], (PF_A, 0)),
        ([pf(PF_A, count=2), pf(PF_B, count=3)], (PF_B, 0)),
        ([pf(PF_A, vf(PF_A, 0, held_by=USED)), pf(PF_B)], (PF_B, 0)),
        ([pf(PF_A, vf(PF_A, 0, held_by=USED))], (PF_A, 1)),
        ([pf(PF_C, count=7), pf(PF_A, count=1)], (PF_A, 0)),
    ],
)
def test_a_free_vf_on_the_pf_with_most_of_them_the_lowest_index_first(on, chosen):
    assert choice(binding(1), on=on) == {port_id(1): chosen}


def test_a_port_keeps_the_vf_it_holds_whatever_else_is_free():
    held = {port_id(1): claim(1, PF_A, 3)}
    assert choice(binding(1), on=[pf(PF_A), pf(PF_B)], claims=held) == {port_id(1): (PF_A, 3)}

    gone = observed(pf(PF_B), claims=held)
    assert intent(bindings(binding(1)), gone).claims == held


def test_who_has_a_vf_goes_before_who_wants_one():
    on = [pf(PF_A, count=1)]
    held = {port_id(2): claim(2, PF_A, 0)}
    chosen = choice(binding(1), binding(2), on=on, claims=held)
    assert chosen[port_id(2)] == (PF_A, 0)
    assert chosen[port_id(1)] == (
        "physical_network 'physnet2': no free VF: of 1 VFs 1 are held by ports and 0 used by others"
    )


def test_the_vf_that_nova_chose_also_if_somebody_uses_it():
    slot = vf_address(PF_A, 2)
    on = [pf(PF_A, vf(PF_A, 2, carrying(1), held_by=USED))]
    assert choice(binding(1, pci_slot=slot), on=on) == {port_id(1): (PF_A, 2)}


@pytest.mark.parametrize(
    ("slot", "claims", "why"),
    [
        ("0000:ff:02.0", {}, "no such VF on the PFs of this agent"),
        (vf_address(PF_C, 0), {}, "on physical network physnet3, not physnet2"),
        (vf_address(PF_A, 0), {port_id(2): claim(2, PF_A, 0)}, f"held by port {port_id(2)}"),
    ],
)
def test_a_vf_that_cannot_be_given_is_said_to_be(slot, claims, why):
    on = [pf(PF_A), pf(PF_C)]
    chosen = choice(binding(1, pci_slot=slot), binding(2), on=on, claims=claims)
    assert chosen[port_id(1)] == f"pci_slot '{slot}': {why}"


LEFT_ALONE = {"held_by": "excluded by the configuration", "excluded": True}


def test_a_vf_that_is_excluded_is_not_given_by_name():
    slot = vf_address(PF_A, 2)
    for settings in (RELEASED, carrying(1)):
        on = [pf(PF_A, vf(PF_A, 2, settings, **LEFT_ALONE))]
        chosen = choice(binding(1, pci_slot=slot), on=on)
        assert chosen == {port_id(1): f"pci_slot '{slot}': excluded by the configuration"}


def test_a_vf_that_is_excluded_is_not_free():
    on = [pf(PF_A, *(vf(PF_A, index, **LEFT_ALONE) for index in (0, 1))), pf(PF_C)]
    assert choice(binding(1), on=on) == {port_id(1): (PF_A, 2)}


@pytest.mark.parametrize("files", [{}, {port_id(1): interface(binding(1), PF_A, 2)}])
def test_a_vf_that_is_excluded_is_not_taken_for_what_it_carries(files):
    on = [pf(PF_A, vf(PF_A, 2, carrying(1), **LEFT_ALONE)), pf(PF_B)]
    refusal = f"mac_address '{port_mac(1)}': already on VF {vf_address(PF_A, 2)}"
    assert choice(binding(1), on=on, interfaces=files) == {port_id(1): refusal}


def test_a_port_whose_vf_is_excluded_since_is_told_and_keeps_its_claim():
    slot = vf_address(PF_A, 2)
    on = [pf(PF_A, vf(PF_A, 2, carrying(1), **LEFT_ALONE))]
    desired = intent(bindings(binding(1)), observed(*on, claims={port_id(1): claim(1, PF_A, 2)}))
    assert desired.unmet == {port_id(1): f"pci_slot '{slot}': excluded by the configuration"}
    assert desired.held == {port_id(1)}
    assert desired.vfs == {}


def test_the_vf_of_a_port_that_is_gone_may_be_given_by_name_but_is_not_free():
    on = [pf(PF_A, count=1)]
    gone = {port_id(9): claim(9, PF_A, 0)}
    named = binding(1, pci_slot=vf_address(PF_A, 0))
    assert choice(named, on=on, claims=gone) == {port_id(1): (PF_A, 0)}
    assert "no free VF" in choice(binding(1), on=on, claims=gone)[port_id(1)]


def test_without_a_record_the_vf_that_the_xml_names():
    on = [pf(PF_A, vf(PF_A, 2, carrying(1), held_by=VLAN_SET)), pf(PF_B)]
    files = {port_id(1): interface(binding(1), PF_A, 2)}
    assert choice(binding(1), on=on, interfaces=files) == {port_id(1): (PF_A, 2)}


@pytest.mark.parametrize(
    "settings", [RELEASED, replace(RELEASED, mac=port_mac(2)), carrying(2)], ids=str
)
def test_an_xml_is_not_believed_when_the_vf_has_not_the_ports_mac(settings):
    on = [pf(PF_A, vf(PF_A, 2, settings)), pf(PF_B)]
    files = {port_id(1): interface(binding(1), PF_A, 2)}
    assert choice(binding(1), on=on, interfaces=files)[port_id(1)] != (PF_A, 2)


def test_without_record_and_xml_the_one_vf_that_has_the_ports_mac_and_vlan():
    on = [pf(PF_A, vf(PF_A, 2, carrying(1), held_by=VLAN_SET)), pf(PF_B)]
    assert choice(binding(1), on=on) == {port_id(1): (PF_A, 2)}


def test_a_mac_alone_is_not_believed_where_somebody_uses_the_vf():
    """A guest can give its VF any MAC, but no VLAN."""
    on = [pf(PF_A, vf(PF_A, 2, carrying(1, vlan=0), held_by=USED)), pf(PF_B)]
    refusal = f"mac_address '{port_mac(1)}': already on VF {vf_address(PF_A, 2)}"
    assert choice(binding(1, vlan=0), on=on) == {port_id(1): refusal}
    assert choice(binding(1), on=on) == {port_id(1): refusal}


def test_a_mac_on_two_vfs_is_on_neither():
    on = [pf(PF_A, *(vf(PF_A, index, carrying(1), held_by=VLAN_SET) for index in (2, 3)))]
    refusal = f"mac_address '{port_mac(1)}': already on VF {vf_address(PF_A, 2)}"
    assert choice(binding(1), on=on) == {port_id(1): refusal}


@pytest.mark.parametrize("first", [1, 2])
def test_of_two_ports_with_one_mac_who_has_a_vf_keeps_it(first):
    held = {port_id(first): replace(claim(first, PF_A, 0), mac=port_mac(1))}
    chosen = choice(binding(1), binding(2, mac=port_mac(1)), on=[pf(PF_A)], claims=held)
    assert chosen[port_id(first)] == (PF_A, 0)
    assert chosen[port_id(3 - first)] == (
        f"mac_address '{port_mac(1)}': already the MAC of port {port_id(first)}"
    )


def test_the_pfs_own_mac_is_taken():
    refused = choice(binding(1, mac="52:54:00:aa:00:01"), on=[pf(PF_A)])[port_id(1)]
    assert refused == f"mac_address '52:54:00:aa:00:01': already the MAC of PF {PF_A}"


def test_a_physical_network_without_a_pf_is_said_with_those_that_have_one():
    refused = choice(binding(1, physical_network="physnet9"), on=[pf(PF_A), pf(PF_C)])[port_id(1)]
    assert refused == (
        "physical_network 'physnet9': no PF of this host serves it; served: physnet2, physnet3"
    )


@pytest.mark.parametrize(
    "given", [{"pci_slot": vf_address(PF_B, 1)}, {"physical_network": "physnet3"}]
)
def test_a_port_that_is_to_have_another_vf_first_gives_the_old_one_back(given):
    seen = observed(pf(PF_A), pf(PF_B), pf(PF_C), claims={port_id(1): claim(1, PF_A, 0)})
    desired = intent(bindings(binding(1, **given)), seen)
    assert desired.claims == {}
    assert desired.unmet[port_id(1)].startswith(f"moving from VF {vf_address(PF_A, 0)} to VF ")
    assert desired.held == frozenset()


def test_a_port_whose_last_word_was_refused_holds_what_it_has_and_nobody_gets_it():
    seen = observed(pf(PF_A, count=1), claims={port_id(1): claim(1, PF_A, 0)})
    desired = intent(bindings(binding(2), port1="vlan 4095: out of range 0..4094"), seen)
    assert desired.held == {port_id(1)}
    assert desired.claims == {}
    assert desired.unmet[port_id(1)] == "vlan 4095: out of range 0..4094"
    assert "no free VF" in desired.unmet[port_id(2)]


def test_the_claim_knows_the_mac_that_is_still_to_go_from_the_vf():
    old = {port_id(1): replace(claim(1, PF_A, 0), mac=port_mac(9))}
    on = pf(PF_A, vf(PF_A, 0, carrying(9)))
    wanted = intent(bindings(binding(1)), observed(on, claims=old)).claims[port_id(1)]
    assert wanted == replace(claim(1, PF_A, 0), former_mac=port_mac(9))

    drivers_own = pf(PF_A, vf(PF_A, 0, replace(RELEASED, mac="02:fe:00:00:00:01")))
    wanted = intent(bindings(binding(1)), observed(drivers_own, claims=old)).claims[port_id(1)]
    assert wanted == claim(1, PF_A, 0)


def test_the_vlans_of_a_pf_are_wanted_together_where_it_is_cabled():
    ports = [
        binding(1, pci_slot=vf_address(PF_A, 0)),
        binding(2, pci_slot=vf_address(PF_A, 1), vlan=20),
        binding(3, pci_slot=vf_address(PF_B, 0), vlan=20),
        binding(4, pci_slot=vf_address(PF_B, 1), vlan=0),
    ]
    desired = intent(bindings(*ports), observed(pf(PF_A), pf(PF_B)))
    assert desired.fabric == {LEAF_A: carried(15, 20), LEAF_B: carried(20)}


@pytest.mark.parametrize("cabling", [{}, {PF_A: Cabling(reason="no LLDP neighbor")}])
def test_where_nobody_tells_the_switch_port_what_is_open_and_wanted_stays(cabling):
    former = switch_port(PF_A, leaf=3)
    fabric = {LEAF_A: carried(15, 99), former: carried(99), LEAF_B: carried(15)}
    seen = observed(pf(PF_A), cabling=cabling, fabric=fabric)
    assert intent(bindings(binding(1)), seen).fabric == {LEAF_A: carried(15), former: frozenset()}


def test_networks_are_told_apart_only_where_the_fabric_does():
    network = "11111111-2222-4333-8444-555555555555"
    asked = bindings(binding(1, network_id=network))
    seen = observed(pf(PF_A))
    assert intent(asked, seen).fabric == {LEAF_A: carried(15)}
    told_apart = intent(asked, seen, networks=True).fabric
    assert told_apart == {LEAF_A: {Segment(15, network)}}


def trunk(number, *vlans, native=0, **given):
    segments = [*map(Segment, vlans), *([Segment(native, tagged=False)] if native else [])]
    return binding(number, vlan=0, trunk=tuple(segments), **given)


def test_a_trunks_vlans_are_on_the_link_and_none_is_on_the_vf():
    desired = intent(bindings(trunk(1, 15, 20, native=30)), observed(pf(PF_A)))
    assert desired.fabric == {LEAF_A: {Segment(15), Segment(20), Segment(30, tagged=False)}}
    assert desired.vfs[vf_address(PF_A, 0)].vlan == 0
    assert desired.interfaces[port_id(1)].vlan == 0


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (trunk(2, 15, native=31), "VLAN 30 is the untagged one of PF"),
        (trunk(2, 30), "VLAN 30 is untagged on PF"),
        (binding(2, vlan=30), "VLAN 30 is untagged on PF"),
    ],
)
def test_what_a_pf_cannot_carry_beside_another_port_goes_to_another_pf_or_is_refused(other, why):
    first = trunk(1, 15, native=30)
    apart = intent(bindings(first, other), observed(pf(PF_A), pf(PF_B)))
    assert {claim.pf for claim in apart.claims.values()} == {PF_A, PF_B}
    together = intent(bindings(first, other), observed(pf(PF_A)))
    assert together.claims.keys() == {port_id(1)}
    assert why in together.unmet[port_id(2)]
    assert together.fabric == {LEAF_A: first.segments()}


def test_the_same_untagged_vlan_serves_two_trunks():
    both = intent(bindings(trunk(1, native=30), trunk(2, 15, native=30)), observed(pf(PF_A)))
    assert both.unmet == {}
