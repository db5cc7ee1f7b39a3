# SPDX-License-Identifier: Apache-2.0
"""What is said of a port: one sentence for each thing that was wanted and not seen."""

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
from sriov_agent.core.lldp import describe_port
from sriov_agent.core.model import RELEASED, Cabling, LldpId, VfSettings
from sriov_agent.core.report import PortState, left_open, report
from sriov_agent.core.state import Bindings
from tests.frozen import replace
from tests.topology import (
    LEAF_A,
    LEAF_B,
    PF_A,
    PF_B,
    binding,
    carried,
    claim,
    interface,
    observed,
    pf,
    port_id,
    vf,
    vf_address,
)

PORT = port_id(1)
CLAIM = claim(1, PF_A, 0)
VF = vf_address(PF_A, 0)
XML = interface(binding(1), PF_A, 0)


def met(**changed):
    """A host on which port 1 has all it asked for, but for what is ``changed``."""
    whole = {
        "claims": {PORT: CLAIM},
        "interfaces": {PORT: XML},
        "fabric": {LEAF_A: carried(15)},
    }
    pfs = changed.pop("pfs", [pf(PF_A, vf(PF_A, 0, binding(1).vf_settings()))])
    return observed(*pfs, **(whole | changed))


def said(seen, failed=None, port=None, fabric_required=True):
    """The report of ``port``, or of nobody's port 1."""
    ports = {port.port_id: port} if port else {}
    desired = intent(Bindings(ports=ports), seen)
    return report(desired, seen, failed or {}, fabric_required=fabric_required)


def of_port(seen, failed=None, **given):
    return said(seen, failed, binding(1, **given)).ports[PORT]


def test_a_port_is_met_when_all_of_it_was_seen():
    entry = of_port(met())
    assert entry.state == PortState.MET
    assert (entry.claim, entry.switch_ports) == (CLAIM, (LEAF_A,))
    assert (entry.unmet, entry.unsupported) == ((), ())


RECORD, WRITE = RecordClaim(CLAIM), WriteInterface(PORT, XML)
SET_VLAN = SetVfs(PF_A, ((0, VfSettings(vlan=15)),))
SET_ALL = SetVfs(PF_A, ((0, binding(1).vf_settings()), (1, RELEASED)))
OPEN = SetFabric(LEAF_A, carried(15))


@pytest.mark.parametrize(
    ("changed", "failed", "sentence"),
    [
        ({"claims": {}}, {}, f"VF {VF} not recorded for the port"),
        ({"claims": {}}, {RECORD: "disk full"}, f"VF {VF} not recorded for the port: disk full"),
        ({"interfaces": {}}, {}, "interface XML not written"),
        (
            {"interfaces": {PORT: None}},
            {WRITE: "disk full"},
            "interface XML not written: disk full",
        ),
        (
            {"fabric": {LEAF_A: carried(20)}},
            {},
            "VLAN 15 not seen open on switch 'leaf1' port 'swp1'",
        ),
        (
            {"fabric": {}},
            {OPEN: "no answer"},
            "VLAN 15 not seen open on switch 'leaf1' port 'swp1': no answer",
        ),
        (
            {"fabric": {}, "errors": {f"fabric {PF_A}": "no answer"}},
            {},
            "VLAN 15 not seen open on switch 'leaf1' port 'swp1': no answer",
        ),
        ({"cabling": {}}, {}, f"switch port of ens1 ({PF_A}) unknown"),
        (
            {"cabling": {}, "errors": {"lldp": "is lldpd running?"}},
            {},
            f"switch port of ens1 ({PF_A}) unknown: is lldpd running?",
        ),
        (
            {"cabling": {PF_A: Cabling(reason="no LLDP neighbor")}},
            {},
            f"switch port of ens1 ({PF_A}): no LLDP neighbor",
        ),
        ({"pfs": []}, {}, f"VF {VF} not seen"),
        (
            {"pfs": [], "errors": {f"pf {PF_A}": "its netdev is gone"}},
            {},
            f"VF {VF} not seen: its netdev is gone",
        ),
    ],
)
def test_what_was_not_seen_is_said_with_the_reason(changed, failed, sentence):
    if "pfs" in changed:
        changed = {"cabling": {PF_A: Cabling(switch_port=LEAF_A)}} | changed
    if changed.get("claims") == {}:
        changed["pfs"] = [pf(PF_A, vf(PF_A, 0, binding(1).vf_settings()))]
    entry = of_port(met(**changed), failed)
    assert entry.state == PortState.UNMET
    assert entry.unmet == (sentence,)


@pytest.mark.parametrize(
    ("failed", "why"), [({}, ""), ({SET_VLAN: "EBUSY"}, ": EBUSY"), ({SET_ALL: "gone"}, ": gone")]
)
def test_a_setting_that_was_not_seen_is_said_with_what_was(failed, why):
    settings = replace(binding(1).vf_settings(), vlan=20)
    entry = of_port(met(pfs=[pf(PF_A, vf(PF_A, 0, settings))]), failed)
    assert entry.unmet == (f"vlan of VF {VF} is 20, not 15{why}",)


def test_why_another_port_failed_is_not_said_of_this_one():
    settings = replace(binding(1).vf_settings(), vlan=20)
    failed = {
        SetVfs(PF_A, ((1, VfSettings(vlan=15)),)): "EBUSY",
        RecordClaim(claim(2, PF_A, 1)): "x",
    }
    seen = met(pfs=[pf(PF_A, vf(PF_A, 0, settings))], interfaces={})
    assert of_port(seen, failed).unmet == (
        f"vlan of VF {VF} is 20, not 15",
        "interface XML not written",
    )


def test_what_the_driver_lacks_is_unsupported_and_the_port_is_met():
    lacking = frozenset({"link_state", "min_tx_rate"})
    on = pf(PF_A, vf(PF_A, 0, binding(1).vf_settings()), unsupported=lacking)
    entry = of_port(met(pfs=[on]), link_state="enable")
    assert entry.state == PortState.MET
    assert entry.unsupported == ("link_state",)


def test_an_untagged_port_needs_nothing_of_the_fabric():
    untagged = binding(1, vlan=0)
    on = pf(PF_A, vf(PF_A, 0, untagged.vf_settings()))
    files = {PORT: interface(untagged, PF_A, 0)}
    entry = of_port(met(pfs=[on], interfaces=files, cabling={}, fabric={}), vlan=0)
    assert entry.state == PortState.MET


def test_where_the_fabric_is_somebody_elses_nothing_of_it_is_missed():
    seen = met(cabling={}, fabric={}, errors={"lldp": "lldpcli not found"})
    found = said(seen, port=binding(1), fabric_required=False)
    assert found.ports[PORT].state == PortState.MET
    assert found.unmet == ()
    assert said(seen, port=binding(1)).unmet == ("lldpcli not found",)


def test_a_port_that_cannot_have_anything_says_why():
    entry = of_port(met(), physical_network="physnet9")
    assert entry.state == PortState.UNMET
    assert entry.claim == CLAIM
    [why] = entry.unmet
    assert why.startswith("physical_network 'physnet9'")


REMOVE, DROP = RemoveInterface(PORT), DropClaim(CLAIM)
CLEAR = SetVfs(PF_A, ((0, VfSettings(vlan=0)),))


@pytest.mark.parametrize(
    ("settings", "files", "failed", "sentences"),
    [
        (RELEASED, {}, {}, [f"VF {VF} still recorded for the port"]),
        (RELEASED, {}, {DROP: "disk full"}, [f"VF {VF} still recorded for the port: disk full"]),
        (RELEASED, {PORT: XML}, {REMOVE: "busy"}, ["interface XML not removed: busy"]),
        (
            replace(RELEASED, vlan=15),
            {PORT: XML},
            {CLEAR: "EBUSY"},
            [f"vlan of VF {VF} is 15, not 0: EBUSY", "interface XML not removed"],
        ),
    ],
)
def test_a_port_on_its_way_out_says_what_is_left_of_it(settings, files, failed, sentences):
    seen = met(pfs=[pf(PF_A, vf(PF_A, 0, settings))], interfaces=files)
    entry = said(seen, failed).ports[PORT]
    assert entry.state == PortState.RELEASING
    assert list(entry.unmet) == sentences


def test_a_port_on_its_way_out_of_a_pf_that_is_not_seen():
    seen = met(pfs=[], interfaces={}, errors={f"pf {PF_A}": "its netdev is gone"})
    found = said(seen)
    assert found.ports[PORT].unmet == (f"PF {PF_A} not seen: its netdev is gone",)
    assert "its netdev is gone" in found.unmet


def test_a_vlan_that_should_be_closed_is_nobodys_but_the_hosts():
    seen = met(
        pfs=[pf(PF_A, vf(PF_A, 0, binding(1).vf_settings())), pf(PF_B)],
        fabric={LEAF_A: carried(15, 20, 30), LEAF_B: carried(15)},
    )
    found = said(seen, {SetFabric(LEAF_B, frozenset()): "no answer"}, binding(1))
    assert found.ports[PORT].state == PortState.MET
    assert found.unmet == (
        "VLAN 20, 30 still open on switch 'leaf1' port 'swp1'",
        "VLAN 15 still open on switch 'leaf2' port 'swp1': no answer",
    )


def test_a_vlan_that_is_kept_for_a_port_whose_last_word_was_refused_is_not_said_to_be_left_open():
    seen = met()
    found = report(intent(Bindings(invalid={PORT: "vlan 4095"}), seen), seen, {})
    assert (found.unmet, found.ports[PORT].unmet) == ((), ("vlan 4095",))


def test_a_switch_port_is_named_for_people_and_escaped():
    assert describe_port(LEAF_A) == "switch 'leaf1' port 'swp1'"
    assert (
        describe_port(replace(LEAF_A, system_name="")) == "switch '52:54:00:bb:00:01' port 'swp1'"
    )
    hostile = replace(LEAF_A, system_name="\x1b[2J", port_id=LldpId("ifname", "p\n1"))
    assert describe_port(hostile) == r"switch '\x1b[2J' port 'p\n1'"


@pytest.mark.parametrize(
    ("wanted", "opened", "ours", "left"),
    [
        ({}, {LEAF_A: carried(15, 16)}, [LEAF_A], ["VLAN 15 still open"]),
        ({LEAF_A: carried(15)}, {LEAF_A: carried(15)}, [LEAF_A], []),
        ({LEAF_A: carried(15)}, {}, [LEAF_A], []),
        ({LEAF_A: carried(16)}, {LEAF_A: carried(16)}, [LEAF_A], []),
        ({}, {}, [LEAF_A], ["VLAN 15 not seen closed"]),
        ({}, {}, [], []),
        ({}, {LEAF_B: carried(15)}, [LEAF_B], []),
    ],
    ids=["open", "of-another", "of-another-unseen", "closed", "unseen", "not-ours", "other-pf"],
)
def test_a_vlan_that_no_port_wants_any_more_is_left_until_it_was_seen_closed(
    wanted, opened, ours, left
):
    found = list(left_open({15}, {PF_A}, wanted=wanted, opened=opened, ours=ours))
    assert [text.split(" on ")[0] for text in found] == left
    assert all("leaf1" in text for text in found)
