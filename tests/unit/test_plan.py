# SPDX-License-Identifier: Apache-2.0
"""Single steps of a plan that no end state shows; its laws are in test_plan_properties."""

import pytest

from sriov_agent.core.actions import (
    DropClaim,
    RecordClaim,
    RemoveInterface,
    SetFabric,
    SetVfs,
    WriteInterface,
)
from sriov_agent.core.intent import intent
from sriov_agent.core.model import RELEASED, VfSettings
from sriov_agent.core.plan import concerned, pending, plan, possible, unrecorded, untried
from sriov_agent.core.state import Bindings, Desired, Interface, Scope
from tests.frozen import replace
from tests.topology import (
    LEAF_A,
    PF_A,
    PF_B,
    binding,
    carried,
    claim,
    interface,
    observed,
    pf,
    port_id,
    port_mac,
    vf,
)


def planned(*ports, on, **seen):
    bindings = Bindings(ports={port.port_id: port for port in ports})
    host = observed(*on, **seen)
    return plan(intent(bindings, host), host)


def carrying(number, **given):
    return vf(PF_A, 0, binding(number, **given).vf_settings())


def changes(**settings):
    return SetVfs(PF_A, ((0, VfSettings(**settings)),))


def left_alone(number, **given):
    return replace(carrying(number, **given), held_by="excluded", excluded=True)


def test_a_vf_that_is_excluded_since_is_not_touched_while_its_port_lives():
    opened = {LEAF_A: carried(15)}
    seen = {"claims": {port_id(1): claim(1, PF_A, 0)}, "fabric": opened}
    seen["interfaces"] = {port_id(1): interface(binding(1), PF_A, 0)}
    assert planned(binding(1, vlan=16), on=[pf(PF_A, left_alone(1))], **seen) == ()


def test_a_vf_that_is_excluded_since_is_not_touched_when_its_port_goes():
    claims = {port_id(1): claim(1, PF_A, 0)}
    assert planned(on=[pf(PF_A, left_alone(1))], claims=claims) == (DropClaim(claims[port_id(1)]),)


def test_a_vf_that_is_excluded_is_not_claimed_for_the_xml_that_names_it():
    files = {port_id(1): interface(binding(1), PF_A, 0)}
    actions = planned(on=[pf(PF_A, left_alone(1))], interfaces=files)
    assert actions == (RemoveInterface(port_id(1)),)


def test_first_the_claim_and_the_fabric_then_what_needs_them():
    needing = (
        changes(mac=port_mac(1), vlan=15, qos=0),
        WriteInterface(port_id(1), interface(binding(1), PF_A, 0)),
    )
    assert planned(binding(1), on=[pf(PF_A)]) == (
        RecordClaim(claim(1, PF_A, 0)),
        SetFabric(LEAF_A, carried(15)),
        *needing,
    )
    opened = {LEAF_A: carried(15)}
    claims = {port_id(1): claim(1, PF_A, 0)}
    assert planned(binding(1), on=[pf(PF_A)], claims=claims, fabric=opened) == needing


def test_whose_claim_could_not_be_recorded_has_nothing_done_that_needs_it():
    actions = planned(binding(1), binding(2), on=[pf(PF_A)])
    (first, second), fabric, vfs, *files = actions[:2], *actions[2:]
    tried = {first: "disk full", second: ""}
    assert unrecorded(tried) == [claim(1, PF_A, 0)]
    assert possible(actions, []) == actions
    assert possible((fabric, vfs, *files), unrecorded(tried)) == (
        fabric,
        SetVfs(PF_A, vfs.changes[1:]),
        files[1],
    )
    assert possible((vfs, *files), [claim(1, PF_A, 0), claim(2, PF_A, 1)]) == ()


def test_a_mac_that_is_seen_already_is_set_only_once_its_claim_was_seen():
    actions = planned(binding(1), on=[pf(PF_A, vf(PF_A, 0, VfSettings(mac=port_mac(1))))])
    assert [type(action) for action in actions] == [RecordClaim, SetFabric]


def test_a_release_takes_xml_and_settings_back_then_closes_and_forgets():
    claims = {port_id(1): claim(1, PF_A, 0)}
    opened = {LEAF_A: carried(15)}
    files = {port_id(1): interface(binding(1), PF_A, 0)}
    seen = {"claims": claims, "fabric": opened}
    assert planned(on=[pf(PF_A, carrying(1))], interfaces=files, **seen) == (
        changes(mac=RELEASED.mac, vlan=0, qos=0),
        RemoveInterface(port_id(1)),
    )
    assert planned(on=[pf(PF_A)], **seen) == (
        SetFabric(LEAF_A, frozenset()),
        DropClaim(claim(1, PF_A, 0)),
    )


@pytest.mark.parametrize(
    ("was", "change"),
    [
        ({"vlan": 20}, {"vlan": 15, "qos": 5}),
        ({"qos": 3}, {"vlan": 15, "qos": 5}),
        ({"max_tx_rate": 0}, {"min_tx_rate": 10, "max_tx_rate": 100}),
        ({"min_tx_rate": 0}, {"min_tx_rate": 10, "max_tx_rate": 100}),
        ({"trust": True}, {"trust": False}),
        ({"mac": port_mac(9), "spoofchk": False}, {"mac": port_mac(1), "spoofchk": True}),
    ],
)
def test_what_the_kernel_takes_in_one_attribute_goes_together_and_the_rest_by_itself(was, change):
    port = binding(1, qos=5, min_tx_rate=10, max_tx_rate=100)
    on = pf(PF_A, vf(PF_A, 0, replace(port.vf_settings(), **was)))
    seen = {
        "claims": {port.port_id: replace(claim(1, PF_A, 0))},
        "interfaces": {port.port_id: interface(port, PF_A, 0)},
        "fabric": {LEAF_A: carried(15)},
    }
    assert planned(port, on=[on], **seen) == (changes(**change),)


def test_all_vfs_of_a_pf_that_change_are_one_action():
    ports = [binding(number) for number in (1, 2, 3)]
    claims = {
        port_id(n): claim(n, pf, i) for n, pf, i in ((1, PF_A, 2), (2, PF_A, 0), (3, PF_B, 1))
    }
    actions = planned(*ports, on=[pf(PF_B), pf(PF_A)], claims=claims)
    on_vfs = [action for action in actions if isinstance(action, SetVfs)]
    assert [(action.pf, [index for index, _ in action.changes]) for action in on_vfs] == [
        (PF_A, [0, 2]),
        (PF_B, [1]),
    ]


def test_a_lost_claim_is_recorded_before_its_xml_is_removed():
    files = {port_id(1): interface(binding(1), PF_A, 0)}
    seen = {"interfaces": files, "fabric": {LEAF_A: carried(15)}}
    assert planned(on=[pf(PF_A, carrying(1))], **seen) == (RecordClaim(claim(1, PF_A, 0)),)


@pytest.mark.parametrize("recorded", [True, False])
def test_an_xml_left_on_a_vf_that_another_port_has_got_is_no_claim(recorded):
    """The VF still has the old port's MAC: it was handed over, and then the power went."""
    slot = vf(PF_A, 0).address
    claims = {port_id(2): claim(2, PF_A, 0)} if recorded else {}
    files = {port_id(1): interface(binding(1), PF_A, 0)}
    on = [pf(PF_A, carrying(1))]
    actions = planned(binding(2, pci_slot=slot), on=on, claims=claims, interfaces=files)
    assert not any(
        isinstance(action, RecordClaim) and action.claim.port_id == port_id(1) for action in actions
    )
    assert RemoveInterface(port_id(1)) in actions


MAC, OTHER = changes(mac=port_mac(1)), changes(mac=port_mac(2))
BOTH = SetVfs(
    PF_A, ((0, VfSettings(mac=port_mac(1), trust=True)), (1, VfSettings(mac=port_mac(2))))
)


@pytest.mark.parametrize(
    ("tried", "left"),
    [
        ([], [BOTH]),
        ([BOTH], []),
        (
            [MAC],
            [SetVfs(PF_A, ((0, VfSettings(trust=True)), (1, VfSettings(mac=port_mac(2)))))],
        ),
        ([MAC, SetVfs(PF_A, ((1, VfSettings(mac=port_mac(2))),))], [changes(trust=True)]),
        ([OTHER], [BOTH]),
        ([SetVfs(PF_B, MAC.changes)], [BOTH]),
    ],
)
def test_a_setting_tried_alone_is_taken_out_of_a_batch_and_no_other_value_of_it(tried, left):
    assert untried([BOTH], tried) == tuple(left)


def test_other_actions_are_tried_once_each():
    again = [RecordClaim(claim(1, PF_A, 0)), SetFabric(LEAF_A, carried(15))]
    assert untried(again, [again[0]]) == (again[1],)
    assert untried(again, [SetFabric(LEAF_A, carried(15, 20))]) == tuple(again)


def test_what_was_done_may_be_done_again_once_it_was_seen_and_what_was_refused_may_not():
    done, refused = SetFabric(LEAF_A, carried(15)), MAC
    tried = {done: "", refused: "EBUSY"}
    assert pending([done], tried) == tried
    assert pending([], tried) == {refused: "EBUSY"}


def test_of_two_files_that_name_a_vf_both_stay_until_it_is_recorded_whose_it_is():
    files = {port_id(n): interface(binding(1), PF_A, 0) for n in (1, 2)}
    host = [pf(PF_A, carrying(1))]
    (recorded,) = planned(on=host, interfaces=files)
    assert recorded == RecordClaim(claim(1, PF_A, 0))
    claims = {port_id(1): recorded.claim}
    assert RemoveInterface(port_id(2)) in planned(on=host, interfaces=files, claims=claims)


@pytest.mark.parametrize("bound", [1, 2])
def test_of_two_files_that_name_a_vf_the_one_counts_whose_port_is_bound_here(bound):
    left = interface(binding(bound), PF_A, 0)
    seen = observed(
        pf(PF_A, vf(PF_A, 0, binding(bound).vf_settings())),
        interfaces={port_id(1): left, port_id(2): left},
    )
    desired = intent(Bindings(invalid={port_id(bound): "vlan 4095"}), seen)
    other = port_id(3 - bound)
    claims = [a for a in plan(desired, seen) if isinstance(a, RecordClaim)]
    assert claims == [RecordClaim(claim(bound, PF_A, 0))]
    assert RemoveInterface(other) not in plan(desired, seen)
    recorded = replace(seen, claims={port_id(bound): claims[0].claim})
    assert RemoveInterface(other) in plan(desired, recorded)


@pytest.mark.parametrize(
    ("action", "pfs"),
    [
        (RecordClaim(claim(1, PF_A, 0)), {PF_A}),
        (DropClaim(claim(1, PF_B, 0)), {PF_B}),
        (changes(vlan=15), {PF_A}),
        (SetFabric(LEAF_A, frozenset()), {PF_A}),
        (RemoveInterface(port_id(1)), set()),
        (WriteInterface(port_id(1), Interface(vf="", mac="", vlan=0)), set()),
    ],
)
def test_what_is_done_is_decided_on_a_look_at_its_pf(action, pfs):
    assert concerned(Desired(), [action], Scope(frozenset([port_id(1)]))) == pfs


def test_what_a_port_lacks_may_be_on_any_pf():
    lacking = Desired(unmet={port_id(1): "no free VF"})
    assert concerned(lacking, [], Scope(frozenset([port_id(1)]))) is None
    assert concerned(lacking, [], Scope(frozenset([port_id(2)]))) == frozenset()
