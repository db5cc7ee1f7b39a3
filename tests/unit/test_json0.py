# SPDX-License-Identifier: Apache-2.0
"""json0 as lldpd 1.0.16 printed it (tests/samples/lldp)."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.core.model import LldpId
from sriov_agent.exceptions import Unavailable
from sriov_agent.host.lldp.frame import read_frame
from sriov_agent.host.lldp.json0 import local_ids, read_neighbors
from tests.frozen import replace

SAMPLES = Path(__file__).parents[1] / "samples" / "lldp"
#: Captured frames that lldpd's list was made from.
IN_BOTH = ("chip", "cumulus", "eos", "ios", "junos", "macport", "min", "nxos")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


def sample(name: str) -> str:
    return (SAMPLES / f"{name}.json0").read_bytes().decode("utf-8", "replace")


def heard(name: str) -> list:
    return [neighbor for _, neighbor in read_neighbors(sample(name))]


def entry(**changed: object) -> dict:
    """One neighbor as json0 has it."""
    whole = {
        "name": "ens1",
        "chassis": [{"id": [{"type": "mac", "value": "52:54:00:bb:00:01"}]}],
        "port": [{"id": [{"type": "ifname", "value": "swp1"}], "ttl": [{"value": "120"}]}],
    }
    return whole | changed


def document(*entries: object) -> str:
    return json.dumps({"lldp": [{"interface": list(entries)}]})


def test_one_switch():
    [(name, leaf)] = read_neighbors(sample("one"))
    assert name == "enp1s0"
    assert leaf.chassis_id == LldpId("mac", "52:54:00:bb:00:01")
    assert leaf.port_id == LldpId("ifname", "swp1")
    assert (leaf.system_name, leaf.port_description, leaf.ttl) == ("leaf1", "swp1", 120)
    assert leaf.management_addresses == ("192.0.2.1",)
    assert leaf.capabilities == {"Bridge"}


def test_no_neighbor_is_no_error():
    assert read_neighbors(sample("none")) == []


def test_two_on_one_interface_are_two_entries_of_the_same_name():
    names = [name for name, _ in read_neighbors(sample("self-reflected"))]
    assert names == ["enp1s0", "enp1s0"]
    assert [neighbor.system_name for neighbor in heard("self-reflected")] == ["leaf1", "virtme-ng"]
    assert heard("one-vlan")[1].ids == heard("one")[0].ids


def test_every_vendors_forms_are_kept_apart():
    found = {neighbor.system_name: neighbor for neighbor in heard("many")}
    assert len(heard("many")) == 17
    assert found["sw1.example.com"].port_id == LldpId("ifname", "Gi1/0/24")
    assert found["sw1.example.com"].port_description == "GigabitEthernet1/0/24"
    assert found["qfx1"].port_id == LldpId("local", "516")
    assert found["qfx1"].port_description == "xe-0/0/10"
    assert found["leaf3.example.com"].port_description == ""
    assert found["leaf3.example.com"].management_addresses == ("192.0.2.14", "2001:db8::14")
    assert found["leaf3.example.com"].capabilities == {"Bridge", "Router"}
    assert found["localch"].port_id.subtype == "unhandled"
    assert found[""].chassis_id == LldpId("mac", "02:00:00:00:00:77")
    assert found["aliased"].capabilities == frozenset()


def test_vlans_aggregation_and_age_are_read():
    found = {neighbor.system_name: neighbor for neighbor in heard("many")}
    assert (found["leaf1"].vlans, found["leaf1"].pvid) == (((15, "vlan15"), (20, "vlan20")), 20)
    assert (found["n9k-1"].vlans, found["n9k-1"].pvid) == ((), 1)
    assert (found["qfx1"].aggregation, found["leaf3.example.com"].aggregation) == (602, 1000001)
    assert (found["sonic1"].aggregation, found["sonic1"].pvid) == (0, 0)
    assert (found["leaf1"].age, found["leaf1"].source) == (49, "lldpd")


@pytest.mark.parametrize(
    "changed",
    [
        {"age": "soon"},
        {"vlan": [{"vlan-id": "4095", "pvid": True, "value": "x"}, {"vlan-id": "-1"}, 7]},
        {"unknown-tlvs": [{"unknown-tlv": [{"oui": "00,80,C2", "subtype": "7", "value": "03"}]}]},
        {"unknown-tlvs": [{"unknown-tlv": [{"oui": "00,80,C2", "subtype": "7", "value": []}]}]},
        {
            "unknown-tlvs": [
                {
                    "unknown-tlv": [
                        {"oui": "00,80,C2", "subtype": "7", "value": "01,00,00,00,07"},
                        {"oui": "00,12,0F", "subtype": "7", "value": "03,00,00,00,07"},
                    ]
                }
            ]
        },
    ],
)
def test_what_else_cannot_be_read_is_not_told(changed):
    [(_, neighbor)] = read_neighbors(document(entry(**changed)))
    assert (neighbor.vlans, neighbor.pvid, neighbor.aggregation) == ((), 0, 0)
    assert neighbor.age is None


@pytest.mark.parametrize("name", IN_BOTH)
def test_lldpd_and_the_frame_decoder_tell_the_same(name):
    ours = read_frame(bytes.fromhex((SAMPLES / "frames" / f"{name}.hex").read_text()))
    assert replace(ours, source_mac="") in heard("many")


def test_a_name_may_hold_escapes_and_octets_that_are_no_utf8():
    [name] = [n.system_name for n in heard("many") if n.system_name.startswith("bad")]
    assert name == "bad\ufffdname\x1b[31m"


def test_a_name_that_is_made_to_look_like_json_is_a_name():
    [only] = heard("injection")
    assert only.chassis_id.value == "02:00:00:00:00:99"
    assert only.system_name.startswith('a": {"id"')


def test_a_raw_control_character_in_a_name_loses_no_neighbor():
    text = sample("many").replace("n9k-1", "n9k\x1f1").replace("qfx1", "qfx\x011")
    assert len(read_neighbors(text)) == 17
    assert "n9k\x1f1" in {neighbor.system_name for _, neighbor in read_neighbors(text)}


@pytest.mark.parametrize(
    "lacking",
    [
        entry(chassis=[]),
        entry(chassis=[{"name": [{"value": "leaf1"}]}]),
        entry(chassis=[{"id": []}]),
        entry(chassis=[{"id": [{"type": "mac"}]}]),
        entry(port=None),
        entry(port=[{"id": "swp1"}]),
        entry(port=[{"id": [{"value": "swp1"}]}]),
        "interface",
        None,
    ],
)
def test_a_neighbor_that_does_not_say_where_it_is_is_left_out_and_the_others_stay(lacking):
    assert len(read_neighbors(document(lacking, entry()))) == 1


@pytest.mark.parametrize(
    "ttl",
    [[], [{}], [{"value": "-1"}], [{"value": "soon"}], [{"value": "9" * 5000}], "120"],
)
def test_without_a_lifetime_it_is_on_its_way_out(ttl):
    port = entry()["port"][0] | {"ttl": ttl}
    [(_, neighbor)] = read_neighbors(document(entry(port=[port])))
    assert neighbor.ttl == 0


@pytest.mark.parametrize(
    "text",
    [
        *("", "lldp", "[]", "null", "{}", '{"lldp"', '{"interface": []}'),
        '{"lldp":' + "[" * 100_000,
        '{"lldp":' + "9" * 5000 + "}",
    ],
)
def test_what_is_no_json0_is_unknown_and_not_empty(text):
    for read in (read_neighbors, local_ids):
        with pytest.raises(Unavailable, match="json0"):
            read(text)


@given(JSON)
def test_any_shape_is_read_or_refused(shape):
    for text in (json.dumps(shape), json.dumps({"lldp": shape}), document(shape)):
        for read in (read_neighbors, local_ids):
            try:
                read(text)
            except Unavailable:
                continue


@given(st.text())
def test_any_name_comes_through_as_it_is(name):
    chassis = entry()["chassis"][0] | {"name": [{"value": name}]}
    [(_, neighbor)] = read_neighbors(document(entry(chassis=[chassis])))
    assert neighbor.system_name == name


@pytest.mark.parametrize("field", ["chassis", "port"])
def test_half_a_surrogate_pair_does_not_come_through(field):
    broken = {"id": [{"type": "mac", "value": "52:54\ud800"}], "ttl": [{"value": "120"}]}
    broken |= {"name": [{"value": "leaf\udfff"}], "descr": [{"value": "\ud800"}]}
    [(_, neighbor)] = read_neighbors(document(entry(**{field: [broken]})))
    [(_, ids)] = local_ids(document(entry(**{field: [broken]})))
    said = [neighbor.system_name, neighbor.port_description]
    said += [text for one in ids for text in (one.subtype, one.value)]
    assert "".join(said).encode()
    assert "52:54?" in said


def test_what_this_host_announces():
    own = LldpId("mac", "52:54:00:aa:00:01")
    assert local_ids(sample("interfaces")) == {("enp1s0", (own, own))}
    assert local_ids(sample("interfaces-renamed")) == set()
