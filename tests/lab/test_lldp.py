# SPDX-License-Identifier: Apache-2.0
"""LLDP as it happens to a running agent: forged, doubled, silent, recabled, bonded, renamed."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sriov_agent.cmd.lldp_discover import AMBIGUOUS, ONE, main
from sriov_agent.host.ethtool import private_flags
from tests.lab.agent import TOPOLOGY
from tests.lab.agent import Host as Agent
from tests.lab.waiting import until
from tools.demo import witness
from tools.demo.witness import run

STATE = "/run/sriov-lab"
HOST = os.uname().nodename
#: From when a cable is pulled until it is plugged in elsewhere.
CABLE_SECONDS = 2
FLOOR_VLAN = 1
VLAN = 15
MAC = "02:aa:00:00:00:20"

SEND = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
source = s.getsockname()[4]
tlv = lambda kind, value: ((kind << 9) | len(value)).to_bytes(2, "big") + value
for number in range(int(sys.argv[2])):
    s.send(bytes.fromhex("0180c200000e") + source + bytes.fromhex("88cc")
           + tlv(1, bytes.fromhex("04525400cc00%02x" % number)) + tlv(2, b"\\x05swp99")
           + tlv(3, bytes([0, int(sys.argv[3])])) + tlv(5, b"forged%d" % number)
           + tlv(7, bytes([0, 4, 0, 4])) + tlv(0, b""))
"""


@pytest.fixture
def pf(pfs):
    return pfs[0]


class Running:
    """An agent with one port in VLAN 15 on the first PF, met."""

    def __init__(self, host, pf):
        self.host, self.pf = host, pf
        host.create("port", "--vlan", str(VLAN), "--mac", MAC, "--pci-slot", pf["vfs"][0])

    def state(self):
        return self.host.show("port")["state"]

    def unmet(self):
        return self.host.show("port")["unmet"]

    def neighbors(self):
        """What the agent hears on the PF, by switch, but for the host's own reflected frames."""
        rows = json.loads(self.host.do("lldp", "neighbors", "-f", "json"))
        return {
            row["switch"]: row
            for row in rows
            if row["pf"] == self.pf["pci"] and row["switch"] != HOST
        }

    def pfs(self):
        return json.loads(self.host.do("pf", "list", "-f", "json"))

    def sources(self):
        return {row["source"] for row in self.neighbors().values()}


@pytest.fixture
def running(tmp_path, pfs, request):
    """The agent; ``[lldp]`` options are the fixture's parameter."""
    host = Agent(tmp_path, [pf["pci"] for pf in pfs], lldp=getattr(request, "param", ""))
    with host.agent():
        yield Running(host, pfs[0])
        host.delete("port")
        for pf in pfs:
            until(lambda pf=pf: witness.open_vlans(pf["leaf"], pf["port"]) == {FLOOR_VLAN})


def open_on(pf):
    return VLAN in witness.open_vlans(pf["leaf"], pf["port"])


def send_from(netns, netdev, count=1, ttl=6):
    run("ip", "netns", "exec", netns, sys.executable, "-c", SEND, netdev, str(count), str(ttl))


@pytest.fixture
def guest(pf):
    """Attaches a guest to a VF of the first PF, in a VLAN or none; gives its network device."""

    def attach(vlan="0"):
        run("ip", "link", "set", pf["netdev"], "vf", "4", "vlan", vlan)
        run("vf-guest", "attach", pf["vfs"][4], "forger", "192.0.2.4/24")
        listed = json.loads(run("ip", "-n", "forger", "-j", "link"))
        return next(link["ifname"] for link in listed if link["ifname"] != "lo")

    yield attach
    run("vf-guest", "detach", "forger")
    run("ip", "link", "set", pf["netdev"], "vf", "4", "vlan", "0")


def test_what_a_guest_forges_is_heard_and_not_believed(running, guest):
    netdev = guest()
    send_from("forger", netdev, ttl=20)
    until(lambda: "forged0" in running.neighbors())
    heard = running.neighbors()["forged0"]
    assert (heard["source"], heard["answer"]) == ("lldpd", "ok")
    assert running.state() == "met"
    assert open_on(running.pf)


@pytest.mark.parametrize("running", ["sources = lldpd"], indirect=True)
def test_without_frames_of_its_own_the_agent_holds_what_is_open_while_it_is_ambiguous(
    running, guest
):
    netdev = guest()
    send_from("forger", netdev, ttl=10)
    until(lambda: "ambiguous" in running.unmet())
    assert open_on(running.pf)
    until(lambda: running.state() == "met")


def test_a_guest_in_a_vlan_reaches_the_leaf_and_not_the_pf(running, guest, pf):
    netdev = guest(vlan="16")
    leaf = ["lldpcli", "-u", f"{STATE}/{pf['leaf']}.lldpd.socket", "show", "neighbors"]
    send_from("forger", netdev, ttl=20)
    until(lambda: "forged0" in run(*leaf))
    assert set(running.neighbors()) == {pf["leaf"]}
    assert running.state() == "met"


def lldpd(name, netdevs, netns="", chassis=""):
    """Start the lldpd of the lab's host or of a leaf, as the lab did."""
    files = f"{STATE}/{name}.lldpd"
    socket = f"{files}.socket" if netns else "/run/lldpd.socket"
    within = ["ip", "netns", "exec", netns] if netns else []
    command = f"lldpd -u {socket} -p {files}.pid -O {files}.conf -I {netdevs}"
    run(*within, *command.split(), "-C", chassis or netdevs.partition(",")[0])


def end_lldpd(name, with_signal):
    pid = int(Path(f"{STATE}/{name}.lldpd.pid").read_text())
    os.kill(pid, with_signal)
    until(lambda: has_ended(pid))


def has_ended(pid):
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def second_switch(pf):
    """Another switch's lldpd on the leaf's port."""
    files = f"{STATE}/second.lldpd"
    Path(f"{files}.conf").write_text(
        "configure system hostname second\nconfigure lldp portidsubtype ifname\n"
        "configure lldp tx-interval 3\n"
    )
    lldpd("second", "swp1", pf["leaf"], chassis="swp2")
    yield
    end_lldpd("second", signal.SIGTERM)
    for file in Path(STATE).glob("second.lldpd*"):
        file.unlink()


def test_a_second_switch_on_the_wire_is_ambiguous(running, second_switch, pf):
    until(lambda: "ambiguous" in running.unmet())
    assert "second" in running.unmet()
    assert open_on(pf)


@pytest.mark.parametrize("running", ["allowed_switches = leaf1,leaf2"], indirect=True)
def test_only_the_fabrics_switches_are_believed(running, second_switch, pf):
    send_from(pf["leaf"], "swp1", count=30, ttl=30)
    until(lambda: {"forged0", "second"} <= running.neighbors().keys())
    assert running.state() == "met"
    assert running.neighbors()["second"]["answer"] == "ok"


def test_thirty_neighbors_are_all_told(running, pf, capsys):
    send_from(pf["leaf"], "swp1", count=29, ttl=60)
    until(lambda: len(running.neighbors()) == 30)
    until(lambda: "ambiguous" in running.unmet())
    capsys.readouterr()
    assert main(["--pf", pf["netdev"], "--json", "--source", "lldpd"]) == AMBIGUOUS
    (entry,) = json.loads(capsys.readouterr().out)
    heard = {neighbor["system_name"] for neighbor in entry["links"][0]["neighbors"]} - {HOST}
    assert heard == {pf["leaf"], *(f"forged{number}" for number in range(29))}
    assert entry["local_link_information"] == []
    send_from(pf["leaf"], "swp1", count=29, ttl=0)
    until(lambda: running.state() == "met")


def test_a_switch_that_falls_silent_expires_and_what_is_open_stays(running, pf):
    leaf = ["lldpcli", "-u", f"{STATE}/{pf['leaf']}.lldpd.socket"]
    run(*leaf, "configure", "lldp", "tx-hold", "2")
    run(*leaf, "update")
    until(lambda: running.neighbors()[pf["leaf"]]["ttl"] == 6)
    try:
        end_lldpd(pf["leaf"], signal.SIGKILL)
        until(lambda: "no LLDP neighbor" in running.unmet())
        assert open_on(pf)
    finally:
        Path(f"{STATE}/{pf['leaf']}.lldpd.socket").unlink()
        lldpd(pf["leaf"], "swp1", pf["leaf"])
    until(lambda: running.state() == "met")


def test_without_lldpd_the_agent_listens_itself_until_it_is_back(running, pfs):
    facts = json.loads(TOPOLOGY.read_text())
    end_lldpd(facts["host"], signal.SIGTERM)
    try:
        until(lambda: running.sources() == {"raw"} and running.state() == "met")
        assert open_on(running.pf)
    finally:
        lldpd(facts["host"], ",".join(pf["netdev"] for pf in pfs))
    until(lambda: running.sources() == {"lldpd"} and running.state() == "met")


def test_a_renamed_pf_is_the_same_pf(running, pf):
    run("ip", "link", "set", pf["netdev"], "name", "uplink0")
    try:
        until(lambda: running.sources() == {"raw"} and running.state() == "met")
        assert running.neighbors()[pf["leaf"]]["netdev"] == "uplink0"
        assert open_on(pf)
    finally:
        # udev keeps the former name as another one.
        run("ip", "link", "property", "del", "dev", "uplink0", "altname", pf["netdev"])
        run("ip", "link", "set", "uplink0", "name", pf["netdev"])
    until(lambda: running.sources() == {"lldpd"} and running.state() == "met")


def test_a_pf_that_is_down_is_said_so_with_what_mends_it(running, pf):
    run("ip", "link", "set", pf["netdev"], "down")
    try:
        until(lambda: f"ip link set {pf['netdev']} up" in running.unmet())
        assert open_on(pf)
    finally:
        run("ip", "link", "set", pf["netdev"], "up")
    until(lambda: running.state() == "met")


def recable(pfs):
    """Swap the cables of both PFs. A port of a leaf keeps its VLANs, whatever is plugged in.

    A leaf's lldpd does not always see that another device has the port's name, so it is started
    anew; what it says at its end is lost, since the cables are out.
    """
    kept = {pf["leaf"]: witness.open_vlans(pf["leaf"], pf["port"]) for pf in pfs}
    macs = {leaf["name"]: leaf["mac"] for leaf in json.loads(TOPOLOGY.read_text())["leaves"]}
    for pf in pfs:
        run("ip", "link", "set", pf["netdev"], "down")
        end_lldpd(pf["leaf"], signal.SIGTERM)
    # Never through the namespace of the machine, where udev may give it another name.
    here, there = (pf["leaf"] for pf in pfs)
    run("ip", "-n", here, "link", "set", "swp1", "netns", there, "name", "arriving")
    run("ip", "-n", there, "link", "set", "swp1", "netns", here)
    run("ip", "-n", there, "link", "set", "arriving", "name", "swp1")
    for leaf in (here, there):
        run("ip", "-n", leaf, "link", "set", "swp1", "address", macs[leaf], "master", "br0", "up")
        for vlan in kept[leaf] - {FLOOR_VLAN}:
            run("bridge", "-n", leaf, "vlan", "add", "dev", "swp1", "vid", str(vlan))
        lldpd(leaf, "swp1", leaf)
    time.sleep(CABLE_SECONDS)
    for pf in pfs:
        run("ip", "link", "set", pf["netdev"], "up")


def test_a_recabled_host_takes_its_vlans_along_and_leaves_the_old_port_clean(running, pfs):
    here, there = pfs
    for now, before in ((there, here), (here, there)):
        recable(pfs)
        until(lambda now=now: open_on(now) and running.state() == "met")
        assert running.host.show("port")["switch"] == now["leaf"]
        until(lambda before=before: not open_on(before))
        until(lambda: all(pf["switch"] for pf in running.pfs()))


@pytest.fixture
def bond(pfs):
    run("ip", "link", "add", "bond0", "type", "bond", "mode", "active-backup", "miimon", "100")
    for pf in pfs:
        run("ip", "link", "set", pf["netdev"], "down")
        run("ip", "link", "set", pf["netdev"], "master", "bond0")
        run("ip", "link", "set", pf["netdev"], "up")
    run("ip", "link", "set", "bond0", "up")
    yield
    for pf in pfs:
        run("ip", "link", "set", pf["netdev"], "nomaster")
        run("ip", "link", "set", pf["netdev"], "up")
    run("ip", "link", "del", "bond0")


def test_a_bond_of_two_pfs_is_open_on_both_leaves(running, pfs, bond, capsys):
    until(lambda: all(map(open_on, pfs)) and running.state() == "met")
    assert set(running.host.show("port")["switch"].split(", ")) == {"leaf1", "leaf2"}
    capsys.readouterr()
    assert main([MAC, "--json"]) == ONE
    (entry,) = json.loads(capsys.readouterr().out)
    assert [link["switch_info"] for link in entry["local_link_information"]] == ["leaf1", "leaf2"]
    (row,) = (row for row in running.pfs() if row["pf"] == pfs[0]["pci"])
    assert (row["switch"], row["switch_port"], row["lldp"]) == ("leaf1, leaf2", "swp1, swp1", "ok")


def test_the_private_flags_of_a_real_driver_are_read(pf):
    assert private_flags(pf["netdev"]).keys() >= {"legacy-rx"}
    assert private_flags("lo") == {}
