# SPDX-License-Identifier: Apache-2.0
"""What did not answer is unknown, not empty; what answered yes is not yet done."""

import pytest

from sriov_agent.core.model import RELEASED
from sriov_agent.core.report import PortState
from sriov_agent.core.state import ALL, Scope
from sriov_agent.exceptions import Unavailable
from tests import neutron
from tests.topology import (
    LEAF_A,
    LEAF_B,
    PF_A,
    PF_B,
    binding,
    carried,
    neighbor,
    port_id,
    switch_port,
    vf_address,
)

VF_A0 = vf_address(PF_A, 0)
CREATE = ("port.create.end", neutron.port(1))
DELETE = ("port.delete.end", neutron.deleted(1))


class NoSource:
    """A table of ports that cannot be read."""

    def bindings(self):
        raise Unavailable("ports.db: disk I/O error")


def test_while_the_source_cannot_be_read_nothing_is_done(compute):
    compute.hear(*CREATE)
    state, made = compute.state(), len(compute.steps.made)
    compute.reconciler.source = NoSource()
    for scope in (ALL, Scope(frozenset({port_id(1)}))):
        with pytest.raises(Unavailable, match="disk I/O error"):
            compute.reconcile(scope)

    assert compute.state() == state
    assert len(compute.steps.made) == made


def test_while_the_record_cannot_be_read_nothing_is_done(compute):
    compute.hear(*CREATE)
    state, made = compute.state(), len(compute.steps.made)
    path = compute.store.database.path
    kept = path.read_bytes()
    wal = path.with_name("agent.db-wal")
    kept_wal = wal.read_bytes() if wal.exists() else b""
    for file in (path, wal):
        file.unlink(missing_ok=True)
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    with pytest.raises(Unavailable, match=r"agent\.db"):
        compute.reconcile()
    path.unlink()
    path.write_bytes(kept)
    wal.write_bytes(kept_wal)

    assert compute.state() == state
    assert len(compute.steps.made) == made


def test_a_pf_that_cannot_be_seen_keeps_what_it_has(compute):
    compute.hear(*CREATE)
    claims, vfs, opened = compute.claims(), compute.settings(), compute.open()
    compute.kernel.absent[PF_A] = "PF 0000:3b:00.0: its netdev is gone"
    compute.hear(*DELETE)
    compute.reconcile()

    assert (compute.claims(), compute.settings(), compute.open()) == (claims, vfs, opened)
    assert compute.report(1).state == PortState.RELEASING
    assert compute.report(1).unmet[0].endswith("its netdev is gone")
    assert "PF 0000:3b:00.0: its netdev is gone" in compute.last.unmet

    del compute.kernel.absent[PF_A]
    compute.reconcile()
    assert compute.claims() == compute.open() == {}


def test_a_pf_that_cannot_be_seen_holds_up_no_other(compute):
    compute.hear(*CREATE)
    compute.kernel.absent[PF_A] = "gone"
    compute.hear("port.create.end", neutron.port(2))

    assert compute.report(2).state == PortState.MET
    assert compute.report(1).state == PortState.UNMET
    assert compute.claims()[port_id(1)].vf == VF_A0


def test_with_the_fabric_down_the_vf_is_ready_and_the_port_is_not_met(compute):
    compute.fabric.down = True
    compute.hear(*CREATE)

    assert compute.settings()[VF_A0] == binding(1).vf_settings()
    assert compute.report(1).state == PortState.UNMET
    assert compute.report(1).unmet == (
        "VLAN 15 not seen open on switch 'leaf1' port 'swp1': device manager: no answer",
    )

    compute.fabric.down = False
    compute.reconcile(Scope(frozenset({port_id(1)})))
    assert compute.report(1).state == PortState.MET
    assert compute.open() == {LEAF_A: {15}}


def test_a_fabric_that_fails_in_between_is_asked_again_before_it_is_believed(compute):
    compute.hear(*CREATE)
    compute.fabric.down = True
    compute.hear("port.update.end", neutron.port(1, revision=2, vlan=20))
    assert compute.report(1).state == PortState.UNMET
    assert compute.open() == {LEAF_A: {15}}

    compute.fabric.down = False
    compute.reconcile(Scope(frozenset({port_id(1)})))
    assert compute.report(1).state == PortState.MET
    assert compute.open() == {LEAF_A: {20}}


def test_what_was_done_although_the_answer_was_lost_is_looked_at(compute):
    compute.hear(*CREATE)
    compute.fabric.mute = True
    compute.hear("port.update.end", neutron.port(1, revision=2, vlan=20))
    assert compute.report(1).state == PortState.MET
    assert compute.open() == {LEAF_A: {20}}

    compute.fabric.mute = False
    compute.hear("port.update.end", neutron.port(1, revision=3))
    assert compute.report(1).state == PortState.MET
    assert compute.open() == {LEAF_A: {15}}


def test_with_the_fabric_down_a_release_goes_on_and_the_vlan_is_closed_later(compute):
    compute.hear(*CREATE)
    compute.fabric.down = True
    compute.hear(*DELETE)
    compute.reconcile()
    assert compute.settings()[VF_A0] == RELEASED
    assert compute.claims() == {}
    assert compute.open() == {LEAF_A: {15}}

    compute.start()
    compute.fabric.down = False
    compute.reconcile()
    assert compute.open() == {}
    assert compute.store.switch_ports() == []


def test_a_switch_port_that_cannot_be_read_is_left_alone_and_the_others_are_not(compute):
    compute.hear(*CREATE)
    compute.hear("port.create.end", neutron.port(2))
    compute.fabric.dark = {LEAF_A}
    compute.hear(*DELETE)
    compute.hear("port.delete.end", neutron.deleted(2))
    compute.reconcile()

    assert compute.open() == {LEAF_A: {15}}
    assert compute.store.switch_ports() == [LEAF_A]
    assert compute.claims() == {}


def test_a_vlan_that_the_device_manager_refuses_is_said_and_holds_up_nothing_else(compute):
    compute.fabric.forbidden = {20}
    compute.hear("port.create.end", neutron.port(1, vlan=20))
    assert compute.report(1).unmet[0].endswith(": VLAN 20 is not allowed here")

    compute.hear("port.create.end", neutron.port(2))
    assert compute.report(2).state == PortState.MET


def test_of_several_new_vlans_on_a_pf_only_the_refused_one_stays_closed(compute):
    compute.fabric.forbidden = {20}
    for number, vlan in ((1, 20), (2, 15), (3, 16), (5, 15), (6, 17)):
        compute.hear("port.create.end", neutron.port(number, vlan=vlan), unheeded=True)
    compute.reconcile()

    assert compute.open() == {LEAF_A: {16, 17}, LEAF_B: {15}}
    assert {number: compute.report(number).state for number in (1, 2, 3, 6)} == {
        1: PortState.UNMET,
        2: PortState.MET,
        3: PortState.MET,
        6: PortState.MET,
    }

    compute.hear("port.delete.end", neutron.deleted(3))
    assert compute.open() == {LEAF_A: {17}, LEAF_B: {15}}
    assert compute.report(6).state == PortState.MET


def test_a_fabric_that_says_yes_and_opens_nothing_is_not_believed(compute):
    compute.fabric.deaf = True
    compute.hear(*CREATE)

    assert compute.report(1).unmet == ("VLAN 15 not seen open on switch 'leaf1' port 'swp1'",)


def test_what_somebody_else_opened_for_this_host_is_closed_by_the_next_full_pass(compute):
    compute.hear(*CREATE)
    compute.fabric.open[LEAF_A] = carried(15, 99)
    compute.fabric.open[LEAF_B] = carried(15)
    compute.reconcile()

    assert compute.open() == {LEAF_A: {15}}


def test_what_an_agent_without_memory_left_behind_is_closed_as_far_as_it_is_told_of(compute):
    compute.hear(*CREATE)
    former = switch_port(PF_A, leaf=3)
    compute.fabric.open[former] = carried(15, 20)
    compute.fabric.left_behind = {former}
    compute.reconcile()
    assert compute.open() == {LEAF_A: {15}}


def test_a_vlan_that_somebody_else_closed_is_opened_by_the_next_full_pass(compute):
    compute.hear(*CREATE)
    compute.fabric.open[LEAF_A] = frozenset()
    compute.reconcile()

    assert compute.open() == {LEAF_A: {15}}
    assert compute.report(1).state == PortState.MET


@pytest.mark.parametrize(
    ("heard", "reason"),
    [
        ([], "no LLDP neighbor"),
        ([neighbor(), neighbor(leaf=9)], "ambiguous LLDP neighbors: 'leaf1' port 'swp1', 'leaf9'"),
        ([neighbor(ttl=0)], "no LLDP neighbor that is a switch"),
    ],
)
def test_without_one_neighbor_nothing_is_opened_and_nothing_closed(compute, heard, reason):
    compute.lldp.heard[PF_A] = heard
    compute.hear(*CREATE)
    assert compute.report(1).state == PortState.UNMET
    assert reason in compute.report(1).unmet[0]
    assert compute.settings()[VF_A0].vlan == 15
    assert compute.open() == {}

    compute.lldp.heard[PF_A] = [neighbor()]
    compute.reconcile()
    assert compute.report(1).state == PortState.MET

    compute.lldp.heard[PF_A] = heard
    compute.reconcile()
    assert compute.open() == {LEAF_A: {15}}
    assert reason in compute.report(1).unmet[0]


def test_a_vlan_is_closed_where_it_was_opened_also_when_lldp_is_silent(compute):
    compute.hear(*CREATE)
    compute.lldp.heard[PF_A] = []
    compute.start()
    compute.hear(*DELETE)

    assert compute.open() == {}
    assert compute.store.switch_ports() == []


def test_an_lldpd_that_does_not_answer_is_said(compute):
    compute.hear(*CREATE)
    compute.lldp.down = True
    compute.reconcile()

    assert compute.open() == {LEAF_A: {15}}
    assert compute.report(1).unmet[0].endswith("is lldpd running?")
    assert any("is lldpd running?" in why for why in compute.last.unmet)


def test_without_a_fabric_to_wait_for_lldp_is_not_missed(compute):
    compute.fabric.required = False
    compute.lldp.down = True
    compute.hear(*CREATE)

    assert compute.report(1).state == PortState.MET
    assert compute.last.unmet == ()


def test_a_pf_that_was_plugged_in_elsewhere_is_open_there_and_no_longer_here(compute):
    compute.hear(*CREATE)
    compute.lldp.heard[PF_A] = [neighbor(leaf=3)]
    compute.kernel.flap(PF_A)
    compute.reconcile()

    assert compute.open() == {switch_port(PF_A, leaf=3): {15}}
    assert compute.report(1).state == PortState.MET
    assert compute.report(1).switch_ports == (switch_port(PF_A, leaf=3),)
    assert compute.last.unmet == ()
    assert compute.store.switch_ports() == [switch_port(PF_A, leaf=3)]


@pytest.mark.parametrize(("seconds", "believed"), [(1, True), (500, False)])
def test_what_is_still_remembered_of_the_old_switch_port_confirms_nothing(
    compute, seconds, believed
):
    compute.hear(*CREATE)
    compute.kernel.flap(PF_A)
    compute.reconcile()
    compute.seconds += seconds
    compute.reconcile()
    compute.lldp.heard[PF_A] = [neighbor(leaf=3)]
    compute.reconcile()
    assert compute.open() == {switch_port(PF_A, leaf=3 if believed else 1): {15}}


def test_a_pf_that_moves_without_being_unplugged_waits_for_somebody_to_confirm_it(compute):
    compute.hear(*CREATE)
    compute.lldp.heard[PF_A] = [neighbor(leaf=3)]
    compute.start()
    compute.reconcile()
    assert compute.open() == {LEAF_A: {15}}
    [why] = compute.report(1).unmet
    assert "moved from switch 'leaf1' port 'swp1' to switch 'leaf3'" in why
    assert f"sriovctl lldp accept {PF_A}" in why

    assert compute.store.forget_cabling(PF_A)
    compute.reconcile()
    assert compute.open() == {switch_port(PF_A, leaf=3): {15}}
    assert compute.report(1).state == PortState.MET


def test_a_bonded_pf_is_open_on_the_switch_ports_of_the_whole_bond(compute):
    compute.kernel.bonded = True
    compute.hear(*CREATE)

    both = (switch_port(PF_A), switch_port(PF_A, leaf=2))
    assert compute.open() == dict.fromkeys(both, frozenset({15}))
    assert compute.report(1).state == PortState.MET
    assert compute.report(1).switch_ports == both

    compute.hear("port.delete.end", neutron.deleted(1))
    assert compute.open() == {}


def test_a_member_of_a_bond_without_link_is_not_missed_and_opened_when_it_comes(compute):
    compute.kernel.bonded = True
    compute.kernel.dark = {PF_B}
    compute.hear(*CREATE)
    assert compute.open() == {LEAF_A: {15}}
    assert compute.report(1).state == PortState.MET

    compute.kernel.dark = set()
    compute.lldp.heard[PF_B] = []
    compute.reconcile()
    assert compute.report(1).state == PortState.UNMET

    compute.lldp.heard[PF_B] = [neighbor(leaf=2)]
    compute.reconcile()
    both = {switch_port(PF_A), switch_port(PF_A, leaf=2)}
    assert compute.open() == dict.fromkeys(both, frozenset({15}))

    compute.kernel.dark = {PF_B}
    compute.reconcile()
    assert compute.open() == dict.fromkeys(both, frozenset({15}))
    assert compute.report(1).state == PortState.MET

    compute.kernel.bonded = False
    compute.reconcile()
    assert compute.open() == {LEAF_A: {15}}
