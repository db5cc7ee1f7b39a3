# SPDX-License-Identifier: Apache-2.0
"""Create, change, delete; once, again, late, and in the wrong order."""

import itertools

import pytest
from msgspec import to_builtins

from sriov_agent.core.model import RELEASED
from sriov_agent.core.report import PortState
from sriov_agent.sources.port import Port
from tests import neutron
from tests.frozen import replace
from tests.scenario.compute import Compute
from tests.topology import (
    LEAF_A,
    LEAF_B,
    PF_A,
    PF_B,
    binding,
    carried,
    claim,
    interface,
    port_id,
    vf_address,
)

VF_A0 = vf_address(PF_A, 0)


def test_a_created_port_gets_a_vf_its_xml_and_its_vlan_on_the_leaf(compute):
    compute.hear("port.create.end", neutron.port(1))

    assert compute.claims() == {port_id(1): claim(1, PF_A, 0)}
    assert compute.settings()[VF_A0] == binding(1).vf_settings()
    assert compute.files() == {port_id(1): interface(binding(1), PF_A, 0)}
    assert compute.open() == {LEAF_A: {15}}
    assert compute.report(1).state == PortState.MET
    assert compute.report(1).switch_ports == (LEAF_A,)
    unused = compute.settings()
    del unused[VF_A0]
    assert set(unused.values()) == {RELEASED}


def test_all_settings_of_a_vf_go_in_one_message(compute):
    payload = neutron.port(1, admin_state_up=False, port_security_enabled=False)
    payload["port"]["binding:profile"]["trusted"] = "true"
    compute.hear("port.create.end", payload)

    wanted = binding(1, link_state="disable", spoofchk=False, trust=True).vf_settings()
    [(pf, [(index, change)])] = compute.kernel.messages
    assert (pf, index) == (PF_A, 0)
    assert change.items().keys() == {"mac", "vlan", "qos", "spoofchk", "trust", "link_state"}
    assert compute.settings()[VF_A0] == wanted


def test_ports_go_to_the_pf_with_most_free_vfs_the_lowest_index_first(compute):
    for number in range(1, 5):
        compute.hear("port.create.end", neutron.port(number))

    held = {port: (held.pf, held.index) for port, held in compute.claims().items()}
    assert held == {
        port_id(1): (PF_A, 0),
        port_id(2): (PF_B, 0),
        port_id(3): (PF_A, 1),
        port_id(4): (PF_B, 1),
    }
    assert compute.open() == {LEAF_A: {15}, LEAF_B: {15}}


def test_a_port_gets_the_vf_that_nova_chose(compute):
    slot = vf_address(PF_B, 3)
    profile = {"pci_slot": slot, "physical_network": "physnet2"}
    compute.hear("port.update.end", neutron.port(1, binding_profile=profile))

    assert compute.claims()[port_id(1)].vf == slot
    assert compute.settings()[slot] == binding(1).vf_settings()
    assert compute.open() == {LEAF_B: {15}}


def test_another_vlan_is_opened_before_the_vf_goes_there_and_the_old_one_closed_after(compute):
    compute.hear("port.create.end", neutron.port(1))
    compute.steps.made.clear()
    compute.hear("port.update.end", neutron.port(1, revision=2, vlan=20))

    assert compute.settings()[VF_A0].vlan == 20
    assert compute.files()[port_id(1)].vlan == 20
    assert compute.fabric.applied == [
        (LEAF_A, carried(15)),
        (LEAF_A, carried(15, 20)),
        (LEAF_A, carried(20)),
    ]
    changes = [name for name in compute.steps.made if name in ("apply", "set_vfs")]
    assert changes == ["apply", "set_vfs", "apply"]


def test_a_vlan_that_another_port_is_in_stays_open(compute):
    compute.hear("port.create.end", neutron.port(1))
    profile = {"pci_slot": vf_address(PF_A, 1), "physical_network": "physnet2"}
    compute.hear("port.create.end", neutron.port(2, binding_profile=profile))
    compute.hear("port.update.end", neutron.port(1, revision=2, vlan=20))
    assert compute.open() == {LEAF_A: {15, 20}}

    compute.hear("port.delete.end", neutron.deleted(2))
    assert compute.open() == {LEAF_A: {20}}


def test_a_deleted_port_leaves_nothing(compute):
    before = compute.state()
    payload = neutron.port(1, admin_state_up=False, port_security_enabled=False)
    payload["port"]["binding:profile"]["trusted"] = True
    compute.hear("port.create.end", payload)
    compute.hear("port.delete.end", neutron.deleted(1))

    assert compute.state() == before
    assert compute.store.switch_ports() == []
    assert port_id(1) not in compute.last.ports


def test_a_port_that_goes_to_another_host_is_released(compute):
    before = compute.state()
    compute.hear("port.create.end", neutron.port(1))
    compute.hear("port.update.end", neutron.port(1, revision=2, binding_host_id="compute2"))

    assert compute.state() == before


@pytest.mark.parametrize("vif_type", ["unbound", "binding_failed"])
def test_a_port_that_neutron_did_not_bind_gets_nothing(compute, vif_type):
    before = compute.state()
    compute.hear("port.create.end", neutron.port(1, binding_vif_type=vif_type))

    assert compute.state() == before


def test_a_port_without_vlan_is_untagged_and_opens_nothing(compute):
    compute.hear("network.create.end", neutron.network(None, provider_network_type="flat"))
    compute.hear("port.create.end", neutron.port(1, vlan=None))

    assert compute.settings()[VF_A0] == binding(1, vlan=0).vf_settings()
    assert compute.report(1).state == PortState.MET
    assert compute.open() == {}


def test_a_port_takes_vlan_and_physical_network_from_its_network(compute):
    compute.hear("port.create.end", neutron.port(1, vlan=None, binding_profile={}))
    assert compute.claims() == {}
    assert compute.report(1).unmet == (
        f"network_id '{neutron.NETWORK_ID}': its provider:segmentation_id "
        "is not known to this agent yet",
    )

    compute.hear("network.create.end", neutron.network(20))
    assert compute.report(1).state == PortState.MET
    assert compute.settings()[VF_A0].vlan == 20

    compute.hear("network.update.end", neutron.network(30, revision=2))
    assert compute.settings()[VF_A0].vlan == 30
    assert compute.open() == {LEAF_A: {30}}

    compute.hear("network.update.end", neutron.network(20, revision=1))
    assert compute.settings()[VF_A0].vlan == 30


def test_what_a_tenant_says_of_a_port_is_added_to_what_is_known(compute):
    compute.hear("port.create.end", neutron.members_view(neutron.port(1)))
    assert compute.claims() == {}

    compute.hear("port.update.end", neutron.port(1, revision=2))
    down = neutron.members_view(neutron.port(1, revision=3, admin_state_up=False))
    compute.hear("port.update.end", down)
    assert compute.settings()[VF_A0] == binding(1, link_state="disable").vf_settings()


@pytest.mark.parametrize("repeated", [1, 2])
def test_an_event_that_comes_again_changes_nothing(compute, repeated):
    for _ in range(repeated):
        compute.hear("port.create.end", neutron.port(1))
        state, made = compute.state(), len(compute.steps.made)
        compute.hear("port.create.end", neutron.port(1))
        assert compute.state() == state
        assert len(compute.steps.made) == made


@pytest.mark.parametrize(
    "late",
    [
        ("port.create.end", neutron.port(1, revision=1)),
        ("port.update.end", neutron.port(1, revision=2, vlan=20)),
        ("port.update.end", neutron.port(1, revision=2, binding_host_id="compute2")),
        ("port.update.end", neutron.port(1, revision=2, mac_address="bad")),
    ],
)
@pytest.mark.parametrize("newest", ["changed", "deleted", "moved"])
def test_an_old_event_after_a_new_one_changes_nothing(compute, late, newest):
    compute.hear("port.create.end", neutron.port(1))
    match newest:
        case "changed":
            compute.hear("port.update.end", neutron.port(1, revision=3, vlan=30))
        case "deleted":
            compute.hear("port.delete.end", neutron.deleted(1))
        case "moved":
            elsewhere = neutron.port(1, revision=3, binding_host_id="compute2")
            compute.hear("port.update.end", elsewhere)
    state, made = compute.state(), len(compute.steps.made)
    compute.hear(*late)
    compute.reconcile()

    assert compute.state() == state
    assert len(compute.steps.made) == made
    assert compute.counters.snapshot()["events.stale"] == 1


EVENTS = [
    ("port.create.end", neutron.port(1, revision=1)),
    ("port.update.end", neutron.port(1, revision=2, vlan=20)),
    ("port.update.end", neutron.port(1, revision=3, vlan=30, admin_state_up=False)),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_in_whatever_order_the_newest_word_counts(compute, order):
    for number in order:
        compute.hear(*EVENTS[number])
    compute.reconcile()

    assert compute.settings()[VF_A0] == binding(1, vlan=30, link_state="disable").vf_settings()
    assert compute.open() == {LEAF_A: {30}}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_in_whatever_order_nothing_follows_a_deletion(compute, order):
    before = compute.state()
    events = [*EVENTS, ("port.delete.end", neutron.deleted(1))]
    for number in order:
        compute.hear(*events[number])
    compute.reconcile()

    assert compute.state() == before


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_port_that_has_moved_on_before_it_was_heard_of_gets_nothing(compute, order):
    before = compute.state()
    events = [
        ("port.create.end", neutron.port(1, revision=1)),
        ("port.update.end", neutron.port(1, revision=2, binding_host_id="compute2")),
    ]
    for number in order:
        compute.hear(*events[number])

    assert compute.state() == before


def test_several_ports_of_one_request(compute):
    several = {"ports": [neutron.port(number)["port"] for number in (1, 2)]}
    compute.hear("port.create.end", several)

    assert compute.claims().keys() == {port_id(1), port_id(2)}
    assert compute.last.ports[port_id(2)].state == PortState.MET


def test_the_ports_of_other_hosts_and_agents_are_none_of_ours(compute):
    before = compute.state()
    compute.hear("port.create.end", neutron.port(1, binding_host_id="compute2"))
    compute.hear("port.create.end", neutron.port(2, binding_vnic_type="normal"))
    compute.hear("port.create.end", neutron.port(3, binding_host_id=""))
    compute.hear("port.delete.end", neutron.deleted(4))
    compute.hear("network.delete.end", {"network_id": neutron.NETWORK_ID})

    assert compute.state() == before
    assert "events.rejected" not in compute.counters.snapshot()
    assert compute.woken == []


@pytest.mark.parametrize("vlan", [0, 15, 20])
def test_the_last_vf_goes_from_a_port_to_the_next_in_one_pass(tmp_path, vlan):
    compute = Compute(tmp_path, num_vfs=1)
    del compute.lldp.heard[PF_B]
    compute.kernel.absent[PF_B] = "gone"
    compute.ports.create(binding(1, vlan=vlan))
    compute.reconcile()
    compute.fabric.open[LEAF_A] = carried(*{99, vlan} - {0})
    compute.ports.delete(port_id(1))
    compute.ports.create(binding(2, vlan=vlan))
    compute.reconcile()

    assert compute.report(2).state == PortState.MET
    assert compute.settings()[VF_A0] == binding(2, vlan=vlan).vf_settings()
    assert compute.open() == ({LEAF_A: {vlan}} if vlan else {})


@pytest.mark.parametrize(("count", "passes"), [(1, 1), (5, 1), (11, 2)])
def test_ports_that_each_wait_for_the_next_ones_vf_all_move(tmp_path, count, passes):
    compute = Compute(tmp_path, num_vfs=12)
    for shift in (0, 1):
        for number in range(count):
            slot = vf_address(PF_A, number + shift)
            compute.ports.put(named(number, slot, revision=shift))
        for _ in range(passes):
            compute.reconcile()

    assert {entry.state for entry in compute.last.ports.values()} == {PortState.MET}
    assert compute.claims() == {port_id(n): claim(n, PF_A, n + 1) for n in range(count)}
    assert compute.settings()[VF_A0] == RELEASED


def named(number, slot, revision):
    """A row of the table of ports: a port on the VF that nova chose."""
    document = to_builtins(binding(number, pci_slot=slot))
    del document["port_id"], document["revision_number"]
    return Port(port_id=port_id(number), revision_number=revision, bound=True, document=document)


def test_a_guests_own_mac_on_a_vf_is_not_taken_for_the_ports(compute):
    """The driver of a released VF announces an address of its own."""
    vf = compute.kernel.vf(PF_A, 0)
    vf.own_mac = "02:fe:00:00:00:01"
    vf.settings = replace(RELEASED, mac=vf.own_mac)
    before = compute.state()
    compute.hear("port.create.end", neutron.port(1))
    assert compute.settings()[VF_A0] == binding(1).vf_settings()
    compute.hear("port.delete.end", neutron.deleted(1))

    assert compute.state() == before
