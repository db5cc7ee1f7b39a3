# SPDX-License-Identifier: Apache-2.0
"""LLDP neighbors by SNMP, from real snmpds: this host's, and a leaf's that it asks for itself.

Each snmpd has an lldpd of its own as AgentX subagent, beside those of the lab. The host's announces
MAC addresses as port ids, as lldpd does unless told otherwise; the leaf's only listens.
"""

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from sriov_agent.cmd.lldp_discover import NO_SOURCE, ONE, main
from sriov_agent.core.lldp import cabled
from sriov_agent.core.model import LldpId, Uplink
from sriov_agent.exceptions import Unavailable
from sriov_agent.host.lldp.snmp import Credentials, Snmp
from tests.frozen import replace
from tools.demo.witness import run

TOPOLOGY = Path("/run/sriov-lab/topology.json")
#: Far above what anything here takes: lldpd registers anew 6 to 9 s after snmpd was restarted.
SECONDS = 600
HOST_AGENT, OTHER_AGENT, LEAF_AGENT = "127.0.0.1:1161", "127.0.0.1:1162", "192.0.2.1:1161"
COMMUNITY = Credentials(community="lab-community")
USER = Credentials(version="3", user="lab", auth_key="lab-auth-key", priv_key="lab-priv-key")
SNMPD_CONF = """
agentAddress udp:{address}
master agentx
agentXSocket {directory}/agentx
[snmp] persistentDir {directory}
view lldp included .1.0.8802.1.1.2
view lldp included .1.3.6.1.2.1.31
view systemonly included .1.3.6.1.2.1.1
rocommunity lab-community default -V lldp
rocommunity narrow default -V systemonly
createUser lab SHA lab-auth-key AES lab-priv-key
createUser signed SHA lab-auth-key
createUser open
rouser lab authPriv -V lldp
rouser signed authNoPriv -V lldp
rouser open noAuthNoPriv -V lldp
"""
LLDPD_CONF = """
configure system hostname {name}
configure lldp portidsubtype {port_id}
configure lldp tx-interval 3
configure lldp tx-hold 10
"""


@pytest.fixture(scope="module")
def topology():
    return json.loads(TOPOLOGY.read_text())


@pytest.fixture(scope="module")
def uplinks(topology):
    return {
        pf["pci"]: Uplink(address=pf["pci"], netdev=pf["netdev"], mac=pf["mac"], carrier=True)
        for pf in topology["pfs"]
    }


@contextlib.contextmanager
def open_directory():
    """A directory that lldpd can reach with the rights that it keeps."""
    with tempfile.TemporaryDirectory(dir="/run") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@contextlib.contextmanager
def program(directory, *command):
    """A program that is there all the time, and is ended then."""
    log = directory / f"{command[0]}.log"
    with log.open("a") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, "MIBS": ""})
    try:
        yield
        assert process.poll() is None, log.read_text()
    finally:
        process.terminate()
        process.wait()


def snmpd(directory, address, within=()):
    conf = directory / "snmpd.conf"
    conf.write_text(SNMPD_CONF.format(address=address, directory=directory))
    return program(directory, *within, "snmpd", "-f", "-Lo", "-C", "-c", conf)


@contextlib.contextmanager
def lldpd(directory, name, netdevs, *options, port_id="ifname", within=()):
    conf = directory / "lldpd.conf"
    conf.write_text(LLDPD_CONF.format(name=name, port_id=port_id))
    files = ("-u", directory / "lldpd", "-p", directory / "lldpd.pid", "-O", conf)
    # Two ports of one chassis that it heard within a second are one to an SNMP agent.
    ports = ("-I", ",".join(netdevs), "-C", netdevs[-1])
    joined = groups(netdevs, within)
    try:
        with program(directory, *within, "lldpd", "-d", *files, *ports, *options):
            yield
    finally:
        # The NIC's filter does not count: the first lldpd that leaves a group leaves it for all.
        for netdev, group in joined - groups(netdevs, within):
            run(*within, "ip", "maddress", "add", group, "dev", netdev)


def groups(netdevs, within):
    """The multicast addresses that NICs let pass."""
    listed = json.loads(run(*within, "ip", "-j", "maddress", "show"))
    return {
        (device["ifname"], address["link"])
        for device in listed
        for address in device["maddr"]
        if device["ifname"] in netdevs and "link" in address
    }


def agentx(directory):
    return "-x", "-X", directory / "agentx"


@pytest.fixture(scope="module")
def netdevs(topology):
    return [pf["netdev"] for pf in topology["pfs"]]


@pytest.fixture(scope="module")
def host_agent(topology, netdevs):
    """This host's snmpd, with its lldpd."""
    with (
        open_directory() as path,
        snmpd(path, HOST_AGENT),
        lldpd(path, topology["host"], netdevs, *agentx(path), port_id="macaddress"),
    ):
        yield HOST_AGENT


@pytest.fixture(scope="module")
def leaf_agent(topology):
    """The first leaf's snmpd with an lldpd, within reach by a wire of its own."""
    leaf = topology["leaves"][0]
    within = ("ip", "netns", "exec", leaf["netns"])
    run("ip", "link", "add", "to-leaf", "type", "veth", "peer", "snmp", "netns", leaf["netns"])
    try:
        for netns, netdev, address in (
            (["-n", leaf["netns"]], "snmp", "192.0.2.1/30"),
            ([], "to-leaf", "192.0.2.2/30"),
        ):
            run("ip", *netns, "address", "add", address, "dev", netdev)
            run("ip", *netns, "link", "set", netdev, "up")
        with (
            open_directory() as path,
            snmpd(path, LEAF_AGENT, within),
            lldpd(path, leaf["name"], [leaf["port"]], "-r", *agentx(path), within=within),
        ):
            yield LEAF_AGENT
    finally:
        run("ip", "link", "delete", "to-leaf")


@pytest.fixture
def finds_the_leaves(uplinks, topology):
    """Whether every uplink has one switch port, the one that it is wired to."""
    expected = {pf["pci"]: (pf["leaf"], pf["port"]) for pf in topology["pfs"]}

    def find(heard):
        if isinstance(heard, str):
            return False
        ports = {a: found.switch_port for a, found in cabled(uplinks.values(), heard).items()}
        return expected == {a: p and (p.system_name, p.port_id.value) for a, p in ports.items()}

    return find


def snmp(host_agent, *switches, credentials=COMMUNITY, **given):
    return Snmp(host_agent, switches, credentials, **({"timeout": 5.0, "retries": 1} | given))


def wait_for(asked, uplinks, wanted):
    """What is heard, or why nothing is, once it is as wanted."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            seen = asked.hear(uplinks)
        except Unavailable as error:
            seen = str(error)
        if wanted(seen):
            return seen
        assert time.monotonic() < deadline, seen
        time.sleep(0.5)


def is_silent(seen):
    return isinstance(seen, str) and "no answer" in seen


@pytest.mark.parametrize("credentials", [COMMUNITY, USER], ids=["community", "user"])
def test_the_hosts_snmpd_tells_what_it_hears_on_each_uplink(
    host_agent, uplinks, topology, finds_the_leaves, credentials
):
    heard = wait_for(snmp(host_agent, credentials=credentials), uplinks, finds_the_leaves)
    assert heard.deaf == {}
    first, leaf = topology["pfs"][0], topology["leaves"][0]
    (neighbor,) = [n for n in heard.neighbors[first["pci"]] if n.system_name == leaf["name"]]
    assert neighbor.chassis_id == LldpId("mac", leaf["mac"])
    assert neighbor.port_id == LldpId("ifname", leaf["port"])
    assert neighbor.port_description == leaf["port"]
    assert neighbor.capabilities == {"Bridge"}
    assert (neighbor.ttl, neighbor.source) == (None, "snmp")
    chassis = LldpId("mac", topology["pfs"][-1]["mac"])
    assert heard.local == {(chassis, LldpId("mac", pf["mac"])) for pf in topology["pfs"]}


@pytest.fixture
def announcing_vlans(topology):
    """The first leaf, in VLAN 15 and 16 and in port channel 1001."""
    lldpcli = ("lldpcli", "-u", topology["leaves"][0]["lldpd_socket"])
    for oui, subtype, octets in (
        ("00,80,C2", "1", "00,0F"),
        ("00,80,C2", "3", "00,0F,03,72,65,64"),
        ("00,80,C2", "3", "00,10,05,67,72,65,65,6E"),
        ("00,12,0F", "3", "03,00,00,03,E9"),
    ):
        tlv = ("oui", oui, "subtype", subtype, "oui-info", octets)
        run(*lldpcli, "configure", "lldp", "custom-tlv", "add", *tlv)
    yield
    run(*lldpcli, "unconfigure", "lldp", "custom-tlv")


@pytest.mark.usefixtures("announcing_vlans")
def test_vlans_and_the_port_channel_are_told_as_well(host_agent, uplinks, topology):
    def announced(heard):
        pci = topology["pfs"][0]["pci"]
        neighbors = () if isinstance(heard, str) else heard.neighbors.get(pci, ())
        return [(n.vlans, n.pvid, n.aggregation) for n in neighbors if n.vlans]

    heard = wait_for(snmp(host_agent), uplinks, announced)
    assert announced(heard) == [(((15, "red"), (16, "green")), 15, 1001)]


def test_an_uplink_that_lldpd_does_not_listen_on_is_deaf(host_agent, uplinks, finds_the_leaves):
    other = Uplink(address="0000:ff:00.0", netdev="nosuch0", mac="02:00:00:00:00:ff")
    heard = wait_for(snmp(host_agent), {**uplinks, other.address: other}, finds_the_leaves)
    assert heard.deaf == {other.address: f"snmpd at {host_agent}: its lldpd does not list nosuch0"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"version": "2c", "community": "wrong"}, "no answer .* and does it allow this community"),
        (
            {"version": "2c", "community": "narrow"},
            "serves no LLDP-MIB: .* add 'view lldp included",
        ),
        ({"user": "nobody"}, "does not know user 'nobody'"),
        ({"auth_key": "wrong-auth-key"}, "has another auth key or protocol for user 'lab'"),
        ({"auth_protocol": "SHA-256"}, "has another auth key or protocol for user 'lab'"),
        (
            {"priv_key": "wrong-priv-key"},
            "no answer .* does it allow user 'lab' with this priv key",
        ),
        ({"priv_key": ""}, "does not allow user 'lab' at this security level"),
        ({"auth_key": "", "priv_key": ""}, "does not allow user 'lab' at this security level"),
    ],
)
def test_what_snmpd_does_not_allow_is_said(host_agent, uplinks, finds_the_leaves, given, why):
    wait_for(snmp(host_agent), uplinks, finds_the_leaves)
    with pytest.raises(Unavailable, match=why):
        snmp(host_agent, credentials=replace(USER, **given), timeout=2.0).hear(uplinks)


def test_other_security_levels_that_a_user_may_have(host_agent, uplinks, finds_the_leaves):
    for user, keys in (("open", {"auth_key": ""}), ("signed", {})):
        credentials = replace(USER, user=user, priv_key="", **keys)
        wait_for(snmp(host_agent, credentials=credentials), uplinks, finds_the_leaves)


def test_an_lldpd_without_agentx_serves_nothing(uplinks, topology, netdevs):
    with (
        open_directory() as path,
        snmpd(path, OTHER_AGENT),
        lldpd(path, topology["host"], netdevs, "-r"),
    ):
        why = wait_for(snmp(OTHER_AGENT), uplinks, lambda seen: not is_silent(seen))
    assert why == (
        f"snmpd at {OTHER_AGENT} serves no LLDP-MIB: start lldpd with -x, and add "
        "'view lldp included .1.0.8802.1.1.2'"
    )


@pytest.mark.parametrize(
    ("changed", "heard"),
    [
        ({"netdev": "renamed0"}, True),
        ({"mac": "02:00:00:00:00:ff"}, True),
        ({"netdev": "renamed0", "mac": "02:00:00:00:00:ff"}, False),
    ],
    ids=["by its MAC", "by its name", "not by the chassis"],
)
@pytest.mark.usefixtures("host_agent")
def test_a_leaf_tells_which_of_its_ports_hears_an_uplink(
    leaf_agent, uplinks, topology, changed, heard
):
    (pf, elsewhere), leaf = topology["pfs"], topology["leaves"][0]
    whole, asked = uplinks[pf["pci"]], snmp("", leaf_agent, host=topology["host"])
    by_either = {
        "mac": replace(whole, netdev="renamed0"),
        "name": replace(whole, mac="02:00:00:00:00:ff"),
    }
    wait_for(
        asked,
        by_either,
        lambda seen: not isinstance(seen, str) and all(map(seen.neighbors.get, by_either)),
    )
    found = asked.hear({**uplinks, pf["pci"]: replace(whole, **changed)})
    assert found.deaf == {}
    assert found.neighbors[elsewhere["pci"]] == ()
    assert [n.ids for n in found.neighbors[pf["pci"]]] == [
        (LldpId("mac", leaf["mac"]), LldpId("ifname", leaf["port"]))
    ] * heard


def test_the_discovery_script_asks_the_agents_of_the_configuration(
    host_agent, uplinks, finds_the_leaves, topology, tmp_path, capsys
):
    wait_for(snmp(host_agent), uplinks, finds_the_leaves)
    config = tmp_path / "sriov-agent.conf"
    config.write_text(
        f"[lldp_snmp]\nhost_agent = {host_agent}\ncommunity = lab-community\ntimeout = 5\n"
    )
    asked = ["--all", "--json", "--source", "snmp", "--config-file", str(config)]
    assert main(asked) == ONE
    found = json.loads(capsys.readouterr().out)
    switches = [entry["local_link_information"][0]["switch_info"] for entry in found]
    assert switches == [pf["leaf"] for pf in topology["pfs"]]
    config.write_text("[lldp_snmp]\nhost_agent = 127.0.0.1:9\ntimeout = 0.2\n")
    assert main(asked) == NO_SOURCE
    assert "no answer from 127.0.0.1:9: is snmpd running" in capsys.readouterr().err


def test_both_ends_of_a_cable_agree(host_agent, leaf_agent, uplinks, finds_the_leaves):
    heard = wait_for(snmp(host_agent, leaf_agent), uplinks, finds_the_leaves)
    assert heard.deaf == {}


def test_who_polls_hears_of_each_change_and_gets_over_a_restart(
    uplinks, topology, netdevs, finds_the_leaves
):
    changes = queue.SimpleQueue()
    asked = snmp(OTHER_AGENT, timeout=2.0, interval=1.0)
    asked.start(lambda: changes.put(True))
    try:
        with open_directory() as path, lldpd(path, topology["host"], netdevs, "-r", *agentx(path)):
            for _ in ("started", "restarted"):
                wait_for(asked, uplinks, is_silent)
                assert changes.get(timeout=SECONDS)
                with snmpd(path, OTHER_AGENT):
                    wait_for(asked, uplinks, finds_the_leaves)
                    assert changes.get(timeout=SECONDS)
    finally:
        began = time.monotonic()
        asked.stop()
    assert time.monotonic() - began < SECONDS
