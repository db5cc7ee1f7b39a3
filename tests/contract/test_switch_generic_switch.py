# SPDX-License-Identifier: Apache-2.0
"""What is particular to ``generic-switch``: what networking-generic-switch does not tell."""

import json

import pytest

from sriov_agent.exceptions import ConfigError, Refused
from sriov_agent.fabric.model import Change, PortVlans
from sriov_agent.fabric.switch.base import Login
from sriov_agent.fabric.switch.generic_switch import COMPLAINT, READERS, GenericSwitch
from tests.switches.generic_switch import GenericSwitchRig
from tests.switches.rig import CUT_AFTER, CUT_BEFORE

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIr1WJu8cFmTtkdQbPGAHpWjDDzh4yzXK8kLdJ0p0K9y"


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    if reason := GenericSwitchRig.missing():
        pytest.skip(reason)
    found = GenericSwitchRig(tmp_path_factory.mktemp("ngs"))
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture
def switch(rig):
    for port in rig.trunks:
        rig.put(port, [(100, 100)])
    found = rig.load()
    yield found
    found.close()


@pytest.mark.switch
def test_what_ngs_takes_for_success_is_refused(rig, switch):
    """ovs-vsctl says that there is no such port, NGS has no pattern for it."""
    rig.ovs.add_port("Ethernet5", "trunks=100")

    def decide(ports):
        rig.ovs.vsctl("del-port", "Ethernet5")
        return {"Ethernet5": Change(add=frozenset({15}))}

    with pytest.raises(Refused, match=r"leaf1 .*no row"):
        switch.apply(["Ethernet5"], decide)


@pytest.mark.switch
@pytest.mark.parametrize(("fault", "seen"), [(CUT_BEFORE, {100}), (CUT_AFTER, {15, 100})])
def test_what_became_of_a_change_that_was_cut_is_read(rig, switch, fault, seen):
    """NGS takes a connection that ends for an answer."""
    (port, _) = rig.trunks
    with rig.fault(fault):
        applied = switch.apply([port], lambda ports: {port: Change(add=frozenset({15}))})
    assert applied.after[port].vlans == rig.get(port) == seen


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"options": {}}, "device_type"),
        ({"options": {"device_type": "nonsense"}}, "device_type"),
        ({"options": {"device_type": "netmiko_huawei"}}, "device_type"),
        ({"options": {"device_type": "netmiko_cisco_nxos"}}, "device_type"),
        ({"options": {"device_type": "netmiko_fake"}}, "device_type"),
        ({"host_key": ""}, "host_key"),
        ({"password": ""}, "key_file"),
    ],
)
def test_what_the_operator_has_to_mend(changes, option):
    login = {"name": "leaf1", "address": "192.0.2.1", "host_key": HOST_KEY, "password": "secret"}
    login |= {"options": {"device_type": "netmiko_arista_eos"}}
    GenericSwitch(Login(**login))
    with pytest.raises(ConfigError, match=rf"\[switch:leaf1\] {option}"):
        GenericSwitch(Login(**login | changes))


@pytest.mark.parametrize(
    "line",
    [
        "% Invalid input detected at '^' marker.",
        "  % Incomplete command",
        'ovs-vsctl: no row "swp9" in table Port',
        "sh: ovs-vsctl: command not found",
        "Error: VLAN 100 does not exist",
        "syntax error, expecting <command>",
        "Permission denied",
        "ERROR: Interface name is invalid!!",
    ],
)
def test_a_complaint_is_seen(line):
    assert COMPLAINT.search(line)


@pytest.mark.parametrize(
    "line",
    [
        "root@leaf1:~# ovs-vsctl add port Ethernet1/1 trunks 100",
        "leaf1(config-if-Et1)#switchport trunk allowed vlan add 100",
        "leaf1(config)#interface Ethernet1",
        "[edit]",
    ],
)
def test_what_else_a_switch_prints_is_no_complaint(line):
    assert not COMPLAINT.search(line)


def switchport(mode="trunk", allowed="1,14,25-26", native=1, access=1, enabled=True):
    about = {"mode": mode, "trunkAllowedVlans": allowed, "trunkingNativeVlanId": native}
    return {"enabled": enabled, "switchportInfo": about | {"accessVlanId": access}}


@pytest.mark.parametrize(
    ("row", "carried"),
    [
        (switchport(), PortVlans(vlans=frozenset({1, 14, 25, 26}), native=1)),
        (switchport(allowed="ALL"), PortVlans(every=True, native=1)),
        (switchport(allowed="NONE"), PortVlans(native=1)),
        (switchport("access", access=7), PortVlans(trunk=False, native=7)),
        (switchport(enabled=False), PortVlans(trunk=False, native=1)),
    ],
)
def test_ports_of_eos(row, carried):
    answers = {
        "show port-channel | json": {
            "portChannels": {
                "Port-Channel1": {"activePorts": {"Ethernet2": {}}, "inactivePorts": {}}
            }
        },
        "show interfaces switchport | json": {
            "switchports": {"Ethernet1": row, "Port-Channel1": switchport(allowed="5")}
        },
    }
    read = READERS["netmiko_arista_eos"]
    names = ["Ethernet1", "Ethernet2", "Ethernet9"]
    assert read(lambda command: json.dumps(answers[command]), names) == {
        "Ethernet1": carried,
        "Ethernet2": PortVlans(vlans=frozenset({5}), native=1, lag="Port-Channel1"),
    }
