# SPDX-License-Identifier: Apache-2.0
"""Which physical router and interface LLDP speaks of, row by row of the contract's section 1.9."""

import pytest

from sriov_agent.core import fields
from sriov_agent.core.model import LldpId, SwitchPort
from sriov_agent.exceptions import ConfigError, Refused
from sriov_agent.hook.contrail.lookup import (
    Interface,
    OperatorMap,
    Router,
    Unplaced,
    bond_groups,
    chassis_mac,
    fabric,
    interface,
    parsed_mac,
    router,
)

NONE = OperatorMap()
MAC = "00:11:22:33:44:55"
LEAF1 = Router("leaf1", "leaf1.example", "192.0.2.1", frozenset({"001122334455"}), ("fab1",))
RENAMED = Router("rack7-top", "leaf2", "192.0.2.2", frozenset({"001122334466"}), ("fab1",))
PLAIN = Interface("u1", "xe-0/0/1", "xe-0/0/1", "531", frozenset({"001122334401"}))
CHANNEL = Interface("u2", "et-0/0/48_0", "et-0/0/48:0", "600")
HOSTILE = "a\x1b[2J\n'\"" + "x" * 300


def link(
    name="leaf1", chassis=("mac", "aa:aa:aa:aa:aa:aa"), port=("ifname", "none"), description=""
):
    return SwitchPort(
        pf="0000:3b:00.0",
        chassis_id=LldpId(*chassis),
        port_id=LldpId(*port),
        system_name=name,
        port_description=description,
    )


@pytest.mark.parametrize(
    ("at", "found"),
    [
        (link("leaf1"), LEAF1),
        (link("leaf1.example"), LEAF1),
        (link("leaf2"), RENAMED),
        (link("LEAF2.dc.example"), RENAMED),
        (link("Rack7-Top.dc.example"), RENAMED),
        (link("", ("mac", MAC)), LEAF1),
        (link("unheard", ("mac", "0011.2233.4466")), RENAMED),
        (link("", ("ip", "192.0.2.2")), RENAMED),
    ],
)
def test_a_switch(at, found):
    assert router(at, [LEAF1, RENAMED], NONE) is found


@pytest.mark.parametrize(
    "at",
    [
        link("leaf"),
        link(""),
        link("", ("local", MAC)),
        link("", ("mac", "192.0.2.1")),
        link("", ("ip", "")),
        link("", ("mac", "no mac")),
        link(".example"),
        link(HOSTILE, ("local", HOSTILE)),
    ],
)
def test_no_switch(at):
    empty = Router("", "", "", frozenset(), ())
    with pytest.raises(Unplaced, match=r"not onboarded in Contrail yet.*switch_map") as error:
        router(at, [LEAF1, RENAMED, empty], NONE)
    assert str(error.value).isprintable()
    assert isinstance(error.value, Refused)


def test_an_ambiguous_name_names_the_candidates():
    twins = [Router("leaf1.east"), Router("leaf1.west")]
    with pytest.raises(Unplaced, match=r"'leaf1\.east', 'leaf1\.west'.*switch_map"):
        router(link("leaf1"), twins, NONE)
    assert router(link("leaf1.east"), twins, NONE) is twins[0]
    said = OperatorMap.parsed(["leaf1=leaf1.west"], [])
    assert router(link("leaf1"), twins, said) is twins[1]


def test_many_candidates_are_shortened():
    many = [Router(f"leaf1.{at}") for at in range(20)]
    with pytest.raises(Unplaced, match="and 12 more"):
        router(link("leaf1"), many, NONE)


def test_a_name_and_a_chassis_id_of_two_switches_are_no_switch():
    with pytest.raises(Unplaced, match="'leaf1', 'rack7-top'"):
        router(link("leaf1", ("mac", "00:11:22:33:44:66")), [LEAF1, RENAMED], NONE)
    assert router(link("leaf1", ("mac", MAC)), [LEAF1, RENAMED], NONE) is LEAF1


def test_the_operators_word_comes_first():
    said = OperatorMap.parsed(["leaf1 = rack7-top", f"{MAC}=leaf1"], [])
    assert router(link("leaf1"), [LEAF1, RENAMED], said) is RENAMED
    assert router(link("", ("mac", MAC)), [LEAF1, RENAMED], said) is LEAF1
    with pytest.raises(Unplaced, match="switch_map names 'gone'"):
        router(link("x"), [LEAF1], OperatorMap.parsed(["x=gone"], []))


@pytest.mark.parametrize(
    ("at", "found"),
    [
        (link(port=("ifname", "xe-0/0/1")), PLAIN),
        (link(port=("ifname", "xe-0/0/1.0")), PLAIN),
        (link(port=("ifname", "et-0/0/48:0")), CHANNEL),
        (link(port=("ifname", "et-0/0/48_0")), CHANNEL),
        (link(port=("local", "600")), CHANNEL),
        (link(port=("mac", "00:11:22:33:44:01")), PLAIN),
        (link(port=("local", "9"), description="xe-0/0/1"), PLAIN),
        (link(port=("local", "531"), description="et-0/0/48:0"), PLAIN),
    ],
)
def test_a_port(at, found):
    assert interface(at, LEAF1, [PLAIN, CHANNEL], NONE) is found


@pytest.mark.parametrize(
    "at",
    [
        link(port=("ifname", "xe-0/0/1.1")),
        link(port=("ifname", "xe-0/0/10")),
        link(port=("local", "")),
        link(port=("local", "xe-0/0/1")),
        link(port=("mac", "")),
        link(port=("ifname", ".0")),
        link(port=("ifname", HOSTILE), description=HOSTILE),
    ],
)
def test_no_port(at):
    empty = Interface("u0", "", "", "")
    with pytest.raises(Unplaced, match=r"not onboarded in Contrail.*port_map") as error:
        interface(at, LEAF1, [empty, PLAIN, CHANNEL], NONE)
    assert str(error.value).isprintable()


def test_an_ambiguous_port_names_the_candidates():
    twins = [Interface("a", "p1", "p1", "7"), Interface("b", "p2", "p2", "7")]
    with pytest.raises(Unplaced, match=r"'p1', 'p2'.*port_map"):
        interface(link(port=("local", "7"), description="p1"), LEAF1, twins, NONE)
    said = OperatorMap.parsed([], ["leaf1/7=p2"])
    assert interface(link(port=("local", "7")), LEAF1, twins, said) is twins[1]


def test_the_operators_ports():
    said = OperatorMap.parsed([], ["leaf1/eth1/1=et-0/0/48:0", "leaf1/to the = host=xe-0/0/1"])
    both = [PLAIN, CHANNEL]
    assert interface(link(port=("ifname", "eth1/1")), LEAF1, both, said) is CHANNEL
    assert interface(link(description="to the = host"), LEAF1, both, said) is PLAIN
    with pytest.raises(Unplaced, match="port_map names"):
        interface(link(port=("ifname", "eth1/1")), LEAF1, [PLAIN], said)


@pytest.mark.parametrize(
    ("switches", "ports"),
    [
        (["leaf1"], []),
        (["=leaf1"], []),
        (["leaf1="], []),
        (["a=b", "a=c"], []),
        ([], ["leaf1=xe"]),
        ([], ["/xe=xe"]),
        ([], ["leaf1/=xe"]),
    ],
)
def test_a_map_that_is_none(switches, ports):
    with pytest.raises(ConfigError, match=r"\[hook_contrail\] (switch|port)_map: "):
        OperatorMap.parsed(switches, ports)


def test_a_fabric():
    assert fabric(LEAF1) == "fab1"
    with pytest.raises(Unplaced, match="in no fabric yet"):
        fabric(Router("leaf3"))
    with pytest.raises(Unplaced, match="several fabrics: 'f1', 'f2'"):
        fabric(Router("leaf3", fabrics=("f2", "f1")))


def test_bonds():
    one, two, three = (f"0000:3B:00.{at}" for at in range(3))
    found = bond_groups([f"{one} + {two}"], fields.pci_address)
    assert set(found) == {one.lower(), two.lower()}
    assert found[one.lower()] == found[two.lower()] == set(found)
    assert bond_groups([], fields.pci_address) == {}
    for wrong in (
        [one],
        [f"{one}+{one}"],
        [f"{one}+eth0"],
        [f"{one}+{two}", f"{two}+{three}"],
        [""],
    ):
        with pytest.raises(ConfigError, match=r"\[hook_contrail\] bonds: "):
            bond_groups(wrong, fields.pci_address)


def test_macs():
    assert parsed_mac("00:11:22:33:44:Ff") == parsed_mac("0011.2233.44ff") == "0011223344ff"
    assert parsed_mac("leaf") == parsed_mac("") == ""
    assert chassis_mac("juniper_00_11_22_33_44_55") == "001122334455"
    assert chassis_mac("juniper_x") == ""
