# SPDX-License-Identifier: Apache-2.0
"""The agent and sriovctl on real VFs, leaves and lldpd; every fact read from another witness."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.lab.agent import TOPOLOGY, Host
from tests.lab.waiting import SEEN_SECONDS, until
from tools.demo import witness
from tools.demo.witness import run

FLOOR_VLAN = 1


def vf(pf, index):
    return witness.vf(pf["netdev"], index)


def vlan(pf, index):
    seen = vf(pf, index)
    return seen["vlan"], seen["qos"]


def open_vlans(pf):
    return witness.open_vlans(pf["leaf"], pf["port"])


@pytest.fixture(scope="module")
def module_host(tmp_path_factory, pfs):
    host = Host(tmp_path_factory.mktemp("host"), [pf["pci"] for pf in pfs])
    with host.agent():
        yield host


@pytest.fixture
def host(module_host, pfs):
    yield module_host
    assert_unused(module_host, pfs)


def assert_unused(host, pfs):
    ports = [port["id"] for port in json.loads(host.do("port", "list", "-f", "json"))]
    if ports:
        host.delete(*ports)
    for pf in pfs:
        until(lambda pf=pf: open_vlans(pf) == {FLOOR_VLAN})
        for seen in witness.vfs(pf["netdev"]):
            assert (seen["vlan"], seen["qos"]) == (0, 0)
            assert (seen["spoofchk"], seen["trust"]) == (True, False)
            assert seen["rate"] == {"max_tx": 0, "min_tx": 0}
            assert not seen["address"].startswith("02:aa")


def test_ports_on_both_pfs_come_and_go(host, pfs):
    rich = ["--mac", "02:aa:00:00:00:01", "--qos", "3", "--max-tx-rate", "500"]
    first = host.create("first", "--vlan", "15", *rich)
    second = host.create(
        "second", "--vlan", "16", "--trust", "--no-spoofchk", "--mac", "02:aa:00:00:00:02"
    )
    by_pci = {pf["pci"]: pf for pf in pfs}
    assert {first["pf"], second["pf"]} == by_pci.keys()
    for port in (first, second):
        pf = by_pci[port["pf"]]
        assert (port["state"], port["switch"], port["switch_port"]) == ("met", pf["leaf"], "swp1")
        assert vf(pf, port["vf_index"])["address"] == port["mac"]
        assert open_vlans(pf) == {FLOOR_VLAN, port["vlan"]}
        assert f'id="{port["vlan"]}"' in host.do("port", "xml", port["name"])
    pf, index = by_pci[first["pf"]], first["vf_index"]
    assert vlan(pf, index) == (15, 3)
    assert vf(pf, index)["rate"]["max_tx"] == 500
    pf, index = by_pci[second["pf"]], second["vf_index"]
    assert (vf(pf, index)["trust"], vf(pf, index)["spoofchk"]) == (True, False)
    listed = json.loads(host.do("vf", "list", "-f", "json"))
    assert {v["vf"] for v in listed if v["port"]} == {first["vf"], second["vf"]}

    host.delete("second")
    seen = vf(pf, index)
    assert seen["address"] != second["mac"]
    assert (vlan(pf, index), seen["trust"], seen["spoofchk"]) == ((0, 0), False, True)
    until(lambda: open_vlans(pf) == {FLOOR_VLAN})
    assert host.ctl("port", "xml", "second")[0] == 1
    assert host.show("first")["state"] == "met"


def test_the_last_user_of_a_vlan_closes_it(host, pfs):
    pf = pfs[0]
    host.create("one", "--vlan", "15", "--pci-slot", pf["vfs"][1])
    host.create("two", "--vlan", "15", "--pci-slot", pf["vfs"][2])
    host.delete("one")
    assert 15 in open_vlans(pf)
    host.delete("two")
    until(lambda: 15 not in open_vlans(pf))


@pytest.fixture
def guest():
    """Attaches a guest to a VF, with an interface in each VLAN that it tags itself."""

    def attach(vf, vlans):
        run("vf-guest", "attach", vf, "router", "192.0.2.9/24")
        listed = json.loads(run("ip", "-n", "router", "-j", "link"))
        netdev = next(link["ifname"] for link in listed if link["ifname"] != "lo")
        for vlan, address in vlans.items():
            tagged = ["link", netdev, "name", f"vlan{vlan}", "type", "vlan", "id", str(vlan)]
            run("ip", "-n", "router", "link", "add", *tagged)
            run("ip", "-n", "router", "address", "add", address, "dev", f"vlan{vlan}")
            run("ip", "-n", "router", "link", "set", f"vlan{vlan}", "up")

    yield attach
    if "router" in run("ip", "netns", "list"):
        for link in json.loads(run("ip", "-n", "router", "-j", "link", "show", "type", "vlan")):
            run("ip", "-n", "router", "link", "delete", link["ifname"])
        run("vf-guest", "detach", "router")


@pytest.mark.parametrize("vlans", [{15}, {15, 16}], ids=str)
def test_the_guest_of_a_trunk_reaches_its_vlans_by_tagging_and_no_other(host, pfs, guest, vlans):
    trunk = ",".join(map(str, sorted(vlans)))
    port = host.create("router", "--trunk", trunk, "--mac", "02:cc:00:00:00:09")
    pf = next(pf for pf in pfs if pf["pci"] == port["pf"])
    assert port["trunk"] == trunk.replace(",", ", ")
    assert vlan(pf, port["vf_index"]) == (0, 0)
    assert open_vlans(pf) == {FLOOR_VLAN, *vlans}
    assert "<vlan" not in host.do("port", "xml", "router")
    leaves = {leaf["name"]: leaf for leaf in json.loads(TOPOLOGY.read_text())["leaves"]}
    tenants = {
        tenant["vlan"]: tenant["address"].partition("/")[0]
        for tenant in leaves[pf["leaf"]]["tenant"]["interfaces"]
    }
    guest(port["vf"], {15: "198.51.100.9/24", 16: "203.0.113.9/24"})
    reached = {tag for tag, address in tenants.items() if witness.pings("router", address)}
    assert reached == vlans
    host.delete("router")
    until(lambda: open_vlans(pf) == {FLOOR_VLAN})
    assert not witness.pings("router", tenants[15])


def test_what_the_nic_lacks_is_reported_and_stops_nothing(host, pfs):
    port = host.create("limited", "--vlan", "15", "--link-state", "disable")
    assert (port["state"], port["unsupported"]) == ("met", "link_state")
    port = host.create("guaranteed", "--vlan", "15", "--min-tx-rate", "100")
    assert (port["state"], port["unsupported"]) == ("met", "min_tx_rate")


def test_what_others_set_is_left_alone(host, pfs):
    pf, theirs = pfs[0], "02:bb:00:00:00:99"
    leaf_vlan = ["ip", "netns", "exec", pf["leaf"], "bridge", "vlan"]
    run("ip", "link", "set", pf["netdev"], "vf", "0", "mac", theirs, "vlan", "77")
    run(*leaf_vlan, "add", "dev", "swp1", "vid", "88")
    try:
        port = host.create("mine", "--vlan", "15")
        taken = f"mac_address '{theirs}': already on VF {pf['vfs'][0]}"
        host.create_unmet("thief", taken, "--mac", theirs)
        host.delete("mine", "thief")
        assert port["vf"] != pf["vfs"][0]
        assert (vf(pf, 0)["address"], vlan(pf, 0)) == (theirs, (77, 0))
        until(lambda: open_vlans(pf) == {FLOOR_VLAN, 88})
    finally:
        run("ip", "link", "set", pf["netdev"], "vf", "0", "mac", "00:00:00:00:00:00", "vlan", "0")
        run(*leaf_vlan, "del", "dev", "swp1", "vid", "88")


def test_a_killed_daemon_goes_on_where_it_stopped(tmp_path, pfs):
    host = Host(tmp_path, [pf["pci"] for pf in pfs])
    with host.daemon() as daemon:
        port = host.create("kept", "--vlan", "15", "--mac", "02:aa:00:00:00:03")
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        pf = next(pf for pf in pfs if pf["pci"] == port["pf"])
        run("ip", "link", "set", pf["netdev"], "vf", str(port["vf_index"]), "trust", "on")
        for lost in tmp_path.glob("agent.db*"):
            lost.unlink()
    with host.daemon() as daemon:
        other = host.create("other", "--vlan", "16", "--mac", "02:aa:00:00:00:04")
        until(lambda: host.show("kept")["state"] == "met")
        assert host.show("kept")["vf"] == port["vf"]
        assert other["vf"] != port["vf"]
        assert vf(pf, port["vf_index"])["trust"] is False
        assert_unused(host, pfs)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(SEEN_SECONDS) == 0


@pytest.fixture
def silent_leaf(pfs):
    """The first PF's leaf without its lldpd, which said goodbye; the value starts it again."""
    leaf = pfs[0]["leaf"]
    files = f"/run/sriov-lab/{leaf}.lldpd"
    command = f"lldpd -u {files}.socket -p {files}.pid -O {files}.conf -I swp1 -C swp1".split()
    os.kill(int(Path(f"{files}.pid").read_text()), signal.SIGTERM)
    until(lambda: leaf not in run("lldpcli", "show", "neighbors"))
    started = []

    def start():
        started.append(run("ip", "netns", "exec", leaf, *command))

    yield start
    if not started:
        start()


def test_a_port_is_met_as_soon_as_its_switch_is_heard(tmp_path, pfs, silent_leaf):
    host = Host(tmp_path, [pfs[0]["pci"]], retry_seconds=3600)
    with host.agent():
        mac = "02:aa:00:00:00:05"
        host.create_unmet("waiting", "no LLDP neighbor", "--vlan", "15", "--mac", mac)
        silent_leaf()
        until(lambda: host.show("waiting")["state"] == "met")
        assert 15 in open_vlans(pfs[0])
        assert_unused(host, pfs)


def test_a_switch_port_that_moves_while_the_link_is_up_is_held_until_accepted(tmp_path, pfs):
    pf = pfs[0]
    host = Host(tmp_path, [pf["pci"]], more="[agent]\nresync_interval = 3600\n")
    port_id = ["lldpcli", "-u", f"/run/sriov-lab/{pf['leaf']}.lldpd.socket", "configure", "lldp"]
    with host.agent():
        host.create("kept", "--vlan", "15", "--mac", "02:aa:00:00:00:06")
        run(*port_id, "portidsubtype", "macaddress")
        try:
            until(lambda: "lldp accept" in host.show("kept")["unmet"])
            assert open_vlans(pf) == {FLOOR_VLAN, 15}
            (neighbor,) = (
                row
                for row in json.loads(host.do("lldp", "neighbors", "-f", "json"))
                if row["switch"] == pf["leaf"]
            )
            assert neighbor["port_id"].startswith("mac ")
            host.do("lldp", "accept", pf["pci"])
            until(lambda: "is not a port name" in host.show("kept")["unmet"])
        finally:
            run(*port_id, "portidsubtype", "ifname")
        until(lambda: "lldp accept" in host.show("kept")["unmet"])
        host.do("lldp", "accept", pf["pci"])
        until(lambda: host.show("kept")["state"] == "met")
        assert_unused(host, pfs)
