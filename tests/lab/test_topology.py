# SPDX-License-Identifier: Apache-2.0
"""The lab is what it says: real VFs, real VLAN tags, leaf switches that LLDP finds."""

import json
import subprocess
import time
from pathlib import Path

import pytest

STATE = Path("/run/sriov-lab")
VF = 6
VF_MAC = "02:5a:0d:c4:39:06"
VF_ADDRESS = "198.51.100.106/24"
FOREIGN_VLAN = 3900
NEIGHBOR_SECONDS = 600


def output(*command, stdin=None):
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout


def fabric(**request):
    return json.loads(output("leaf-fabric", stdin=json.dumps({"version": 1, **request})))


def port_vlans(leaf):
    shown = json.loads(output("bridge", "-n", leaf["netns"], "-j", "vlan", "show"))
    return {v["vlan"] for port in shown if port["ifname"] == leaf["port"] for v in port["vlans"]}


@pytest.fixture(scope="module")
def topology():
    return json.loads((STATE / "topology.json").read_text())


@pytest.fixture
def pf(topology):
    return topology["pfs"][0]


@pytest.fixture
def leaf(topology, pf):
    return next(leaf for leaf in topology["leaves"] if leaf["name"] == pf["leaf"])


@pytest.fixture
def link(pf, leaf):
    return {
        "pf": pf["pci"],
        "switch": {
            "chassis_id": {"subtype": "mac", "value": leaf["mac"]},
            "name": leaf["name"],
        },
        "port": {
            "id": {"subtype": "ifname", "value": leaf["port"]},
            "description": leaf["port"],
        },
    }


@pytest.fixture
def apply(link):
    """Asks the fabric for all VLANs of a host on the PF's port; all are taken back at the end."""
    hosts = set()

    def apply(*vlans, host="compute1"):
        hosts.add(host)
        return fabric(op="apply", host=host, link=link, vlans=vlans)["vlans"]

    yield apply
    for host in hosts:
        apply(host=host)


@pytest.fixture
def guest(pf):
    """A network namespace that uses a VF in VLAN 15, and the name of the VF's netdev there."""
    netns = "topology-guest"
    set_vf = ("ip", "link", "set", pf["netdev"], "vf", str(VF))
    output(*set_vf, "mac", VF_MAC, "vlan", "15")
    netdev, mac = output("vf-guest", "attach", pf["vfs"][VF], netns, VF_ADDRESS).split()
    assert mac == VF_MAC
    yield netns, netdev
    output("vf-guest", "detach", netns)
    output(*set_vf, "mac", "00:00:00:00:00:00", "vlan", "0")


def pings(guest, leaf, attempts):
    address = leaf["tenant"]["interfaces"][0]["address"].partition("/")[0]
    command = ["ip", "netns", "exec", guest[0], "ping", "-q", "-c", "1", "-W", "1", address]
    return any(subprocess.run(command, check=False).returncode == 0 for _ in range(attempts))


@pytest.mark.parametrize("index", [0, 1])
def test_a_pf_has_seven_vfs(topology, index):
    pf = topology["pfs"][index]
    device = Path("/sys/bus/pci/devices", pf["pci"])
    assert (device / "sriov_numvfs").read_text() == "7\n"
    assert [(device / f"virtfn{n}").resolve().name for n in range(7)] == pf["vfs"]
    assert (device / "net" / pf["netdev"] / "address").read_text().strip() == pf["mac"]


@pytest.mark.parametrize("index", [0, 1])
def test_a_host_facing_port_has_the_floor_vlan(topology, index):
    assert 1 in port_vlans(topology["leaves"][index])


def test_a_vf_reaches_the_tenant_while_the_leaf_carries_its_vlan(guest, leaf, apply):
    assert not pings(guest, leaf, attempts=2)
    assert apply(15) == [15]
    assert pings(guest, leaf, attempts=10)
    assert apply() == []
    assert not pings(guest, leaf, attempts=2)


def test_the_nic_puts_the_tag_on_the_wire(guest, leaf):
    capture = ("tcpdump", "-lnei", leaf["port"], "-c", "1", "vlan", "15", "and", "arp")
    with subprocess.Popen(
        ["ip", "netns", "exec", leaf["netns"], "timeout", "300", *capture],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as tcpdump:
        while "listening" not in tcpdump.stderr.readline():
            assert tcpdump.poll() is None
        pings(guest, leaf, attempts=2)
        frame, _ = tcpdump.communicate()
    assert VF_MAC in frame
    assert "vlan 15" in frame


def test_the_fabric_keeps_what_another_host_wants(leaf, apply):
    assert apply(15, 16) == [15, 16]
    assert apply(16, 17, host="compute2") == [16, 17]
    assert apply() == []
    assert port_vlans(leaf) & {15, 16, 17} == {16, 17}


def test_the_fabric_never_removes_a_vlan_that_it_did_not_add(leaf, apply):
    foreign = ("vlan", "add", "dev", leaf["port"], "vid", str(FOREIGN_VLAN))
    output("bridge", "-n", leaf["netns"], *foreign)
    try:
        assert apply(15, FOREIGN_VLAN) == [15, FOREIGN_VLAN]
        assert apply() == []
        assert port_vlans(leaf) & {15, FOREIGN_VLAN} == {FOREIGN_VLAN}
    finally:
        output("bridge", "-n", leaf["netns"], "vlan", "del", *foreign[2:])


def test_the_fabric_reads_what_the_bridge_lists(link, leaf, apply):
    apply(15, 16)
    output("bridge", "-n", leaf["netns"], "vlan", "del", "dev", leaf["port"], "vid", "16")
    answer = fabric(op="read", host="compute1", links=[link])
    assert answer == {"links": [{**link, "vlans": [15]}]}
    assert apply(15, 16) == [15, 16]


def changed(link, path, value):
    copy = json.loads(json.dumps(link))
    *parents, last = path.split(".")
    place = copy
    for key in parents:
        place = place[key]
    place[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("switch.name", "leaf9"),
        ("switch.name", "leaf1; reboot"),
        ("switch.name", None),
        ("switch.chassis_id.value", "52:54:00:bb:00:02"),
        ("switch.chassis_id.subtype", "local"),
        ("port.id.value", "swp2"),
        ("port.id.value", "$(reboot)"),
        ("port.id.subtype", "mac"),
        ("pf", "enp1s0"),
    ],
)
def test_the_fabric_refuses_what_is_not_the_lab(link, leaf, path, value):
    before = port_vlans(leaf)
    assert_refused(op="apply", host="compute1", link=changed(link, path, value), vlans=[15])
    assert port_vlans(leaf) == before


@pytest.mark.parametrize("vid", [0, 1, 4095, -2, "15", 15.0, True, None])
def test_the_fabric_refuses_a_vlan_that_is_none(link, leaf, vid):
    before = port_vlans(leaf)
    assert_refused(op="apply", host="compute1", link=link, vlans=[15, vid])
    assert port_vlans(leaf) == before


@pytest.mark.parametrize("request_", [{}, {"op": "reboot"}, {"op": "apply"}, {"version": 2}])
def test_the_fabric_refuses_what_is_no_request(request_):
    assert_refused(**request_)


def assert_refused(**request):
    ended = subprocess.run(
        ["leaf-fabric"],
        input=json.dumps({"version": 1, **request}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("leaf-fabric: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("index", [0, 1])
def test_lldp_finds_the_leaf(topology, index):
    pf, leaf = topology["pfs"][index], topology["leaves"][index]
    expected = (pf["netdev"], leaf["name"], leaf["mac"], "ifname", leaf["port"])
    deadline = time.monotonic() + NEIGHBOR_SECONDS
    while expected not in (found := neighbors()):
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def neighbors():
    shown = output("lldpcli", "-f", "json0", "show", "neighbors")
    return [
        (
            interface["name"],
            interface["chassis"][0]["name"][0]["value"],
            interface["chassis"][0]["id"][0]["value"],
            interface["port"][0]["id"][0]["type"],
            interface["port"][0]["id"][0]["value"],
        )
        for interface in json.loads(shown)["lldp"][0].get("interface", [])
    ]
