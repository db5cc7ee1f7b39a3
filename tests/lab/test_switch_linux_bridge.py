# SPDX-License-Identifier: Apache-2.0
"""The contract suite of the switch drivers with ``linux-bridge``, on a bridge of the guest."""

from pathlib import Path

import pytest

from tests.contract.test_switches import *  # noqa: F403
from tests.switches.linux_bridge import LinuxBridgeRig

RIGS = {"linux-bridge": LinuxBridgeRig}

del test_an_access_port_is_no_trunk  # noqa: F821 - every port of a bridge can carry tags


@pytest.fixture(scope="module", autouse=True)
def unlocked():
    """The guest locks root's password, and sshd lets nobody in whose password is locked."""
    shadow = Path("/etc/shadow")
    shadow.write_text(shadow.read_text().replace("root:!:", "root:*:"))


@every_rig  # noqa: F405
def test_vlans_that_are_untagged_are_left(rig, switch):
    (port, _) = rig.trunks
    rig.bridge(f"vlan add dev {port} vid 50 pvid untagged")
    rig.bridge(f"vlan add dev {port} vid 51 untagged")
    carried = PortVlans(vlans=frozenset({100}), native=50)  # noqa: F405
    assert switch.read([port]) == {port: carried}
    before = rig.writes()
    for vlan in (50, 51):
        with pytest.raises(Refused, match=rf"{port} has VLAN {vlan} untagged"):  # noqa: F405
            changed(switch, port, add=[15, vlan])  # noqa: F405
    changed(switch, port, remove=[50, 51])  # noqa: F405
    assert (switch.read([port]), rig.writes()) == ({port: carried}, before)
    assert rig.get(port) == {50, 51, 100}


@every_rig  # noqa: F405
def test_the_bridge_itself_and_what_is_in_none_are_no_ports(rig, switch):
    assert switch.read(["br0", "swp3", "lo"]) == {}
