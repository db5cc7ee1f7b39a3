# SPDX-License-Identifier: Apache-2.0
"""Ports whose VF nova chose and libvirt plugs: what is set before, and what after."""

import pytest

from sriov_agent.core.actions import DropClaim, RecordClaim, SetFabric, SetVfs, WriteInterface
from sriov_agent.core.intent import intent
from sriov_agent.core.model import RELEASED, VfSettings
from sriov_agent.core.plan import plan
from sriov_agent.core.report import PortState, report
from sriov_agent.core.state import PLUGGED_SETTINGS, Bindings
from tests.frozen import replace
from tests.topology import (
    LEAF_A,
    PF_A,
    binding,
    carried,
    claim,
    interface,
    observed,
    pf,
    port_id,
    port_mac,
    vf,
    vf_address,
)

ID, SLOT = port_id(1), vf_address(PF_A, 0)
CLAIM = claim(1, PF_A, 0)
ASKED = {
    "spoofchk": False,
    "trust": True,
    "link_state": "enable",
    "min_tx_rate": 2,
    "max_tx_rate": 5,
}
PORT = binding(1, pci_slot=SLOT, plugged_by_nova=True, qos=3, **ASKED)
WIRED = PORT.vf_settings()
BEFORE = WIRED.without(PLUGGED_SETTINGS)
#: what the VF has once the agent has done what is its own
PREPARED = replace(RELEASED, **BEFORE.items())


def in_guest(settings=WIRED, **given):
    held_by = f"driver vfio-pci and MAC {settings.mac} set"
    return replace(
        vf(PF_A, 0, settings, held_by=held_by),
        driver="vfio-pci",
        netdev=None,
        passed_through=True,
        **given,
    )


def host(of_vf, **given):
    """A host that has recorded the port, written its XML and opened its VLAN."""
    seen = {
        "claims": {ID: CLAIM},
        "interfaces": {ID: interface(PORT, PF_A, 0)},
        "fabric": {LEAF_A: carried(15)},
    }
    return observed(pf(PF_A, of_vf), **(seen | given))


def planned(seen, *ports):
    bindings = Bindings(ports={port.port_id: port for port in ports})
    return plan(intent(bindings, seen), seen)


def told(seen, port=PORT):
    desired = intent(Bindings(ports={port.port_id: port}), seen)
    return report(desired, seen, {}).ports[port.port_id]


def test_the_vf_is_claimed_and_the_fabric_opened_before_it_is_plugged():
    seen = host(vf(PF_A, 0), claims={}, interfaces={}, fabric={LEAF_A: frozenset()})
    needing = SetVfs(PF_A, ((0, BEFORE),)), WriteInterface(ID, interface(PORT, PF_A, 0))
    assert planned(seen, PORT) == (RecordClaim(CLAIM), SetFabric(LEAF_A, carried(15)), *needing)
    seen = host(vf(PF_A, 0), interfaces={})
    assert planned(seen, PORT) == needing


@pytest.mark.parametrize(
    "settings",
    [
        PREPARED,
        replace(PREPARED, mac="02:ff:00:00:00:01"),
        replace(PREPARED, vlan=20, qos=1),
        replace(PREPARED, mac=port_mac(1), vlan=15),
    ],
)
def test_mac_and_vlan_are_libvirts_until_a_guest_has_the_vf(settings):
    seen = host(vf(PF_A, 0, settings))
    assert planned(seen, PORT) == ()
    entry = told(seen)
    assert (entry.state, entry.unmet) == (PortState.UNPLUGGED, ())
    assert entry.connected is False


def test_a_guest_that_has_the_vf_with_another_mac_is_not_the_ports():
    seen = host(in_guest(replace(WIRED, mac=port_mac(9))))
    assert planned(seen, PORT) == ()
    assert told(seen).state == PortState.UNPLUGGED


def test_a_port_that_is_plugged_is_met():
    seen = host(in_guest())
    assert planned(seen, PORT) == ()
    entry = told(seen)
    assert (entry.state, entry.unmet, entry.connected) == (PortState.MET, (), True)


def test_what_is_still_missing_of_a_plugged_port_is_set_and_said():
    settings = replace(WIRED, vlan=20, qos=0, trust=False)
    seen = host(in_guest(settings))
    assert planned(seen, PORT) == (SetVfs(PF_A, ((0, VfSettings(vlan=15, qos=3, trust=True)),)),)
    entry = told(seen)
    assert entry.state == PortState.UNMET
    assert entry.connected is False
    assert entry.unmet[0] == f"vlan of VF {SLOT} is 20, not 15"


def test_a_plugged_port_behind_an_unknown_switch_port_is_neither_connected_nor_not():
    entry = told(host(in_guest(), cabling={}))
    assert (entry.state, entry.connected) == (PortState.UNMET, None)


def test_a_vf_that_cannot_be_seen_is_not_taken_for_unplugged():
    entry = told(host(vf(PF_A, 0), pfs={}))
    assert (entry.state, entry.connected) == (PortState.UNMET, None)


def test_a_port_that_is_unplugged_again_is_left_to_who_plugs_it():
    entry = told(host(vf(PF_A, 0, PREPARED)))
    assert entry.state == PortState.UNPLUGGED


def test_a_port_of_the_operators_own_is_programmed_whole():
    port = replace(PORT, plugged_by_nova=False)
    seen = host(vf(PF_A, 0))
    assert planned(seen, port) == (SetVfs(PF_A, ((0, WIRED),)),)


@pytest.mark.parametrize(
    ("of_vf", "change"),
    [
        (in_guest(), RELEASED.differing(WIRED)),
        # libvirt has given MAC and VLAN back already
        (vf(PF_A, 0, PREPARED), RELEASED.differing(PREPARED)),
        # somebody else has the VF since, or its driver announces an address of its own
        (
            in_guest(replace(WIRED, mac=port_mac(9))),
            RELEASED.without(["mac"]).differing(WIRED),
        ),
    ],
)
def test_release_takes_back_what_is_the_ports(of_vf, change):
    (action,) = [action for action in planned(host(of_vf)) if isinstance(action, SetVfs)]
    assert action == SetVfs(PF_A, ((0, change),))


def test_the_claim_is_dropped_when_nothing_of_the_port_is_left():
    seen = host(vf(PF_A, 0), interfaces={}, fabric={LEAF_A: frozenset()})
    assert planned(seen) == (DropClaim(CLAIM),)
    drivers_own = host(
        vf(PF_A, 0, replace(RELEASED, mac="02:fe:00:00:00:01")),
        interfaces={},
        fabric={LEAF_A: frozenset()},
    )
    assert planned(drivers_own) == (DropClaim(CLAIM),)


def macvtap(**given):
    return binding(1, vnic_type="macvtap", **given)


def test_a_macvtap_is_on_the_vfs_network_device():
    seen = observed(pf(PF_A))
    desired = intent(Bindings(ports={ID: macvtap()}), seen)
    assert desired.interfaces[ID].netdev == "ens1v0"


@pytest.mark.parametrize(("driver", "named"), [("vfio-pci", "vfio-pci"), (None, "none")])
def test_a_macvtap_without_a_network_device_is_refused_in_a_sentence(driver, named):
    seen = observed(pf(PF_A, replace(vf(PF_A, 0), driver=driver, netdev=None), count=1))
    desired = intent(Bindings(ports={ID: macvtap(pci_slot=SLOT)}), seen)
    assert desired.claims == {}
    assert desired.unmet[ID] == (
        f"binding:vnic_type 'macvtap': VF {SLOT} has no network device for a macvtap "
        f"(driver {named})"
    )


def test_a_macvtap_of_nova_is_plugged_when_the_vf_has_one():
    port = macvtap(pci_slot=SLOT, plugged_by_nova=True)
    files = {ID: replace(interface(port, PF_A, 0), netdev="ens1v0")}
    settings = port.vf_settings()
    without = host(vf(PF_A, 0, settings), interfaces=files)
    assert told(without, port).state == PortState.UNPLUGGED
    on_it = replace(vf(PF_A, 0, settings), passed_through=True)
    assert told(host(on_it, interfaces=files), port).state == PortState.MET
