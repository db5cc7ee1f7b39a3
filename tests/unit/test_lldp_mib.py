# SPDX-License-Identifier: Apache-2.0
"""The LLDP-MIB as lldpd 1.0.16 served it (tests/samples/lldp): a host's, which heard six systems on
one interface, and that of the switch behind it; and what nobody should serve."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.model import LldpId, Uplink
from sriov_agent.exceptions import Unavailable
from sriov_agent.host.lldp import mib
from sriov_agent.host.lldp.mib import Port, heard, nameless, read

SAMPLES = Path(__file__).parents[1] / "samples" / "lldp"
BASE = (1, 0, 8802, 1, 1, 2, 1)
LOCAL_PORT, REMOTE = (*BASE, 3, 7, 1), (*BASE, 4, 1, 1)
DOT1, DOT3 = (*BASE, 5, 32962, 1, 3), (*BASE, 5, 4623, 1, 3)
IF_NAME = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 1)

HOST, SWITCH, OTHER_SWITCH = "127.0.0.1", "192.0.2.1", "192.0.2.9"
HOST_NAME = "virtme-ng"
MAC = "52:54:00:aa:00:01"
LEAF = LldpId("mac", "52:54:00:bb:00:01")


def sample(name):
    rows = json.loads((SAMPLES / f"snmp-{name}.json").read_text())
    kinds = {"Integer": int, "OctetString": bytes.fromhex}
    return {
        tuple(map(int, oid.split("."))): kinds[kind](value)
        for oid, kind, value in rows
        if kind in kinds
    }


def remote(
    time_mark, number, index, *, chassis="525400bb0001", port=b"swp1", kind=5, system=b"leaf1"
):
    """One row of lldpRemTable."""
    columns = {4: 4, 5: bytes.fromhex(chassis), 6: kind, 7: port, 9: system}
    return {(*REMOTE, c, time_mark, number, index): value for c, value in columns.items()}


def system(*rows, chassis="525400bb0001"):
    """An agent that tells its chassis id, and ``rows``."""
    chassis = bytes.fromhex(chassis)
    own = {(*BASE, 3, 1, 0): 4, (*BASE, 3, 2, 0): chassis, (*BASE, 3, 3, 0): b"leaf1"}
    return {name: value for part in (own, *rows) for name, value in part.items()}


def uplink(address="a", netdev="enp1s0", mac=MAC):
    return {address: Uplink(address=address, netdev=netdev, mac=mac)}


def neighbors(rows, number=1):
    return read(rows).neighbors.get(number, ())


# What one agent tells.


def test_every_vendors_forms_are_kept_apart():
    found = {n.system_name: n for n in read(sample("host")).neighbors[3]}
    assert len(found) == 6
    assert found["leaf1"].ids == (LEAF, LldpId("ifname", "swp1"))
    assert found["n9k-1"].port_id == LldpId("ifname", "Ethernet1/10")
    assert found["n9k-1"].port_description == "to compute-01 eth2"
    assert found["qfx1"].port_id == LldpId("local", "516")
    assert found["linuxsw"].port_id == LldpId("mac", "44:38:39:00:01:02")
    assert found["leaf3.example.com"].port_description == ""
    assert found["leaf3.example.com"].management_addresses == ("192.0.2.14", "2001:db8::14")
    assert {n.source for n in found.values()} == {"snmp"}
    assert {(n.ttl, n.age) for n in found.values()} == {(None, None)}


def test_capabilities_begin_at_the_most_significant_bit():
    enabled = {n.system_name: n.capabilities for n in read(sample("host")).neighbors[3]}
    assert enabled["leaf1"] == {"Bridge"}
    assert enabled["qfx1"] == {"Bridge", "Router"}
    (host,) = read(sample("switch")).neighbors[2]
    assert host.capabilities == {"Station"}


def test_an_agents_own_system():
    tables = read(sample("switch"))
    assert (tables.chassis_id, tables.system_name) == (LEAF, "leaf1")
    swp1, swp2 = (LldpId("ifname", f"swp{number}") for number in (1, 2))
    assert tables.ports[2] == Port(port_id=swp1, description="swp1", name="swp1")
    assert tables.ports[5] == Port(port_id=swp2, description="swp2", name="swp2")


def test_what_organizations_add():
    index = (900, 1, 1)
    rows = system(
        remote(*index),
        {
            (*DOT1, 1, 1, 1, *index): 15,
            (*DOT1, 3, 1, 2, *index, 16): b"green",
            (*DOT1, 3, 1, 2, *index, 15): b"red\0x",
            (*DOT1, 3, 1, 2, *index, 4095): b"none",
            (*DOT3, 3, 1, 2, *index): 1001,
        },
    )
    (found,) = neighbors(rows)
    assert (found.pvid, found.aggregation) == (15, 1001)
    assert found.vlans == ((15, "red"), (16, "green"))


def test_a_vlan_id_that_is_none_does_not_count():
    rows = system(remote(900, 1, 1), {(*DOT1, 1, 1, 1, 900, 1, 1): 4095})
    assert neighbors(rows)[0].pvid == 0


@pytest.mark.parametrize("column", [4, 5, 6, 7])
def test_a_torn_row_is_left_out_and_the_others_stay(column):
    rows = system(remote(900, 1, 1), remote(900, 1, 2, port=b"swp2"))
    assert not read(rows).torn
    del rows[(*REMOTE, column, 900, 1, 1)]
    tables = read(rows)
    assert tables.torn
    assert [n.port_id.value for n in tables.neighbors[1]] == ["swp2"]


def test_of_one_neighbor_what_it_said_last_counts():
    old, new = remote(900, 1, 1, system=b"old"), remote(1000, 1, 1, system=b"new")
    for rows in (system(old, new), system(new, old)):
        assert [n.system_name for n in neighbors(rows)] == ["new"]


def test_two_ports_of_one_chassis_are_two_neighbors():
    """lldpd gives both the same remIndex, and a guest may be the one that came later."""
    rows = system(remote(900, 1, 1), remote(1000, 1, 1, port=b"swp99"))
    assert [n.port_id.value for n in neighbors(rows)] == ["swp1", "swp99"]


def test_when_a_neighbor_changed_is_no_difference():
    first = remote(900, 1, 1), remote(1000, 1, 2, port=b"swp2")
    second = remote(1900, 1, 1), remote(1000, 1, 2, port=b"swp2")
    assert read(system(*first)) == read(system(*second))


@pytest.mark.parametrize(
    ("kind", "octets", "expected"),
    [
        (1, b"uplink 4", ("ifalias", "uplink 4")),
        (2, b"ch", ("unhandled", "63 68")),
        (3, bytes(5), ("unhandled", "00 00 00 00 00")),
        (4, bytes([1, 192, 0, 2, 98]), ("ip", "192.0.2.98")),
        (4, bytes([1, 192, 0, 2]), ("unhandled", "01 C0 00 02")),
        (5, b"sw\xffp\x1b1\0x", ("ifname", "sw\ufffdp\x1b1")),
        (6, b"circuit-9", ("unhandled", "63 69 72 63 75 69 74 2D 39")),
        (7, b"516", ("local", "516")),
        (99, b"?", ("unhandled", "3F")),
    ],
)
def test_port_ids(kind, octets, expected):
    (found,) = neighbors(system(remote(900, 1, 1, kind=kind, port=octets)))
    assert found.port_id == LldpId(*expected)


@pytest.mark.parametrize("rows", [{}, {(*BASE, 3, 2, 0): b"x"}, system(chassis="")])
def test_without_a_chassis_id_nothing_is_known(rows):
    with pytest.raises(Unavailable, match="chassis id"):
        read(rows)


def test_names_are_asked_for_where_a_port_with_neighbors_has_none():
    local = {(*LOCAL_PORT, 2, 1): 5, (*LOCAL_PORT, 3, 1): b"swp1"}
    local |= {(*LOCAL_PORT, 2, 2): 7, (*LOCAL_PORT, 3, 2): b"2", (*LOCAL_PORT, 2, 4): 7}
    rows = system(local, *(remote(900, number, 1) for number in (3, 2, 1)))
    assert nameless(rows) == [(*IF_NAME, 2), (*IF_NAME, 3)]


SOME = st.sampled_from(
    [
        *(
            value
            for part in (mib.SYSTEM, *mib.PORTS_AND_NEIGHBORS, *mib.EVIDENCE)
            for value in part
        ),
        *((*REMOTE, column) for column in range(4, 10)),
        *((*LOCAL_PORT, column) for column in range(2, 5)),
        IF_NAME,
    ]
)
INDEX = st.lists(st.integers(0, 3) | st.integers(0, 2**32 - 1), max_size=8)
OCTETS = st.binary(max_size=20) | st.sampled_from(
    [b"swp1", b"enp1s0", bytes.fromhex("525400aa0001")]
)
ROWS = st.dictionaries(
    st.tuples(SOME, INDEX).map(lambda pair: (*pair[0], *pair[1])),
    st.integers(0, 8) | st.integers(-(2**31), 2**64) | OCTETS,
)


@given(ROWS)
def test_any_rows_are_read_or_refused(rows):
    try:
        nameless(rows)
        tables = read(system(rows))
    except Unavailable:
        return
    for answers in ({HOST: tables}, {SWITCH: tables}):
        found = heard(uplink(), answers, HOST, HOST_NAME)
        assert found.neighbors.keys() ^ found.deaf.keys() == {"a"}
        assert repr(found).isprintable()
        "".join(n.system_name + n.port_id.value for n in found.neighbors.get("a", ())).encode()


@given(ROWS)
def test_no_row_beside_them_breaks_those_that_are_whole(rows):
    whole = sample("switch")
    (host,) = read(whole).neighbors[2]
    found = read({**rows, **whole}).neighbors[2]
    assert host.ids in {n.ids for n in found}


# Uplinks: whom the host's own agent hears there.


def test_an_uplink_is_found_by_its_interfaces_name():
    own = read(sample("host"))
    found = heard(uplink() | uplink("b", "ens2"), {HOST: own}, HOST, HOST_NAME)
    assert len(found.neighbors["a"]) == 6
    assert found.deaf == {"b": "snmpd at 127.0.0.1: its lldpd does not list ens2"}
    mac = LldpId("mac", MAC)
    assert (mac, mac) in found.local


def test_nobody_heard_is_an_answer():
    rows = {name: value for name, value in sample("host").items() if name[:9] != (*BASE, 4, 1)}
    found = heard(uplink(), {HOST: read(rows)}, HOST, HOST_NAME)
    assert (found.neighbors, found.deaf) == ({"a": ()}, {})


@pytest.mark.parametrize(
    ("port", "name"),
    [
        ({2: 5, 3: b"enp1s0", 4: b"to the leaf"}, None),
        ({2: 3, 3: bytes.fromhex("525400aa0001"), 4: b"enp1s0"}, None),
        ({2: 3, 3: bytes.fromhex("525400aa0001"), 4: b"to the leaf"}, b"enp1s0"),
    ],
)
def test_a_local_ports_name_is_its_id_or_its_interfaces_or_its_description(port, name):
    rows = system(remote(900, 7, 1), {(*LOCAL_PORT, c, 7): value for c, value in port.items()})
    if name:
        rows[(*IF_NAME, 7)] = name
    found = heard(uplink(), {HOST: read(rows)}, HOST, HOST_NAME)
    assert [n.system_name for n in found.neighbors["a"]] == ["leaf1"]


# Uplinks: which of a switch's ports hears them.


def switch(*rows):
    """The captured switch without its neighbor, and with ``rows``."""
    captured = sample("switch").items()
    return read(system({n: v for n, v in captured if n[:9] != (*BASE, 4, 1)}, *rows))


def seen_by(tables, uplinks, host=HOST_NAME):
    return heard(uplinks, {SWITCH: tables}, "", host)


def test_a_switch_hears_the_mac_of_an_uplink():
    found = seen_by(read(sample("switch")), uplink(netdev="renamed0"))
    (leaf,) = found.neighbors["a"]
    assert leaf.ids == (LEAF, LldpId("ifname", "swp1"))
    assert (leaf.system_name, leaf.port_description) == ("leaf1", "swp1")
    assert (leaf.ttl, leaf.source) == (None, "snmp")
    assert found.local == frozenset()


@pytest.mark.parametrize(
    ("port", "host", "matches"),
    [
        (b"enp1s0", HOST_NAME, True),
        (b"enp1s0", "compute9", False),
        (b"enp2s0", HOST_NAME, False),
        (b"", "", False),
    ],
)
def test_a_switch_hears_the_name_of_an_uplink_only_from_this_host(port, host, matches):
    by_name = remote(900, 2, 1, chassis="525400aa0001", port=port, system=HOST_NAME.encode())
    found = seen_by(switch(by_name), uplink(mac="02:00:00:00:00:01"), host)
    assert bool(found.neighbors["a"]) == matches


def test_the_name_that_the_hosts_own_lldpd_announces_is_this_hosts_as_well():
    by_name = remote(900, 2, 1, port=b"enp1s0", system=HOST_NAME.encode())
    own = {n: v for n, v in sample("host").items() if n[:9] != (*BASE, 4, 1)}
    answers = {HOST: read(own), SWITCH: switch(by_name)}
    found = heard(uplink(mac="02:00:00:00:00:01"), answers, HOST, "compute1.example.com")
    assert [n.port_id.value for n in found.neighbors["a"]] == ["swp1"]


def test_the_chassis_alone_never_leads_to_an_uplink():
    other_port = remote(900, 2, 1, chassis="525400aa0001", port=b"enp9s0", system=b"virtme-ng")
    found = seen_by(switch(other_port), uplink())
    assert (found.neighbors, found.deaf) == ({"a": ()}, {})


@pytest.mark.parametrize("kind", [1, 7])
def test_a_mac_or_name_of_another_subtype_is_none(kind):
    as_text = remote(900, 2, 1, kind=kind, port=b"enp1s0", system=HOST_NAME.encode())
    assert seen_by(switch(as_text), uplink()).neighbors == {"a": ()}


def test_an_uplink_that_is_heard_on_two_ports_has_both():
    mac = bytes.fromhex("525400aa0001")
    tables = switch(*(remote(900, number, 1, kind=3, port=mac) for number in (2, 5)))
    found = seen_by(tables, uplink())
    assert {n.port_id.value for n in found.neighbors["a"]} == {"swp1", "swp2"}


def test_what_both_ends_tell_alike_is_one_neighbor():
    own = read(sample("host"))
    answers = {HOST: own, SWITCH: read(sample("switch"))}
    found = heard(uplink(), answers, HOST, HOST_NAME)
    assert sorted(map(repr, found.neighbors["a"])) == sorted(map(repr, own.neighbors[3]))


def test_a_port_that_the_switch_does_not_list_goes_by_its_interfaces_name():
    mac = bytes.fromhex("525400aa0001")
    unlisted = remote(900, 77, 1, kind=3, port=mac)
    found = seen_by(switch(unlisted, {(*IF_NAME, 77): b"xe-0/0/7"}), uplink())
    assert [n.port_id for n in found.neighbors["a"]] == [LldpId("ifname", "xe-0/0/7")]

    found = seen_by(switch(unlisted, remote(900, 2, 1, kind=3, port=mac)), uplink())
    assert found.neighbors == {}
    assert found.deaf == {"a": "192.0.2.1 hears enp1s0 on a port without name: 77"}


# What is unknown.


def test_a_switch_that_did_not_answer_may_be_the_one():
    tables = read(sample("switch"))
    answers = {SWITCH: tables, OTHER_SWITCH: "no answer from 192.0.2.9"}
    asked = uplink() | uplink("b", "enp2s0", "52:54:00:aa:00:02")
    found = heard(asked, answers, "", HOST_NAME)
    assert [n.port_id.value for n in found.neighbors["a"]] == ["swp1"]
    assert found.deaf == {"b": "no answer from 192.0.2.9"}


def test_where_the_hosts_own_agent_is_silent_a_switch_may_tell():
    answers = {HOST: "no answer from 127.0.0.1", SWITCH: read(sample("switch"))}
    asked = uplink() | uplink("b", "enp2s0", "52:54:00:aa:00:02")
    found = heard(asked, answers, HOST, HOST_NAME)
    assert [n.port_id.value for n in found.neighbors["a"]] == ["swp1"]
    assert found.deaf == {"b": "no answer from 127.0.0.1"}


def test_without_any_answer_everything_is_unknown():
    with pytest.raises(Unavailable, match=r"^pysnmp not found$"):
        heard(uplink(), {HOST: "pysnmp not found", SWITCH: "pysnmp not found"}, HOST, HOST_NAME)
    with pytest.raises(Unavailable, match="no SNMP agent"):
        heard(uplink(), {}, "", HOST_NAME)
