# SPDX-License-Identifier: Apache-2.0
"""What Neutron is told of where a port is, and how that is read again."""

import pytest

from sriov_agent.core.report import PortReport, PortState
from sriov_agent.core.state import Claim, PortBinding
from sriov_agent.sources import payload
from sriov_agent.sources.ml2.write_back import profile
from tests import neutron
from tests.topology import HOST, LEAF_A, PF_A, port_id, port_mac, vf_address

VF = vf_address(PF_A, 2)
CLAIM = Claim(port_id=port_id(1), vf=VF, pf=PF_A, index=2, mac=port_mac(1))
MET = PortReport(port_id=port_id(1), state=PortState.MET, claim=CLAIM, switch_ports=(LEAF_A,))
TOLD = {
    "sriov_agent_host": HOST,
    "pci_slot": VF,
    "physical_network": "physnet2",
    "local_link_information": [
        {
            "switch_id": LEAF_A.chassis_id.value,
            "port_id": LEAF_A.port_id.value,
            "switch_info": LEAF_A.system_name,
        }
    ],
}


def binding(**given):
    return PortBinding(
        port_id=port_id(1), mac=port_mac(1), vlan=15, physical_network="physnet2", **given
    )


def test_vf_and_switch_port_are_told_beside_what_is_there():
    assert profile(binding(), {"trusted": True}, MET, HOST) == {"trusted": True, **TOLD}


def test_what_neutron_has_already_is_not_told_again():
    assert profile(binding(), {"trusted": True, **TOLD}, MET, HOST) is None


def test_a_port_that_moved_to_another_vf_or_switch_port_is_told_again():
    before = {**TOLD, "pci_slot": vf_address(PF_A, 5), "local_link_information": []}
    assert profile(binding(), before, MET, HOST) == TOLD


def test_what_nova_wrote_is_novas():
    assert profile(binding(plugged_by_nova=True, pci_slot=VF), {}, MET, HOST) is None


def test_without_a_vf_there_is_nothing_to_tell():
    unmet = PortReport(port_id=port_id(1), state=PortState.UNMET)
    assert profile(binding(), {}, unmet, HOST) is None


@pytest.mark.parametrize(
    ("writer", "slot"), [(HOST, VF), ("compute9", None)], ids=["this host", "another"]
)
def test_the_word_of_another_hosts_agent_does_not_choose_the_vf_here(writer, slot):
    written = {**TOLD, "sriov_agent_host": writer}
    entry = neutron.port(1, binding_profile=written, device_owner="compute:nova")["port"]
    document = payload.read_port(entry, HOST).document
    assert document.get("pci_slot") == slot
    assert document["plugged_by_nova"] is False
