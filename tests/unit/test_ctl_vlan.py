# SPDX-License-Identifier: Apache-2.0
"""``sriovctl vlan`` and ``sriovctl port create --net``, with no agent running."""

import json

import pytest

from sriov_agent.core.state import Claim
from tests.unit.test_sriovctl import ID, MAC, VF, Host, one_sentence

OTHER_MAC = "02:00:00:00:00:02"


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def rows(host, *command):
    return json.loads(host.do(*command, "-f", "json"))


def refused(host, *command):
    status, out, err = host(*command)
    assert (status, out) == (1, "")
    return one_sentence(err)


def test_aliases_ranges_and_blacklist_from_first_to_last(host):
    rows(host, "port", "create", "--net", "DMZ CORE", "web")
    assert rows(host, "vlan", "list") == [
        {"alias": "CORE", "vlan": 102, "ports": 1, "taps": 0},
        {"alias": "DMZ", "vlan": 101, "ports": 1, "taps": 0},
    ]
    assert rows(host, "vlan", "add", "FOO", "1000") == {"alias": "FOO", "vlan": 1000}
    assert rows(host, "vlan", "blacklist", "1001") == [{"first": 1001, "last": 1001}]
    rows(host, "port", "create", "--net", "1002")
    assert rows(host, "vlan", "blacklist") == [{"first": 1001, "last": 1002}]
    assert rows(host, "vlan", "range", "2000-2001,3000") == [
        {"first": 2000, "last": 2001, "free": 2},
        {"first": 3000, "last": 3000, "free": 1},
    ]
    assert rows(host, "vlan", "add", "BAR") == {"alias": "BAR", "vlan": 2000}
    assert rows(host, "vlan", "add", "BAZ", "400-499") == {"alias": "BAZ", "vlan": 400}
    assert rows(host, "vlan", "range")[0] == {"first": 2000, "last": 2001, "free": 1}
    host.do("vlan", "delete", "FOO", "BAR", "BAZ")
    assert [row["alias"] for row in rows(host, "vlan", "list")] == ["CORE", "DMZ"]
    assert rows(host, "vlan", "blacklist", "--remove", "1001-1002") == []


def test_one_network_makes_a_port_that_is_shown_and_several_a_list(host):
    port = rows(host, "port", "create", "--net", f"physnet2,DMZ,{MAC},macvtap", "--id", ID, "web")
    assert {
        "id": ID,
        "name": "web",
        "mac": MAC,
        "vlan": 101,
        "alias": "DMZ",
        "physical_network": "physnet2",
        "vnic_type": "macvtap",
    }.items() <= port.items()
    command = ("port", "create", "--net", "DMZ 200,hostdev", "--net", f"CORE,{OTHER_MAC}", "gate")
    made = rows(host, *command, "--vnic-type", "macvtap", "--trust")
    assert [(row["name"], row["vlan"], row["alias"]) for row in made] == [
        ("gate-1", 101, "DMZ"),
        ("gate-2", 200, ""),
        ("gate-3", 102, "CORE"),
    ]
    shown = [rows(host, "port", "show", row["id"]) for row in made]
    assert [row["vnic_type"] for row in shown] == ["macvtap", "direct", "macvtap"]
    assert all(row["trust"] for row in shown)
    listed = {row["id"]: row["alias"] for row in rows(host, "port", "list")}
    assert listed == {ID: "DMZ"} | {row["id"]: row["alias"] for row in made}
    assert host.do("port", "create", "--net", "DMZ DMZ", "-f", "value", "-c", "alias") == (
        "DMZ\nDMZ\n"
    )


def test_a_port_by_its_vlan_shows_the_alias_and_keeps_it_from_being_deleted(host):
    host.do("vlan", "add", "DMZ", "15")
    assert host.create("--vlan", "15", "--id", ID)["alias"] == "DMZ"
    assert host.create("--vlan", "0")["alias"] == ""
    assert ID in refused(host, "vlan", "delete", "DMZ")
    host.do("port", "delete", ID)
    host.do("vlan", "delete", "DMZ")


def test_all_that_is_wrong_with_any_is_told_and_nothing_is_created(host):
    host.create("--mac", MAC, "--id", ID)
    specs = f"NEW 5000 DMZ,01:00:5e:00:00:01 physnet9,100,e1000 OLD,{MAC}"
    sentence = refused(host, "port", "create", "--net", specs)
    for each in ("vlan 5000", "multicast", "physnet9", "'e1000'", f"the MAC of port {ID}"):
        assert each in sentence
    assert rows(host, "vlan", "list") == []
    assert [port.port_id for port in host.ports.all()] == [ID]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--net", ""], "expected [PHYSICAL_NETWORK,]VLAN"),
        (["--net", "100", "--vlan", "5"], "vlan '5': not with --net"),
        (["--net", "100", "--mac", MAC], "mac "),
        (["--net", "100", "--trunk", "5"], "trunk "),
        (["--net", "100 101", "--id", ID], "for one port only"),
        (["--net", "100 x,", "--pci-slot", VF], "for one port only"),
        (["--net", "100 101", "-f", "shell"], "shell"),
        (["--net", "100", "--qos", "8"], "qos 8"),
        (["--net", "D\x1b[2J"], r"D\x1b[2J"),
    ],
)
def test_what_does_not_go_together_is_refused(host, arguments, named):
    assert named in refused(host, "port", "create", *arguments)
    assert host.ports.all() == []
    assert rows(host, "vlan", "blacklist") == []


def test_a_port_is_by_physical_network_or_by_net(host):
    both = ("port", "create", "--physical-network", "physnet2", "--net", "100")
    status, _, err = host(*both)
    assert status == 2
    assert "--net" in err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["add", "100"], "an alias is a letter"),
        (["add", "vfio"], "name of a driver"),
        (["add", "\x1b[2J"], r"alias '\x1b[2J'"),
        (["add", "DMZ", "15"], "there already, for VLAN 101"),
        (["add", "NEW", "101"], "the VLAN of alias DMZ"),
        (["add", "NEW", "300"], "blacklisted"),
        (["add", "NEW", "300-301"], "no VLAN is free in 300-301"),
        (["add", "NEW", "0"], "vlan '0'"),
        (["add", "NEW", "9" * 5000], "vlan '999"),
        (["add", "NEW", "many"], "vlan 'many'"),
        (["add", "NEW", ""], "expected VLANs"),
        (["delete", "NEW"], "no such alias"),
        (["delete", "DMZ", "NEW"], "no such alias"),
        (["range", "1-100"], "range '1-100': expected 2..4094"),
        (["range", "200-100"], "range '200-100'"),
        (["range", ""], "expected VLANs"),
        (["blacklist", "101"], "the VLAN of alias DMZ"),
        (["blacklist", "4095"], "4095"),
        (["blacklist", "--remove", "5"], "not blacklisted"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value)[:40],
)
def test_what_cannot_be_is_one_sentence_and_changes_nothing(host, arguments, named):
    host.do("vlan", "add", "DMZ")
    host.do("vlan", "blacklist", "300-301")
    assert named in refused(host, "vlan", *arguments)
    assert [row["alias"] for row in rows(host, "vlan", "list")] == ["DMZ"]
    assert rows(host, "vlan", "range")[0]["first"] == 101
    assert rows(host, "vlan", "blacklist") == [{"first": 300, "last": 301}]


def test_a_vlan_is_not_free_while_a_vf_may_still_be_in_it(host):
    host.do("port", "create", "--net", "DMZ", "--id", ID)
    host.do("port", "create", "--net", "200")
    claim = Claim(port_id=ID, vf=VF, pf="0000:3b:00.0", index=1, mac=MAC)
    host.store.record(claim)
    host.do("port", "delete", ID)
    assert ID in refused(host, "vlan", "delete", "DMZ")
    assert ID in refused(host, "vlan", "blacklist", "--remove", "200")
    host.store.drop(claim)
    host.do("vlan", "delete", "DMZ")


@pytest.mark.parametrize(
    "command", [["add", "DMZ"], ["delete", "DMZ"], ["range", "5"], ["blacklist", "5"]]
)
def test_vlans_of_neutron_are_neutrons_to_change(tmp_path, command):
    host = Host(tmp_path, source="ml2")
    assert "[agent] source is ml2" in refused(host, "vlan", *command)
    for listed in ("list", "range", "blacklist"):
        rows(host, "vlan", listed)


def test_a_port_by_its_options_takes_an_alias_as_well_as_a_number(host):
    first = host.create("--vlan", "DMZ", "web1")
    assert (first["vlan"], first["alias"]) == (101, "DMZ")
    assert host.create("--vlan", "DMZ", "web2")["vlan"] == 101
    assert host.create("--vlan", "101", "web3")["alias"] == "DMZ"
    assert host.create("web4")["vlan"] == 0
    assert rows(host, "vlan", "list") == [{"alias": "DMZ", "vlan": 101, "ports": 3, "taps": 0}]
