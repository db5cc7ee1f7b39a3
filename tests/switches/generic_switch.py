# SPDX-License-Identifier: Apache-2.0
"""The rig of the driver ``generic-switch``: an Open vSwitch that is told by SSH and a shell."""

import itertools

from sriov_agent.fabric.switch.base import Login
from tests.switches import openvswitch, sshd
from tests.switches.openvswitch import OpenVswitch
from tests.switches.rig import LIES, Rig
from tests.switches.shell import Shell


class GenericSwitchRig(Rig):
    """NGS takes silence for an answer, and connects again where it was cut: not all is played."""

    driver = "generic-switch"
    faults = frozenset({LIES})
    access = "Ethernet7"
    lag = ("Ethernet8", "bond0")
    trunks = ("Ethernet1/1", "Ethernet1/2")

    def __init__(self, directory):
        super().__init__(directory)
        (directory / "ovs").mkdir()
        self.ovs = OpenVswitch(directory / "ovs")
        # A login shell would set a PATH of its own.
        plain = "ForceCommand exec sh"
        self.shell = Shell(directory / "shell", plain, OVS_RUNDIR=directory / "ovs")
        self.shell.add("ovs-vsctl", writes="add*|remove*")

    @classmethod
    def missing(cls):
        return openvswitch.missing() or sshd.missing()

    def start(self):
        self.ovs.start()
        for port in self.trunks:
            self.ovs.add_port(port, "vlan_mode=trunk", "trunks=100")
        self.ovs.add_port(self.access, f"tag={self.access_vlan}")
        self.ovs.add_bond(self.lag[1], [self.lag[0], "Ethernet9"], "trunks=100")
        self.shell.start()

    def close(self):
        self.shell.close()
        self.ovs.close()

    def login(self):
        return Login(
            name="leaf1",
            address="127.0.0.1",
            port=self.shell.sshd.port,
            username=self.shell.sshd.username,
            key_file=self.shell.sshd.key_file,
            host_key=self.shell.sshd.host_key,
            timeout=60.0,
            options={"device_type": "netmiko_ovs_linux"},
        )

    def put(self, port, entries):
        self.ovs.put(port, entries)

    def get(self, port):
        return self.ovs.get(port)

    def writes(self):
        """How often there were commands that change something, between those that read."""
        return sum(kind == "write" for kind, _ in itertools.groupby(self.shell.calls()))

    def fault(self, name):
        return self.shell.fault(name)
