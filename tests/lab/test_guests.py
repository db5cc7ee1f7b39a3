# SPDX-License-Identifier: Apache-2.0
"""Guests of a real libvirt on VFs of the lab; what they say is read from their consoles.

Two guests are booted, which takes minutes by emulation; where that is not needed, guests are
paused.
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

TENANT = "198.51.100.1"
ONE = "198.51.100.33"  # 0x21, as its MAC ends


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
def guests(host, libvirt):
    """Two that run: ``one`` with the VF of a port from its start, ``two`` with none."""
    host.create("one", "--vlan", "15", "--mac", "02:aa:00:00:00:21")
    one = libvirt.start_domain("one", host.do("port", "xml", "one"))
    two = libvirt.start_domain("two")
    one.wait_until_up()
    two.wait_until_up()
    yield one, two
    libvirt.virsh("destroy", "one")
    host.delete("one")


def test_a_guest_defined_with_a_ports_xml_pings_through_the_leaf(host, guests):
    one, _ = guests
    until(lambda: one.pings(TENANT))
    port = host.show("one")
    assert (port["state"], port["domain"]) == ("met", "one")


def test_two_guests_in_a_vlan_hear_each_other_and_in_two_vlans_do_not(host, pf, guests):
    one, two = guests
    for vlan, heard in ((15, True), (16, False)):
        port = host.create("two", "--vlan", str(vlan), "--mac", f"02:aa:00:00:00:{vlan}")
        host.do("port", "attach", "two", "two")
        until(lambda: in_domain(host, "two") == "two")
        until(lambda: "1" in two.do("cat /sys/class/net/e*/carrier")[1])
        assert two.pings(ONE) is heard
        assert one.pings(TENANT)
        host.do("port", "detach", "two", "two", "--wait", WAIT_SECONDS)
        assert "ether" not in two.do("ip address")[1]
        until(lambda: not in_domain(host, "two"))
        host.delete("two")
        assert is_clean(pf, port)


def test_a_macvtap_is_plugged_in_and_out_once_its_guest_lets_go(host, libvirt, guests):
    _, two = guests
    host.create("tap", "--vlan", "15", "--mac", "02:aa:00:00:00:31", "--vnic-type", "macvtap")
    host.do("port", "attach", "tap", "two", "--live")
    until(lambda: in_domain(host, "tap") == "two")
    until(lambda: two.pings(TENANT))
    host.do("port", "detach", "tap", "two", "--wait", WAIT_SECONDS)
    until(lambda: not in_domain(host, "tap"))
    host.delete("tap")
