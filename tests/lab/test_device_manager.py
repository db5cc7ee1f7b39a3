# SPDX-License-Identifier: Apache-2.0
"""From a port to a frame through the leaf, with sriov-device-manager between agent and leaves.

The leaves are the lab's: real bridges, which the manager reaches by SSH.
"""

import contextlib
import json
import os
import threading
from pathlib import Path

import pytest
from oslo_config import cfg

from sriov_agent.conf import device_manager as options
from sriov_agent.fabric.service import DeviceManager
from tests.lab.agent import TOPOLOGY, Host
from tests.lab.bridge import NEUTRON_VARIABLE
from tests.lab.waiting import until
from tests.switches.shell import Shell
from tools.demo import witness
from tools.demo.witness import run
from tools.openstack.remote import Neutron

# Its broker is the one beside the Neutron outside the guest.
pytestmark = pytest.mark.openstack

FLOOR_VLAN = 1
MAC = "02:aa:00:00:00:0a"


@pytest.fixture(scope="module")
def transport_url():
    if NEUTRON_VARIABLE not in os.environ:
        pytest.skip("there is no broker: python3 tools/openstack setup")
    read = cfg.ConfigOpts()
    read.register_opts([cfg.StrOpt("transport_url")])
    read([f"--config-file={Neutron(os.environ[NEUTRON_VARIABLE]).conf_file}"])
    return read.transport_url


@pytest.fixture(scope="module")
def shells(tmp_path_factory, pfs):
    """A shell on each leaf, by the leaf's name."""
    shadow = Path("/etc/shadow")
    shadow.write_text(shadow.read_text().replace("root:!:", "root:*:"))
    with contextlib.ExitStack() as stack:
        found = {}
        for pf in pfs:
            shell = Shell(tmp_path_factory.mktemp("sh"))
            shell.add("bridge", "-netns", pf["leaf"], writes="*-batch*")
            shell.add("ip", "-netns", pf["leaf"])
            shell.start()
            stack.callback(shell.close)
            found[pf["leaf"]] = shell
        yield found


class Manager:
    """The device manager in a thread of this process, which may end and begin again."""

    def __init__(self, directory, transport_url, shells, pfs):
        self.config = directory / "manager.conf"
        text = (
            f"[DEFAULT]\ntransport_url = {transport_url}\n"
            f"[device_manager]\nstate_path = {directory}\nremove_grace = 2\nretry_max = 5\n"
            f"switches = {','.join(shells)}\ninventory_file = {directory}/inventory\n"
        )
        for name, shell in shells.items():
            text += (
                f"[switch:{name}]\ndriver = linux-bridge\naddress = 127.0.0.1\n"
                f"port = {shell.sshd.port}\nusername = {shell.sshd.username}\n"
                f"key_file = {shell.sshd.key_file}\nhost_key = {shell.sshd.host_key}\n"
                f"options = lock_file:{directory}/{name}.lock\ntimeout = 120\n"
            )
        self.config.write_text(text)
        self.inventory = directory / "inventory"
        self.put_inventory({pf["pci"]: pf["leaf"] for pf in pfs})

    def put_inventory(self, places):
        lines = [f"compute1 {pf} {leaf} swp1\n" for pf, leaf in places.items()]
        self.inventory.write_text("".join(lines))

    @contextlib.contextmanager
    def running(self):
        conf = options.register(cfg.ConfigOpts())
        conf([f"--config-file={self.config}"])
        manager = DeviceManager(conf)
        thread = threading.Thread(target=manager.run)
        thread.start()
        try:
            yield manager
        finally:
            manager.stop()
            thread.join()


@pytest.fixture(scope="module")
def manager(tmp_path_factory, transport_url, shells, pfs):
    return Manager(tmp_path_factory.mktemp("manager"), transport_url, shells, pfs)


@pytest.fixture(scope="module")
def host(tmp_path_factory, transport_url, pfs):
    hook = f"[fabric]\nhook = rpc\n[hook_rpc]\ntransport_url = {transport_url}\ntimeout = 60\n"
    host = Host(tmp_path_factory.mktemp("host"), [pf["pci"] for pf in pfs], hook=hook)
    with host.agent():
        yield host


@pytest.fixture
def guest():
    """Attaches a guest to a VF."""
    attached = []

    def attach(vf):
        run("vf-guest", "attach", vf, "guest", "198.51.100.9/24")
        attached.append(vf)

    yield attach
    if attached:
        run("vf-guest", "detach", "guest")


def open_vlans(pf):
    return witness.open_vlans(pf["leaf"], pf["port"])


def tenant(pf, vlan):
    leaves = {leaf["name"]: leaf for leaf in json.loads(TOPOLOGY.read_text())["leaves"]}
    interfaces = leaves[pf["leaf"]]["tenant"]["interfaces"]
    found = next(each["address"] for each in interfaces if each["vlan"] == vlan)
    return found.partition("/")[0]


def test_a_port_goes_through_its_leaf_and_comes_back(manager, host, pfs, guest):
    with manager.running():
        port = host.create("web", "--vlan", "15", "--mac", MAC)
        pf = next(pf for pf in pfs if pf["pci"] == port["pf"])
        assert port["state"] == "met"
        assert open_vlans(pf) == {FLOOR_VLAN, 15}
        guest(port["vf"])
        assert witness.pings("guest", tenant(pf, 15))
        assert json.loads(host.do("fabric", "diff", "-f", "json")) == []
        (shown,) = json.loads(host.do("fabric", "show", "-f", "json"))
        assert (shown["switch"], shown["vlan"], shown["open"]) == (pf["leaf"], 15, True)
        host.delete("web")
        until(lambda: open_vlans(pf) == {FLOOR_VLAN})
        assert not witness.pings("guest", tenant(pf, 15))


def test_two_ports_of_a_vlan_are_one_on_the_leaf_and_both_leaves_are_served(manager, host, pfs):
    with manager.running():
        for number, pf in enumerate(pfs):
            host.create(f"port{number}", "--vlan", "15", "--pci-slot", pf["vfs"][1])
        host.create("other", "--vlan", "15", "--pci-slot", pfs[0]["vfs"][2])
        assert all(open_vlans(pf) == {FLOOR_VLAN, 15} for pf in pfs)
        host.delete("port0", "port1")
        until(lambda: open_vlans(pfs[1]) == {FLOOR_VLAN})
        assert open_vlans(pfs[0]) == {FLOOR_VLAN, 15}
        host.delete("other")
        until(lambda: open_vlans(pfs[0]) == {FLOOR_VLAN})


def test_without_a_manager_a_port_waits_and_what_is_open_stays(manager, host, pfs):
    pf = pfs[0]
    with manager.running():
        host.create("stays", "--vlan", "15", "--pci-slot", pf["vfs"][1])
    host.create_unmet("waits", "VLAN 16", "--vlan", "16", "--pci-slot", pf["vfs"][2])
    assert open_vlans(pf) == {FLOOR_VLAN, 15}
    with manager.running():
        until(lambda: host.show("waits")["state"] == "met")
        assert open_vlans(pf) == {FLOOR_VLAN, 15, 16}
        host.delete("stays", "waits")
        until(lambda: open_vlans(pf) == {FLOOR_VLAN})


def test_a_pf_that_the_inventory_has_elsewhere_gets_nothing_and_is_told_why(manager, host, pfs):
    pf, other = pfs
    manager.put_inventory({pf["pci"]: other["leaf"], other["pci"]: other["leaf"]})
    try:
        with manager.running():
            wrong = ["--vlan", "15", "--pci-slot", pf["vfs"][1]]
            host.create_unmet("conflict", "conflict: LLDP sees PF", *wrong)
            assert open_vlans(pf) == {FLOOR_VLAN}
            host.delete("conflict")
    finally:
        manager.put_inventory({each["pci"]: each["leaf"] for each in pfs})
