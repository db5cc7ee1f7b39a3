# SPDX-License-Identifier: Apache-2.0
"""Junos' XML: the filter, what is read, and the edit that comes of it."""

import pytest
from lxml import etree

from sriov_agent.exceptions import Refused
from sriov_agent.fabric.model import Change, PortVlans
from sriov_agent.fabric.switch.junos import edit, ports, subtree
from tests.unit.test_switch_openconfig import flat, xml

VLANS = """
    <vlan><name>storage</name><vlan-id>100</vlan-id></vlan>
    <vlan><name>pool</name><vlan-id-list>200-209</vlan-id-list><vlan-id-list>300</vlan-id-list>
    </vlan>
    <vlan><name>sriov-16</name><vlan-id>16</vlan-id></vlan>
    <vlan><name>sriov-66</name><vlan-id>67</vlan-id></vlan>"""


def interface(name, *members, mode="trunk", more=""):
    vlan = "".join(f"<members>{text}</members>" for text in members)
    return f"""
      <interface><name>{name}</name>{more}<unit><name>0</name><family><ethernet-switching>
        <interface-mode>{mode}</interface-mode><vlan>{vlan}</vlan>
      </ethernet-switching></family></unit></interface>"""


def bundle(name, lag, options="ether-options"):
    return f"""
      <interface><name>{name}</name><{options}><ieee-802.3ad><bundle>{lag}</bundle></ieee-802.3ad>
      </{options}></interface>"""


def data(*interfaces):
    return xml(
        '<data xmlns="urn:ietf:params:xml:ns:netconf:base:1.0">'
        '<configuration xmlns="http://xml.juniper.net/xnm/1.1/xnm"'
        ' xmlns:junos="http://xml.juniper.net/junos/22.4R1/junos" junos:changed-seconds="1">'
        f"<vlans>{VLANS}</vlans><interfaces>{''.join(interfaces)}</interfaces>"
        "</configuration></data>"
    )


def read(*members, mode="trunk", more=""):
    found = data(interface("xe-0/0/1", *members, mode=mode, more=more))
    return ports(found, ["xe-0/0/1", "xe-0/0/9"])["xe-0/0/1"]


def edited(*members, add=(), remove=()):
    change = Change(add=frozenset(add), remove=frozenset(remove))
    return edit(data(interface("xe-0/0/1", *members)), {"xe-0/0/1": change})


def members(top):
    """What goes and what comes."""
    found = [(dict(each.attrib), each.text) for each in top.iter("{*}members")]
    return [text for gone, text in found if gone], [text for gone, text in found if not gone]


def test_the_filter_asks_for_no_more_than_is_needed():
    expected = """
    <configuration xmlns="http://xml.juniper.net/xnm/1.1/xnm">
      <vlans><vlan><name/><vlan-id/><vlan-id-list/></vlan></vlans>
      <interfaces><interface>
        <name>xe-0/0/1</name>
        <native-vlan-id/>
        <ether-options><ieee-802.3ad/></ether-options>
        <gigether-options><ieee-802.3ad/></gigether-options>
        <unit><name>0</name><family><ethernet-switching/></family></unit>
      </interface></interfaces>
    </configuration>"""
    assert flat(subtree(["xe-0/0/1"])) == flat(xml(expected))


def test_members_are_names_numbers_and_ranges():
    found = read("storage", "15", "20-22", "pool", "unheard-of")
    assert found == PortVlans(vlans=frozenset({15, 20, 21, 22, 100, *range(200, 210), 300}))
    assert read() == PortVlans()


def test_all_is_every_vlan():
    assert read("all").every
    assert not read("1-4094").every


@pytest.mark.parametrize("native", ["9", " 9 ", "untagged"])
def test_the_native_vlan_is_a_number_or_a_name(native):
    found = read("15", more=f"<native-vlan-id>{native}</native-vlan-id>")
    assert found.native == (None if native == "untagged" else 9)
    assert read("15", more="<native-vlan-id>storage</native-vlan-id>").native == 100


def test_an_access_port_is_no_trunk():
    assert read("storage", mode="access") == PortVlans(trunk=False, native=100)
    assert read(mode="access") == PortVlans(trunk=False)
    found = data("<interface><name>xe-0/0/1</name></interface>")
    assert ports(found, ["xe-0/0/1"]) == {"xe-0/0/1": PortVlans(trunk=False)}


@pytest.mark.parametrize("options", ["ether-options", "gigether-options"])
def test_a_member_is_its_aggregate(options):
    found = data(bundle("xe-0/0/4", "ae0", options), interface("ae0", "storage"))
    expected = PortVlans(vlans=frozenset({100}), lag="ae0")
    assert ports(found, ["xe-0/0/4"]) == {"xe-0/0/4": expected}
    alone = data(bundle("xe-0/0/4", "ae0", options))
    assert ports(alone, ["xe-0/0/4"]) == {"xe-0/0/4": PortVlans(trunk=False, lag="ae0")}


def test_what_is_deactivated_is_not_there():
    found = data(interface("xe-0/0/1", "storage", "15"), interface("xe-0/0/2", "15"))
    interfaces = list(found.iter("{*}interface"))
    interfaces[1].set("inactive", "inactive")
    next(interfaces[0].iter("{*}members")).set("inactive", "inactive")
    before = etree.tostring(found)
    expected = {"xe-0/0/1": PortVlans(vlans=frozenset({15}))}
    assert ports(found, ["xe-0/0/1", "xe-0/0/2"]) == expected
    assert etree.tostring(found) == before


def test_a_configuration_that_is_empty_has_no_ports():
    assert ports(xml("<data/>"), ["xe-0/0/1"]) == {}


def test_the_edit_is_as_measured():
    top, default_operation = edited("storage", "15", add=[17], remove=[15])
    expected = """
    <configuration xmlns="http://xml.juniper.net/xnm/1.1/xnm"
                   xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0">
      <vlans><vlan><name>sriov-17</name><vlan-id>17</vlan-id></vlan></vlans>
      <interfaces><interface><name>xe-0/0/1</name><unit><name>0</name><family>
        <ethernet-switching><vlan>
          <members nc:operation="delete">15</members>
          <members>sriov-17</members>
        </vlan></ethernet-switching>
      </family></unit></interface></interfaces>
    </configuration>"""
    assert flat(top) == flat(xml(expected))
    assert default_operation == "merge"


def test_what_only_goes_makes_nothing():
    top, default_operation = edited("storage", "15", remove=[15])
    assert members(top) == (["15"], [])
    assert top.find("{*}vlans") is None
    assert default_operation == "none"


def test_a_vlan_goes_by_each_of_its_names():
    assert members(edited("storage", "100", "15", remove=[100])[0]) == (["storage", "100"], [])


def test_a_vlan_comes_by_the_name_that_it_has():
    top, _ = edited("15", add=[16, 100])
    assert members(top) == ([], ["sriov-16", "storage"])
    assert top.find("{*}vlans") is None


def test_a_range_is_kept_around_what_goes():
    top, _ = edited("98-110", "200", remove=[99, 110], add=[17])
    assert members(top) == (["98-110"], ["sriov-17", "98", "100-109"])
    assert [each.text for each in top.iter("{*}vlan-id")] == ["17"]


def test_what_is_left_of_a_range_is_defined_by_whoever_made_it():
    top, _ = edited("30-31", remove=[30])
    assert members(top) == (["30-31"], ["31"])
    assert top.find("{*}vlans") is None


def test_a_vlan_list_with_a_name_is_not_taken_apart():
    with pytest.raises(Refused, match="xe-0/0/1: VLAN list 'pool'"):
        edited("pool", remove=[205])
    assert members(edited("pool", "15", remove=[15])[0]) == (["15"], [])


def test_a_name_that_is_taken_is_not_taken_over():
    with pytest.raises(Refused, match="VLAN 66 cannot be defined: sriov-66 is another"):
        edited("15", add=[66])
