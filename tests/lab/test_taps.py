# SPDX-License-Identifier: Apache-2.0
"""Host taps and mirrors on a bridge of the guest's kernel, by the agent and sriovctl."""

import json
import subprocess
from contextlib import ExitStack, closing, contextmanager

import pytest
from pyroute2 import netns

from tests.frames import Leg
from tests.lab.agent import WAIT_SECONDS, Host
from tests.lab.waiting import until
from tools.demo.witness import pings, run

BRIDGE = "br-host"
#: By guest: its port of the bridge, VLAN and address.
GUESTS = {"dmz1": ("vnet1", 101, "10.77.0.11"), "core1": ("vnet2", 102, "10.77.0.12")}


@contextmanager
def bridge():
    """A bridge with a guest in each of two VLANs; the guests are namespaces."""
    try:
        run(*f"ip link add {BRIDGE} type bridge vlan_filtering 1".split())
        run("ip", "link", "set", BRIDGE, "up")
        for name, (port, vlan, address) in GUESTS.items():
            run("ip", "netns", "add", name)
            run(*f"ip link add {port} type veth peer name eth0 netns {name}".split())
            run(*f"ip link set {port} master {BRIDGE} up".split())
            run(*f"bridge vlan del dev {port} vid 1".split())
            run(*f"bridge vlan add dev {port} vid {vlan} pvid untagged".split())
            run(*f"ip -n {name} addr add {address}/24 dev eth0".split())
            run(*f"ip -n {name} link set eth0 up".split())
        yield
    finally:
        for name in GUESTS:
            subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", BRIDGE], check=False)


@pytest.fixture
def host(tmp_path):
    """Of PFs it needs none."""
    more = f"[local]\nbridge = {BRIDGE}\n"
    return Host(tmp_path, ["no-such-pf"], hook="[fabric]\nhook = noop\n", more=more)


@pytest.fixture
def legs():
    with ExitStack() as stack:
        yield lambda netdev: stack.enter_context(closing(Leg(netdev)))


def create(host, vlan, *arguments):
    command = ["tap", "create", "-f", "json", "--wait", WAIT_SECONDS, vlan, *arguments]
    made = json.loads(host.do(*command))
    assert (made["state"], made["unmet"]) == ("met", "")
    return made["name"]


def interfaces():
    return {link["ifname"] for link in json.loads(run("ip", "-json", "link"))}


def port_vlans(netdev):
    """(VLAN id, flags) of each, as iproute2 shows them."""
    (shown,) = json.loads(run("bridge", "-json", "vlan", "show", "dev", netdev))
    return {(entry["vlan"], *entry.get("flags", ())) for entry in shown["vlans"]}


def bridge_end(name):
    (link,) = json.loads(run("ip", "-json", "link", "show", name))
    return link["link"]


def test_a_tap_reaches_its_vlan_and_no_other(host):
    with bridge(), host.daemon():
        before = interfaces()
        name = create(host, "DMZ", "--ip", "10.77.0.1/24", "--ip", "2001:db8::1/64")
        assert name == "tap101"
        assert port_vlans(bridge_end(name)) == {(101, "PVID", "Egress Untagged")}
        assert pings("dmz1", "10.77.0.1")
        assert not pings("core1", "10.77.0.1")
        other = create(host, "102", "--ip", "10.77.0.2/32", "--name", "leg-core")
        assert not pings("dmz1", "10.77.0.12")
        assert {row["name"] for row in json.loads(host.do("tap", "list", "-f", "json"))} == {
            name,
            other,
        }
        status, _, error = host.ctl("vlan", "delete", "DMZ")
        assert status == 1
        assert "in use by taps: tap101" in error
        host.do("tap", "delete", "--wait", WAIT_SECONDS, name, other)
        assert interfaces() == before
        host.do("vlan", "delete", "DMZ")


def test_what_passes_a_port_is_seen_on_a_tap_in_both_directions(host, legs):
    with bridge(), host.daemon():
        before = interfaces()
        near, watching = create(host, "101"), create(host, "200", "--name", "watching")
        marking = create(host, "200", "--name", "marking")
        command = ["--source", "vnet1", "--tap", watching, "--wait", WAIT_SECONDS]
        made = json.loads(host.do("mirror", "create", "-f", "json", *command, "watch"))
        assert made["state"] == "met"
        a, w, m = map(legs, (near, watching, marking))
        netns.pushns("dmz1")
        try:
            b = legs("eth0")
        finally:
            netns.popns()
        a.send("to the guest", to=b.mac)
        assert b.until("to the guest") == ["to the guest"]
        b.send("from the guest", to=a.mac)
        assert a.until("from the guest") == ["from the guest"]
        assert w.until("from the guest") == ["to the guest", "from the guest"]
        status, _, error = host.ctl("tap", "delete", watching)
        assert status == 1
        assert "in use by mirrors: watch" in error
        host.do("mirror", "delete", "--wait", WAIT_SECONDS, "watch")
        assert "clsact" not in run("tc", "qdisc", "show", "dev", "vnet1")
        a.send("unseen", to=b.mac)
        assert b.until("unseen") == ["unseen"]
        m.send("after")
        assert w.until("after") == ["after"]
        host.do("tap", "delete", "--wait", WAIT_SECONDS, near, watching, marking)
        assert interfaces() == before


def test_filters_of_others_stay_and_see_every_frame(host, legs):
    with bridge(), host.daemon():
        run(*"tc qdisc add dev vnet1 clsact".split())
        theirs = "matchall action gact pass"
        run(*f"tc filter add dev vnet1 egress pref 60000 {theirs}".split())
        near, watching = create(host, "101"), create(host, "200")
        command = ["--source", "vnet1", "--tap", watching, "--wait", WAIT_SECONDS]
        host.do("mirror", "create", *command, "watch")
        a, w = legs(near), legs(watching)
        a.send("seen by both")
        assert w.until("seen by both") == ["seen by both"]
        counted = run(*"tc -s filter show dev vnet1 egress pref 60000".split())
        assert "Sent 0 bytes" not in counted
        host.do("mirror", "delete", "--wait", WAIT_SECONDS, "watch")
        left = run(*"tc filter show dev vnet1 egress".split())
        assert "gact" in left
        assert "mirred" not in left
        host.do("tap", "delete", "--wait", WAIT_SECONDS, near, watching)


def test_taps_outlive_a_kill_and_a_reboot(host):
    with bridge():
        with host.daemon() as agent:
            name = create(host, "DMZ", "--ip", "10.77.0.1/24")
            host.do("mirror", "create", "--source", "vnet2", "--tap", name, "watch")
            agent.kill()
            agent.wait()
            assert pings("dmz1", "10.77.0.1")
        run("ip", "link", "del", name)  # what a reboot does, with the bridge below
    with bridge(), host.daemon():
        until(lambda: json.loads(host.do("tap", "show", "-f", "json", name))["state"] == "met")
        until(lambda: name in interfaces() and pings("dmz1", "10.77.0.1"))
        until(lambda: "mirred" in run("tc", "filter", "show", "dev", "vnet2", "ingress"))
        host.do("mirror", "delete", "--wait", WAIT_SECONDS, "watch")
        host.do("tap", "delete", "--wait", WAIT_SECONDS, name)
        assert name not in interfaces()


def test_an_interface_of_somebody_else_is_left(host):
    with bridge(), host.daemon():
        ours = create(host, "100")
        run(*"ip link add theirs type dummy".split())
        try:
            assert host.ctl("tap", "create", "101", "--name", "theirs", "--wait", "1")[0] == 1
            left = "no tap of ours: it is left"
            until(lambda: left in host.do("tap", "show", "-f", "json", "theirs"))
            host.do("tap", "delete", "theirs")
            assert "theirs" in interfaces()
            host.do("tap", "delete", "--wait", WAIT_SECONDS, ours)
        finally:
            run("ip", "link", "del", "theirs")
