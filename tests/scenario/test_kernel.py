# SPDX-License-Identifier: Apache-2.0
"""A kernel that refuses, that says yes and does nothing, that lacks a setting; VFs of others."""

import pytest

from sriov_agent.core.model import RELEASED
from sriov_agent.core.report import PortState
from tests import neutron
from tests.frozen import replace
from tests.topology import LEAF_A, PF_A, PF_B, binding, port_id, vf_address

VF_A0 = vf_address(PF_A, 0)
CREATE = ("port.create.end", neutron.port(1))
DELETE = ("port.delete.end", neutron.deleted(1))


@pytest.mark.parametrize(
    "name", ["mac", "vlan", "spoofchk", "trust", "link_state", "min_tx_rate", "max_tx_rate"]
)
def test_a_setting_that_the_kernel_takes_and_does_not_change_is_not_met(compute, name):
    compute.kernel.vf(PF_A, 0).deaf = frozenset({name})
    compute.ports.create(rich(1))
    compute.reconcile()

    assert compute.report(1).state == PortState.UNMET
    [why] = compute.report(1).unmet
    assert why.startswith(f"{name} of VF {VF_A0} is ")
    assert len(compute.kernel.messages) < 4

    compute.kernel.vf(PF_A, 0).deaf = frozenset()
    compute.reconcile()
    assert compute.report(1).state == PortState.MET


def test_a_setting_that_the_kernel_refuses_stops_no_other(compute):
    compute.kernel.vf(PF_A, 0).refused = frozenset({"mac"})
    compute.ports.create(rich(1))
    compute.ports.create(rich(2))
    compute.reconcile()

    assert compute.report(1).unmet == (
        f"mac of VF {VF_A0} is 00:00:00:00:00:00, not 02:5a:00:00:00:01: VF 0: mac: EBUSY",
    )
    assert compute.settings()[VF_A0] == replace(rich(1).vf_settings(), mac=RELEASED.mac)
    assert compute.report(2).state == PortState.MET


def test_a_vf_that_does_not_let_go_is_held_until_it_does(compute):
    compute.hear(*CREATE)
    compute.kernel.vf(PF_A, 0).refused = frozenset({"vlan"})
    compute.hear(*DELETE)

    assert compute.report(1).state == PortState.RELEASING
    assert compute.claims().keys() == {port_id(1)}
    assert compute.settings()[VF_A0] == replace(RELEASED, vlan=15)
    assert compute.open() == {LEAF_A: {15}}

    compute.kernel.vf(PF_A, 0).refused = frozenset()
    compute.reconcile()
    assert compute.settings()[VF_A0] == RELEASED
    assert compute.claims() == compute.open() == {}


def test_what_igb_cannot_do_is_said_and_stops_nothing(igb):
    igb.ports.create(rich(1))
    igb.reconcile()

    assert igb.report(1).state == PortState.MET
    assert igb.report(1).unsupported == ("link_state", "min_tx_rate")
    done = replace(rich(1).vf_settings(), link_state="auto", min_tx_rate=0)
    assert igb.settings()[VF_A0] == done
    assert igb.open() == {LEAF_A: {15}}

    messages = len(igb.kernel.messages)
    igb.reconcile()
    assert igb.report(1).unsupported == ("link_state", "min_tx_rate")
    assert len(igb.kernel.messages) == messages


def test_what_igb_cannot_do_is_not_in_the_way_of_a_release(igb):
    before = igb.state()
    igb.ports.create(rich(1))
    igb.reconcile()
    igb.ports.delete(port_id(1))
    igb.reconcile()

    assert igb.state() == before
    assert igb.last.ports == {}


def rich(number):
    """A port that asks for something other than an unused VF's in every setting."""
    return binding(
        number,
        qos=3,
        spoofchk=False,
        trust=True,
        link_state="enable",
        min_tx_rate=10,
        max_tx_rate=100,
    )


def test_a_vf_that_somebody_else_uses_is_never_touched(compute):
    for pf, index, used in ((PF_A, 0, "netdev v0 is up"), (PF_B, 0, ""), (PF_B, 1, "")):
        vf = compute.kernel.vf(pf, index)
        vf.used = used
        if not used:
            vf.settings = replace(RELEASED, mac="02:ff:00:00:00:01", vlan=44 * index)
            vf.driver = "vfio-pci"
    others = {vf_address(PF_A, 0), vf_address(PF_B, 0), vf_address(PF_B, 1)}
    before = compute.settings()
    for number in range(1, 7):
        compute.hear("port.create.end", neutron.port(number))
    assert not others & {held.vf for held in compute.claims().values()}
    assert compute.report(6).unmet == (
        "physical_network 'physnet2': no free VF: of 8 VFs 5 are held by ports "
        "and 3 used by others",
    )
    for number in range(1, 7):
        compute.hear("port.delete.end", neutron.deleted(number))

    assert compute.settings() == before


def test_a_mac_that_the_vfs_driver_shows_by_itself_is_set_once(compute):
    own = binding(1, vlan=0, pci_slot=VF_A0)
    vf = compute.kernel.vf(PF_A, 0)
    vf.own_mac, vf.settings = own.mac, replace(RELEASED, mac=own.mac)
    compute.ports.create(own)
    for _ in range(3):
        compute.reconcile()
    assert compute.report(1).state == PortState.MET
    set_to = [change.mac for _, changes in compute.kernel.messages for _, change in changes]
    assert set_to == [own.mac]
    assert not compute.claims()[port_id(1)].unset
