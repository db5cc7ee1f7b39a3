# SPDX-License-Identifier: Apache-2.0
"""``sriov-lldp-discover`` with real lldpd and raw sockets, and a guest that forges frames."""

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from sriov_agent.cmd.lldp_discover import (
    AMBIGUOUS,
    NO_SOURCE,
    NOT_ONE_VF,
    ONE,
    USAGE,
    main,
)
from tools.demo.witness import run

TOPOLOGY = Path("/run/sriov-lab/topology.json")
MAC = "02:aa:00:00:00:33"
FORGED_TTL_SECONDS = 10
FORGE = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((sys.argv[1], 0))
source = s.getsockname()[4]
tlv = lambda kind, value: ((kind << 9) | len(value)).to_bytes(2, "big") + value
s.send(bytes.fromhex("0180c200000e") + source + bytes.fromhex("88cc")
       + tlv(1, bytes.fromhex("04525400bb0001")) + tlv(2, bytes([5]) + b"swp99")
       + tlv(3, bytes([0, 10])) + tlv(5, b"leaf1") + tlv(7, bytes([0, 4, 0, 4])) + tlv(0, b""))
"""


@pytest.fixture
def discover(capsys):
    def discover(*arguments):
        status = main([*arguments, "--json"])
        out, err = capsys.readouterr()
        return status, json.loads(out) if out else [], err

    return discover


@pytest.fixture
def vf_mac(pf):
    def set_mac(index, mac=MAC, vlan="15"):
        run("ip", "link", "set", pf["netdev"], "vf", str(index), "mac", mac, "vlan", vlan)
        used.add(index)

    used = set()
    yield set_mac
    for index in used:
        set_mac(index, "00:00:00:00:00:00", "0")


@pytest.fixture
def forging_guest(pf):
    """A guest on a VF without VLAN: the PF hears what it sends."""
    run("vf-guest", "attach", pf["vfs"][4], "forger", "192.0.2.4/24")
    listed = json.loads(run("ip", "-n", "forger", "-j", "link"))
    (netdev,) = (link["ifname"] for link in listed if link["ifname"] != "lo")
    yield lambda: run("ip", "netns", "exec", "forger", sys.executable, "-c", FORGE, netdev)
    run("vf-guest", "detach", "forger")


def wait_for(discover, pf, expected):
    """lldpd's answer, once it is the expected one or does not become it."""
    for _ in range(40):
        found = discover("--pf", pf["netdev"], "--source", "lldpd")
        if found[0] == expected:
            break
        time.sleep(1)
    return found


def leads_to(entry, pf):
    (link,) = entry["local_link_information"]
    return (link["switch_info"], link["port_id"]) == (pf["leaf"], pf["port"])


def test_a_mac_leads_to_its_switch_port(discover, pf, vf_mac):
    wait_for(discover, pf, ONE)
    vf_mac(3)
    status, (entry,), _ = discover(MAC)
    assert status == ONE
    assert (entry["vf"], entry["vf_pci"], entry["vlan"]) == (3, pf["vfs"][3], 15)
    assert leads_to(entry, pf)
    vf_mac(5)
    status, _, said = discover(MAC)
    assert status == NOT_ONE_VF
    assert pf["vfs"][3] in said
    assert pf["vfs"][5] in said


def test_every_pf_by_raw_frames(discover, pf):
    status, entries, _ = discover("--all", "--source", "raw", "--wait", "60")
    assert status == ONE
    sources = {n["source"] for entry in entries for n in entry["links"][0]["neighbors"]}
    assert sources == {"raw"}
    assert leads_to(next(entry for entry in entries if entry["pf"] == pf["netdev"]), pf)


def test_without_lldpd_the_pf_is_listened_on(discover, pf, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    status, entries, said = discover("--pf", pf["netdev"], "--wait", "0")
    assert (status, entries) == (NO_SOURCE, [])
    assert "install lldpd" in said
    status, (entry,), said = discover("--pf", pf["netdev"], "--wait", "60")
    assert status == ONE
    assert leads_to(entry, pf)
    assert "install lldpd; listening on the PF instead" in said


@pytest.mark.parametrize("seconds", ["-1", "nan", "soon", "1e9"])
def test_a_time_that_is_none_is_a_matter_of_usage(seconds):
    with pytest.raises(SystemExit) as end:
        main(["--all", "--wait", seconds])
    assert end.value.code == USAGE


def test_a_forged_frame_is_ambiguous_to_lldpd_and_seen_through_by_raw_frames(
    discover, pf, forging_guest
):
    wait_for(discover, pf, ONE)
    forging_guest()
    status, (entry,), _ = discover("--pf", pf["netdev"], "--source", "lldpd")
    assert status == AMBIGUOUS
    assert "swp99" in entry["links"][0]["reason"]
    later = threading.Timer(2.0, forging_guest)
    later.start()
    status, (entry,), _ = discover("--pf", pf["netdev"], "--source", "raw", "--wait", "9")
    later.join()
    assert status == ONE
    assert leads_to(entry, pf)
    assert "swp99" in {n["port_id"]["value"] for n in entry["links"][0]["neighbors"]}
    time.sleep(FORGED_TTL_SECONDS)
    assert wait_for(discover, pf, ONE)[0] == ONE
