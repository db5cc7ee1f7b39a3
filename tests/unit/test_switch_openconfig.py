# SPDX-License-Identifier: Apache-2.0
"""OpenConfig's XML: the filter, what is read, and the edit that comes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from sriov_agent.exceptions import Refused
from sriov_agent.fabric.model import Change, PortVlans
from sriov_agent.fabric.switch.netconf import OPERATION
from sriov_agent.fabric.switch.openconfig import TRUNK_VLANS, edit, ports, subtree

TRUNK = "<interface-mode>TRUNK</interface-mode>"
ENTRIES = st.lists(
    st.tuples(st.integers(1, 20), st.integers(0, 4)).map(lambda pair: (pair[0], sum(pair)))
)


def xml(text):
    return etree.fromstring(text, etree.XMLParser(remove_blank_text=True))


def interface(name, container, config):
    namespace = {"ethernet": "interfaces/ethernet", "aggregation": "interfaces/aggregate"}
    return f"""
        <interface><name>{name}</name>
          <{container} xmlns="http://openconfig.net/yang/{namespace[container]}">
            <switched-vlan xmlns="http://openconfig.net/yang/vlan">
              <config>{config}</config>
            </switched-vlan>
          </{container}>
        </interface>"""


def member(name, lag):
    return f"""
        <interface><name>{name}</name>
          <ethernet xmlns="http://openconfig.net/yang/interfaces/ethernet"><config>
            <aggregate-id xmlns="http://openconfig.net/yang/interfaces/aggregate"
              >{lag}</aggregate-id>
          </config></ethernet>
        </interface>"""


def data(*interfaces):
    return xml(
        '<data xmlns="urn:ietf:params:xml:ns:netconf:base:1.0">'
        f'<interfaces xmlns="http://openconfig.net/yang/interfaces">{"".join(interfaces)}'
        "</interfaces></data>"
    )


def trunk(name, *entries, container="ethernet"):
    vlans = "".join(f"<trunk-vlans>{text}</trunk-vlans>" for text in entries)
    return interface(name, container, TRUNK + vlans)


def texts(entries):
    return [str(low) if low == high else f"{low}..{high}" for low, high in entries]


def test_the_filter_asks_for_no_more_than_is_needed():
    expected = """
    <interfaces xmlns="http://openconfig.net/yang/interfaces"><interface>
      <name>Ethernet1</name>
      <ethernet xmlns="http://openconfig.net/yang/interfaces/ethernet">
        <config><aggregate-id xmlns="http://openconfig.net/yang/interfaces/aggregate"/></config>
        <switched-vlan xmlns="http://openconfig.net/yang/vlan"><config/></switched-vlan>
      </ethernet>
      <aggregation xmlns="http://openconfig.net/yang/interfaces/aggregate">
        <switched-vlan xmlns="http://openconfig.net/yang/vlan"><config/></switched-vlan>
      </aggregation>
    </interface></interfaces>"""
    found = subtree(["Ethernet1"])
    assert [each.tag for each in found.iter()] == [each.tag for each in xml(expected).iter()]
    assert found[0][0].text == "Ethernet1"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (TRUNK, PortVlans(every=True)),
        (
            f"{TRUNK}<native-vlan>9</native-vlan><trunk-vlans>100</trunk-vlans>"
            "<trunk-vlans>20..22</trunk-vlans>",
            PortVlans(vlans=frozenset({20, 21, 22, 100}), native=9),
        ),
        (
            "<interface-mode>ACCESS</interface-mode><access-vlan>7</access-vlan>",
            PortVlans(trunk=False, native=7),
        ),
        ("", PortVlans(trunk=False)),
    ],
)
def test_what_a_port_carries_is_read(config, expected):
    found = data(interface("Ethernet1", "ethernet", config), trunk("Ethernet2", "5"))
    assert ports(found, ["Ethernet1", "Ethernet9"]) == {"Ethernet1": expected}


def test_a_port_without_vlans_is_no_trunk():
    found = data("<interface><name>Ethernet1</name></interface>")
    assert ports(found, ["Ethernet1"]) == {"Ethernet1": PortVlans(trunk=False)}


def test_a_member_is_its_aggregate():
    found = data(member("Ethernet4", "Po1"), trunk("Po1", "100", container="aggregation"))
    expected = PortVlans(vlans=frozenset({100}), lag="Po1")
    assert ports(found, ["Ethernet4"]) == {"Ethernet4": expected}
    alone = data(member("Ethernet4", "Po1"))
    assert ports(alone, ["Ethernet4"]) == {"Ethernet4": PortVlans(trunk=False, lag="Po1")}


def test_an_entry_that_is_not_understood_is_refused():
    with pytest.raises(Refused, match="Ethernet1: trunk-vlans has 'all'"):
        ports(data(trunk("Ethernet1", "all")), ["Ethernet1"])


def test_the_edit_is_as_measured():
    found = data(trunk("Ethernet1", "90..110", "15"), trunk("Po1", container="aggregation"))
    top, default_operation = edit(
        found,
        {
            "Ethernet1": Change(add=frozenset({16}), remove=frozenset({15, 100})),
            "Po1": Change(add=frozenset({17})),
        },
    )
    assert default_operation == "none"
    opened = interface("Po1", "aggregation", "<trunk-vlans>17</trunk-vlans>")
    expected = xml(f"""
    <interfaces xmlns="http://openconfig.net/yang/interfaces"
                xmlns:nc="urn:ietf:params:xml:ns:netconf:base:1.0">
      <interface><name>Ethernet1</name>
        <ethernet xmlns="http://openconfig.net/yang/interfaces/ethernet">
          <switched-vlan xmlns="http://openconfig.net/yang/vlan"><config>
            <trunk-vlans nc:operation="remove">90..110</trunk-vlans>
            <trunk-vlans nc:operation="remove">15</trunk-vlans>
            <trunk-vlans nc:operation="merge">16</trunk-vlans>
            <trunk-vlans nc:operation="merge">90..99</trunk-vlans>
            <trunk-vlans nc:operation="merge">101..110</trunk-vlans>
          </config></switched-vlan>
        </ethernet>
      </interface>
      {opened.replace("<trunk-vlans", '<trunk-vlans nc:operation="merge"')}
    </interfaces>""")
    assert flat(top) == flat(expected)


def flat(element):
    """The same whatever the prefixes are."""
    return [(each.tag, dict(each.attrib), (each.text or "").strip()) for each in element.iter()]


@given(ENTRIES, st.frozensets(st.integers(1, 24)), st.frozensets(st.integers(1, 24)))
def test_an_edit_does_what_was_asked_and_leaves_other_entries(entries, add, remove):
    remove -= add
    listed = texts(entries)
    top, _ = edit(data(trunk("Ethernet1", *listed)), {"Ethernet1": Change(add=add, remove=remove)})
    left = set(listed)
    for element in top.iter(TRUNK_VLANS):
        if element.get(OPERATION) == "remove":
            left.remove(element.text)
        else:
            left.add(element.text)
    before, after = (
        ports(data(trunk("Ethernet1", *some)), ["Ethernet1"])["Ethernet1"].vlans
        for some in (listed, left)
    )
    assert after == (before | add) - remove
    untouched = [
        text
        for text, (low, high) in zip(listed, entries, strict=True)
        if remove.isdisjoint(range(low, high + 1))
    ]
    assert left.issuperset(untouched)
