# SPDX-License-Identifier: Apache-2.0
"""What the NIC lacks: a port does without most of it, but not without its MAC or VLAN."""

import pytest

from sriov_agent.core.intent import intent
from sriov_agent.core.model import Pf, Vf
from sriov_agent.core.report import PortState, report
from sriov_agent.core.state import Bindings, Observed, PortBinding
from tests.frozen import replace

PF, VF = "0000:3b:00.0", "0000:3b:02.0"
PORT = PortBinding(
    port_id="11111111-1111-4111-8111-111111111111",
    mac="02:5a:00:00:00:01",
    vlan=15,
    physical_network="physnet2",
    trust=True,
)


def reported(unsupported=(), **seen):
    settings = replace(PORT.vf_settings(), **seen)
    vf = Vf(address=VF, pf=PF, index=0, settings=settings)
    pf = Pf(
        address=PF,
        netdev="ens1",
        physical_network="physnet2",
        vfs=(vf,),
        unsupported=frozenset(unsupported),
    )
    bindings = Bindings(ports={PORT.port_id: PORT})
    free = replace(vf, settings=replace(settings, mac=None, vlan=0))
    desired = intent(bindings, Observed(pfs={PF: replace(pf, vfs=(free,))}))
    observed = Observed(pfs={PF: pf}, claims=desired.claims, interfaces=desired.interfaces)
    return report(desired, observed, {}, fabric_required=False).ports[PORT.port_id]


def test_all_that_is_desired_and_seen_is_met():
    assert reported().state == PortState.MET


@pytest.mark.parametrize(("name", "value"), [("vlan", 0), ("mac", "00:00:00:00:00:00")])
def test_a_nic_that_cannot_set_vlan_or_mac_leaves_the_port_unmet(name, value):
    entry = reported(unsupported={name}, **{name: value})
    assert entry.state == PortState.UNMET
    assert entry.unmet[0].startswith(f"{name} of VF {VF}")


@pytest.mark.parametrize("name", ["vlan", "mac"])
def test_a_vlan_or_mac_that_the_kernel_does_not_list_is_not_met(name):
    assert reported(**{name: None}).state == PortState.UNMET


def test_another_setting_that_is_not_listed_is_unsupported():
    entry = reported(trust=None)
    assert (entry.state, entry.unsupported) == (PortState.MET, ("trust",))
