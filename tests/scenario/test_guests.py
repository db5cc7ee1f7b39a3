# SPDX-License-Identifier: Apache-2.0
"""What a running guest has is neither given away nor reset, and comes back when it ends."""

import pytest

from sriov_agent.core.guests import UNANSWERED, Held, Reserved, with_guests
from sriov_agent.core.model import RELEASED
from sriov_agent.core.report import PortState
from tests import neutron, topology
from tests.frozen import replace
from tests.topology import LEAF_A, PF_A, PF_B, binding, port_id, vf_address

VF_A0 = vf_address(PF_A, 0)


def create(compute, number, **profile):
    payload = neutron.port(number)
    payload["port"]["binding:profile"].update(profile)
    compute.hear("port.create.end", payload)


def delete(compute, number):
    compute.hear("port.delete.end", neutron.deleted(number))


@pytest.fixture
def plugged(compute):
    """Port 1 with the first VF of PF_A, which the domain web1 has."""
    create(compute, 1)
    compute.guests.start("web1", PF_A, 0)
    compute.reconcile()
    return compute


def test_the_report_names_the_domain(plugged):
    assert (plugged.report(1).state, plugged.report(1).domain) == (PortState.MET, "web1")


def test_a_port_that_goes_leaves_its_vf_as_it_is_until_the_guest_has_left_it(plugged):
    delete(plugged, 1)
    report = plugged.report(1)
    assert report.state == PortState.RELEASING
    (why,) = report.unmet
    assert VF_A0 in why
    assert "domain web1" in why
    assert plugged.settings()[VF_A0] == binding(1).vf_settings()
    assert plugged.open() == {LEAF_A: {15}}

    plugged.guests.end("web1")
    plugged.reconcile()
    assert plugged.settings()[VF_A0] == RELEASED
    assert not plugged.claims()
    assert not plugged.open()


def test_a_vlan_that_libvirt_sets_back_is_set_again(plugged):
    plugged.kernel.vf(PF_A, 0).settings = binding(1, vlan=16).vf_settings()
    plugged.guests.end("web1")
    plugged.reconcile()
    assert plugged.settings()[VF_A0] == binding(1).vf_settings()


def test_a_vf_of_somebody_elses_guest_is_not_given_away(compute):
    """It has no MAC and no VLAN set: only libvirt can tell."""
    for pf in (PF_A, PF_B):
        for index in range(3):
            compute.guests.start(f"{pf}-{index}", pf, index)
    create(compute, 1)
    create(compute, 2)
    assert {claim.index for claim in compute.claims().values()} == {3}
    create(compute, 3)
    assert "no free VF" in compute.report(3).unmet[0]


def test_a_named_vf_in_another_domain_is_refused(compute):
    compute.guests.start("theirs", PF_A, 0)
    create(compute, 1, pci_slot=VF_A0)
    assert compute.report(1).unmet == (
        f"pci_slot '{VF_A0}': in use by domain theirs: detach it there first",
    )
    assert compute.settings()[VF_A0] == RELEASED
    compute.guests.end("theirs")
    compute.reconcile()
    assert compute.report(1).state == PortState.MET


def test_while_libvirt_is_away_no_vf_that_may_be_in_a_guest_is_touched(plugged):
    plugged.guests.start("theirs", PF_A, 1)
    plugged.guests.away = True
    delete(plugged, 1)
    assert plugged.report(1).unmet == (
        f"VF {VF_A0} may be in a guest: qemu:///system does not answer",
    )
    assert "qemu:///system does not answer" in plugged.last.unmet
    assert plugged.settings()[VF_A0] == binding(1).vf_settings()
    for number in range(2, 9):
        create(plugged, number)
    assert plugged.claims()[port_id(1)].vf == VF_A0
    assert len(plugged.claims()) == 7
    taken = {claim.vf for port, claim in plugged.claims().items() if port != port_id(1)}
    assert not taken & {VF_A0, vf_address(PF_A, 1)}

    plugged.guests.end("web1")
    plugged.guests.away = False
    plugged.reconcile()
    assert port_id(1) not in plugged.claims()
    assert len(plugged.claims()) == 7


@pytest.mark.parametrize("said", [{"pf": "ens1"}, {"addresses": frozenset({VF_A0})}])
def test_a_vf_that_a_network_of_libvirt_gives_away_is_not_the_agents(compute, said):
    compute.guests.networks = [Reserved(network="fast", **said)]
    pf = compute.kernel.pfs()[0][PF_A]
    create(compute, 1, pci_slot=vf_address(PF_B, 0))
    for number in range(2, 5):
        create(compute, number)
    theirs = {vf.address for vf in pf.vfs if compute.guests.networks[0].includes(pf, vf)}
    assert VF_A0 in theirs
    assert not theirs & {claim.vf for claim in compute.claims().values()}


def test_a_network_that_came_later_takes_nothing_from_a_port(plugged):
    plugged.guests.networks = [Reserved(network="fast", addresses=frozenset({VF_A0}))]
    plugged.reconcile()
    assert (plugged.report(1).state, plugged.report(1).domain) == (PortState.MET, "web1")
    plugged.guests.end("web1")
    plugged.reconcile()
    delete(plugged, 1)
    assert plugged.settings()[VF_A0] == RELEASED
    assert not plugged.claims()


def test_what_a_network_gives_away_is_remembered_while_libvirt_is_away(compute):
    compute.guests.networks = [Reserved(network="fast", addresses=frozenset({VF_A0}))]
    compute.reconcile()
    compute.guests.away = True
    for number in range(1, 9):
        create(compute, number)
    assert VF_A0 not in {claim.vf for claim in compute.claims().values()}


def test_a_macvtap_is_told_by_its_netdev():
    pf = topology.pf(PF_A, *(replace(topology.vf(PF_A, i), netdev=f"ens1v{i}") for i in range(2)))
    held = Held(domain="web1", netdev="ens1v0")
    first, second, *_ = with_guests({PF_A: pf}, [held])[PF_A].vfs
    assert (first.domain, first.held_by) == ("web1", "domain web1 has it")
    assert (second.domain, second.held_by) == ("", "")


def test_without_an_answer_only_what_could_be_in_a_guest_is_held():
    free = topology.vf(PF_A, 0)
    taken = replace(topology.vf(PF_A, 1), driver="vfio-pci", passed_through=True)
    seen = with_guests({PF_A: topology.pf(PF_A, free, taken)}, None)[PF_A].vfs
    assert seen[0] == free
    assert (seen[1].domain, seen[1].held_by) == (None, UNANSWERED)
