# SPDX-License-Identifier: Apache-2.0
"""A port of a real Neutron on a real VF, from ``openstack port create`` to the wire and back.

Every fact is read from Neutron's API, the kernel and the leaf, never from the agent.
"""

import contextlib
import signal
from pathlib import Path

import pytest

from tests.lab.agent import Host
from tests.lab.waiting import SEEN_SECONDS, until
from tools.demo import witness
from tools.demo.witness import run
from tools.openstack.api import SERVICE

pytestmark = pytest.mark.openstack

HOST = "compute1"
FLOOR_VLAN = 1
MAC = "fa:16:3e:00:00:{:02x}"
#: of a port whose guest uses it: the VF's driver goes on announcing it
GUEST_MAC = "fa:16:3e:99:00:01"


@pytest.fixture(scope="module")
def network(neutron):
    """Network net1 with VLAN 15, made as an operator makes it."""
    provider = ["--provider-network-type", "vlan", "--provider-physical-network", "physnet2"]
    neutron.openstack("network", "create", *provider, "--provider-segment", "15", "net1")
    neutron.openstack(
        "subnet", "create", "--network", "net1", "--subnet-range", "198.51.100.0/24", "sub1"
    )
    return neutron.api().list("network", name="net1")[0]["id"]


@pytest.fixture(scope="module")
def compute(tmp_path_factory, neutron, pfs):
    netdevs = [pf["netdev"] for pf in pfs]
    more = "[ml2_agent]\nlist_interval = 20\n"
    directory = tmp_path_factory.mktemp("compute")
    return Host(directory, netdevs, neutron=neutron.conf_file, more=more)


class Life:
    """The daemon, which may end and begin again."""

    def __init__(self, compute, api):
        self.compute = compute
        self.api = api
        self.running = contextlib.ExitStack()
        self.process = None

    def begin(self):
        self.process = self.running.enter_context(self.compute.daemon())

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(SEEN_SECONDS) == 0
        self.running.close()

    def alive(self):
        return any(agent["alive"] for agent in self.api.list("agent", host=HOST))


@pytest.fixture(scope="module")
def agent(compute, neutron):
    life = Life(compute, neutron.api())
    life.begin()
    until(life.alive, "the agent did not register")
    yield life
    life.running.close()


@pytest.fixture
def api(neutron, agent, pfs):
    """Neutron's API; the ports that a test leaves are deleted, and nothing of them may stay."""
    api = neutron.api()
    yield api
    for port in api.list("port"):
        api.delete("port", port["id"])
    until(lambda: unused(pfs), "something of a port that is gone is left")


def unused(pfs):
    vfs = [vf for pf in pfs for vf in witness.vfs(pf["netdev"])]
    return all(
        (vf["vlan"], vf["spoofchk"], vf["trust"]) == (0, True, False)
        and vf["rate"] == {"max_tx": 0, "min_tx": 0}
        and not vf["address"].startswith(MAC[:12])
        for vf in vfs
    ) and all(witness.open_vlans(pf["leaf"], pf["port"]) == {FLOOR_VLAN} for pf in pfs)


@pytest.fixture
def create(api, network):
    def create(number, **given):
        fields = {
            "name": f"p{number}",
            "device_owner": "test:vm",
            "binding_vnic_type": "direct",
            "binding_host_id": HOST,
            "mac_address": MAC.format(number),
            **given,
        }
        return api.create("port", network_id=network, **fields)

    return create


def status(api, port):
    return api.show("port", port["id"])["status"]


def active(api, port):
    until(lambda: status(api, port) == "ACTIVE", f"port {port['name']} is not ACTIVE")


def holder(pfs, mac):
    """(PF, VF) of the VF with this MAC address."""
    for pf in pfs:
        for vf in witness.vfs(pf["netdev"]):
            if vf["address"] == mac:
                return pf, vf
    return None


def test_a_port_that_is_typed_gets_a_vf_that_pings_through_its_leaf(api, neutron, network, pfs):
    neutron.openstack(
        *("port", "create", "--vnic-type", "direct", "--host", HOST, "--network", "net1"),
        *("--device-owner", "test:vm", "--mac-address", GUEST_MAC, "p1"),
    )
    (port,) = api.list("port", name="p1")
    assert port["binding:vif_type"] == "hw_veb"
    active(api, port)
    pf, vf = holder(pfs, GUEST_MAC)
    assert (vf["vlan"], vf["spoofchk"]) == (15, True)
    assert witness.open_vlans(pf["leaf"], pf["port"]) == {FLOOR_VLAN, 15}
    run("vf-guest", "attach", pf["vfs"][vf["vf"]], "vm", "198.51.100.9/24")
    try:
        tenant = "198.51.100.1" if pf is pfs[0] else "198.51.100.2"
        assert witness.pings("vm", tenant)
        neutron.openstack("port", "delete", "p1")
        until(lambda: witness.open_vlans(pf["leaf"], pf["port"]) == {FLOOR_VLAN})
        assert not witness.pings("vm", tenant)
    finally:
        run("vf-guest", "detach", "vm")


def test_port_security_reaches_the_vf(api, create, pfs):
    port = create(2)
    active(api, port)
    for enabled in (False, True):
        api.update("port", port["id"], port_security_enabled=enabled, security_groups=[])
        until(lambda enabled=enabled: holder(pfs, MAC.format(2))[1]["spoofchk"] is enabled)
    active(api, port)


def test_a_port_that_is_disabled_is_down_and_enabled_is_active(api, create):
    port = create(3)
    active(api, port)
    api.update("port", port["id"], admin_state_up=False)
    until(lambda: status(api, port) == "DOWN")
    api.update("port", port["id"], admin_state_up=True)
    active(api, port)


def test_qos_rules_set_the_rate_and_their_change_changes_it(api, create, pfs):
    policy = api.create("policy", name="limited")
    rule = {"max_kbps": 300_000, "direction": "egress"}
    made = api.create_rule(policy["id"], "bandwidth_limit_rule", **rule)

    def limit():
        found = holder(pfs, MAC.format(4))
        return found and found[1]["rate"]["max_tx"]

    port = create(4, qos_policy_id=policy["id"])
    active(api, port)
    assert limit() == 300
    path = f"qos/policies/{policy['id']}/bandwidth_limit_rules/{made['id']}"
    body = {"bandwidth_limit_rule": {**rule, "max_kbps": 200_000}}
    api.request("PUT", path, json=body)
    until(lambda: limit() == 200, "the changed rule did not reach the VF")
    api.update("port", port["id"], qos_policy_id=None)
    until(lambda: limit() == 0, "the rate stayed without its policy")
    api.delete("policy", policy["id"])


def test_a_port_that_is_unbound_or_moved_gives_its_vf_back(api, create, pfs):
    unbound, moved = create(5), create(6)
    active(api, unbound)
    active(api, moved)
    api.update("port", unbound["id"], binding_host_id="")
    api.update("port", moved["id"], binding_host_id="compute2")
    until(lambda: unused(pfs))
    api.update("port", unbound["id"], binding_host_id=HOST)
    active(api, unbound)


def test_a_port_that_nova_plugs_is_active_once_its_guest_has_the_vf(api, create, pfs, neutron):
    vf = pfs[0]["vfs"][3]
    nova = neutron.api(SERVICE)
    port = create(7, device_owner="", binding_host_id="")
    nova.update(
        "port",
        port["id"],
        device_owner="compute:nova",
        device_id="5d2c1a3e-6f1b-4c7d-8e9f-0a1b2c3d4e5f",
        binding_host_id=HOST,
        binding_profile={
            "pci_slot": vf,
            "pci_vendor_info": "8086:10ca",
            "physical_network": "physnet2",
        },
    )
    until(lambda: api.show("port", port["id"])["binding:vif_type"] == "hw_veb")
    until(lambda: {FLOOR_VLAN, 15} == witness.open_vlans(pfs[0]["leaf"], pfs[0]["port"]))
    seen = witness.vf(pfs[0]["netdev"], 3)
    assert (seen["address"] != MAC.format(7), seen["vlan"], status(api, port)) == (True, 0, "DOWN")

    plug(vf, pfs[0]["netdev"], 3, MAC.format(7), 15)
    active(api, port)
    unplug(vf, pfs[0]["netdev"], 3)
    until(lambda: status(api, port) == "DOWN")
    nova.update(
        "port", port["id"], device_owner="", device_id="", binding_host_id="", binding_profile={}
    )


def plug(vf, pf, index, mac, vlan):
    """What libvirt does for a managed hostdev interface before it starts the guest."""
    device = f"/sys/bus/pci/devices/{vf}"
    run("modprobe", "vfio-pci")
    with contextlib.suppress(OSError):
        write(f"{device}/driver/unbind", vf)
    write(f"{device}/driver_override", "vfio-pci")
    write("/sys/bus/pci/drivers_probe", vf)
    run("ip", "link", "set", pf, "vf", str(index), "mac", mac, "vlan", str(vlan))


def unplug(vf, pf, index):
    """What it does after the guest is gone."""
    device = f"/sys/bus/pci/devices/{vf}"
    run("ip", "link", "set", pf, "vf", str(index), "mac", "00:00:00:00:00:00", "vlan", "0")
    write(f"{device}/driver/unbind", vf)
    write(f"{device}/driver_override", "\n")
    write("/sys/bus/pci/drivers_probe", vf)


def write(path, text):
    Path(path).write_text(text)


def test_what_happens_while_the_agent_is_away_is_made_good(api, create, agent, pfs, neutron):
    kept, gone = create(8), create(9)
    active(api, kept)
    active(api, gone)
    agent.end()
    api.delete("port", gone["id"])
    new = create(10)
    before = api.show("port", kept["id"])
    agent.begin()
    active(api, new)
    until(lambda: holder(pfs, MAC.format(9)) is None)
    after = api.show("port", kept["id"])
    assert after["updated_at"] == before["updated_at"], "a healthy port's status was changed"
    assert after["revision_number"] == before["revision_number"]


def test_it_goes_on_after_the_broker_and_after_the_server(api, create, neutron):
    first = create(11)
    active(api, first)
    neutron.do("broker/stop")
    neutron.do("broker/start")
    until(lambda: responds(api))
    second = create(12)
    active(api, second)
    neutron.do("server/restart")
    until(lambda: responds(api))
    third = create(13)
    active(api, third)
    assert [status(api, port) for port in (first, second)] == ["ACTIVE", "ACTIVE"]


def responds(api):
    with contextlib.suppress(Exception):
        return any(agent["alive"] for agent in api.list("agent", host=HOST))
    return False
