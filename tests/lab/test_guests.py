# SPDX-License-Identifier: Apache-2.0
"""Guests of a real libvirt on VFs of the lab; what they say is read from their consoles.

One guest is booted, which takes minutes by emulation; where that is not needed, guests are paused.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest

from sriov_agent.store import Store
from tests.lab.agent import WAIT_SECONDS, Host
from tests.lab.nested import URI, Libvirt
from tests.lab.waiting import until
from tools.demo import witness
from tools.demo.witness import run

TENANT = "198.51.100.1"
ONE, TWO = "198.51.100.33", "198.51.100.34"  # that of the guest is 0x21, as its MAC ends
VF_GUEST = str(Path(__file__).parents[2] / "tools/lab/guest/vf-guest")


@pytest.fixture(scope="module")
def libvirt():
    pytest.importorskip("libvirt", reason="libvirt-python is not here: see make test")
    if not shutil.which("libvirtd"):
        pytest.skip("libvirtd is not here: see make test")
    libvirt = Libvirt(Path("/run/nested"))
    libvirt.start()
    yield libvirt
    libvirt.stop()


@pytest.fixture(scope="module")
def host(tmp_path_factory, pf, libvirt):
    directory = tmp_path_factory.mktemp("host")
    host = Host(directory, [pf["pci"]], more=f"[libvirt]\nuri = {URI}\n")
    with host.agent():
        yield host


def vf(pf, port):
    return witness.vf(pf["netdev"], port["vf_index"])


def is_clean(pf, port):
    seen = vf(pf, port)
    return seen["address"] != port["mac"] and seen["vlan"] == 0


def driver(port):
    return Path(f"/sys/bus/pci/devices/{port['vf']}/driver").resolve().name


def in_domain(host, name):
    return host.show(name)["domain"]


def unmet(host, port):
    """What is said of a port that is on its way out; "" when it is gone."""
    said = Store(host.directory / "agent.db").status().get(port["id"])
    return "; ".join(said["unmet"]) if said else ""


def test_what_a_domain_has_is_given_to_no_other_and_comes_back_when_it_ends(host, pf, libvirt):
    """The domains are paused: their guests execute nothing, and let go of nothing."""
    port = host.create("first", "--vlan", "15", "--mac", "02:aa:00:00:00:51")
    libvirt.start_domain("first", host.do("port", "xml", "first"), "--paused")
    libvirt.start_domain("second", "", "--paused")
    until(lambda: in_domain(host, "first") == "first")
    assert driver(port) == "vfio-pci"
    assert (vf(pf, port)["address"], vf(pf, port)["vlan"]) == (port["mac"], 15)

    status, _, said = host.ctl("port", "attach", "first", "second", "--live")
    assert status == 1
    assert f"domain second: VF {port['vf']} is in the running domain first" in said
    status, _, said = host.ctl("port", "attach", "first", "third")
    assert status == 1
    assert "domain 'third': no such domain" in said

    plugged = host.create("second", "--vlan", "16", "--mac", "02:aa:00:00:00:52")
    host.do("port", "attach", "second", "second", "--live")
    until(lambda: in_domain(host, "second") == "second")
    assert driver(plugged) == "vfio-pci"
    status, _, said = host.ctl("port", "detach", "second", "second", "--wait", "1")
    assert status == 1
    assert f"domain second: its guest has not given VF {plugged['vf']} back in 1 s" in said

    host.do("port", "delete", "second")
    until(lambda: "is in the running domain second" in unmet(host, plugged))
    assert vf(pf, plugged)["vlan"] == 16
    libvirt.virsh("destroy", "second")
    until(lambda: not unmet(host, plugged))
    assert is_clean(pf, plugged)


def test_a_guest_that_ends_without_a_word_leaves_a_clean_vf(host, pf, libvirt):
    """libvirtd is away when the port goes, and sets the VF as it was when it is back."""
    port = host.show("first")
    libvirt.kill()
    host.do("port", "delete", "first")
    until(lambda: "may be in a guest" in unmet(host, port))
    assert vf(pf, port)["vlan"] == 15
    other = host.create("other", "--vlan", "15", "--mac", "02:aa:00:00:00:53")
    assert other["vf"] != port["vf"]
    libvirt.start()
    until(lambda: "is in the running domain first" in unmet(host, port))
    os.kill(int(Path("/run/libvirt/qemu/first.pid").read_text()), signal.SIGKILL)
    until(lambda: not unmet(host, port))
    assert is_clean(pf, port)
    again = host.create("again", "--vlan", "16", "--pci-slot", port["vf"])
    assert again["state"] == "met"
    host.delete("other", "again")


@pytest.fixture(scope="module")
def guest(host, libvirt):
    """The console of one that runs, with the VF of a port from its start."""
    host.create("one", "--vlan", "15", "--mac", "02:aa:00:00:00:21")
    console = libvirt.start_domain("one", host.do("port", "xml", "one"))
    console.wait_until_up()
    yield console
    libvirt.virsh("destroy", "one")


def test_a_guest_defined_with_a_ports_xml_pings_through_the_leaf(host, guest):
    until(lambda: guest.pings(TENANT))
    port = host.show("one")
    assert (port["state"], port["domain"]) == ("met", "one")


def test_a_guest_is_heard_in_its_vlan_and_not_in_another(host, guest):
    """Who hears it is a VF in a namespace: what one sends, the NIC brings to the other."""
    for vlan, heard in ((15, True), (16, False)):
        port = host.create("two", "--vlan", str(vlan), "--mac", f"02:aa:00:00:00:{vlan}")
        run(VF_GUEST, "attach", port["vf"], "two", f"{TWO}/24")
        try:
            assert witness.pings("two", ONE) is heard
            assert guest.pings(TWO) is heard
        finally:
            run(VF_GUEST, "detach", "two")
        host.delete("two")


@pytest.fixture(scope="module")
def bare_guest(host, guest):
    """It, once it has given that VF back."""
    host.do("port", "detach", "one", "one", "--wait", WAIT_SECONDS)
    host.delete("one")
    assert "ether" not in guest.do("ip address")[1]
    return guest


@pytest.mark.parametrize("vnic_type", ["direct", "macvtap"])
def test_a_port_is_plugged_in_and_out_once_its_guest_lets_go(host, pf, bare_guest, vnic_type):
    settings = ("--vlan", "15", "--mac", "02:aa:00:00:00:31", "--vnic-type", vnic_type)
    port = host.create(vnic_type, *settings)
    host.do("port", "attach", vnic_type, "one", "--live")
    until(lambda: in_domain(host, vnic_type) == "one")
    until(lambda: bare_guest.pings(TENANT))
    host.do("port", "detach", vnic_type, "one", "--wait", WAIT_SECONDS)
    assert "ether" not in bare_guest.do("ip address")[1]
    until(lambda: not in_domain(host, vnic_type))
    host.delete(vnic_type)
    assert is_clean(pf, port)
