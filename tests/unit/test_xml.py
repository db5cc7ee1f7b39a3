# SPDX-License-Identifier: Apache-2.0
"""libvirt's interface XML: what is written, what is read back, and what libvirt itself says."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from sriov_agent.core.state import Interface
from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import xml

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
EXAMPLE = Interface(vf="0000:83:13.3", mac="02:5a:0d:c4:39:77", vlan=15)
INTERFACES = st.builds(
    Interface,
    vf=st.builds(
        "{:04x}:{:02x}:{:02x}.{}".format,
        st.integers(0, 0xFFFF),
        st.integers(0, 0xFF),
        st.integers(0, 0x1F),
        st.integers(0, 7),
    ),
    mac=st.binary(min_size=6, max_size=6)
    .filter(lambda octets: any(octets) and not octets[0] & 1)
    .map(lambda octets: octets.hex(":")),
    vlan=st.integers(0, 4094),
    netdev=st.sampled_from(["", "", "enp59s0f0v3", "eth0"]),
)
MACVTAP = Interface(vf=EXAMPLE.vf, mac=EXAMPLE.mac, vlan=15, netdev="enp131s19f3")


def test_the_example():
    assert xml.render(EXAMPLE) == (
        '<interface type="hostdev" managed="yes">\n'
        '  <mac address="02:5a:0d:c4:39:77" />\n'
        '  <driver name="vfio" />\n'
        "  <source>\n"
        '    <address type="pci" domain="0x0000" bus="0x83" slot="0x13" function="0x3" />\n'
        "  </source>\n"
        "  <vlan>\n"
        '    <tag id="15" />\n'
        "  </vlan>\n"
        "</interface>\n"
    )


def test_a_macvtap_names_the_netdev_and_keeps_the_vf():
    assert xml.render(MACVTAP) == (
        '<interface type="direct">\n'
        '  <mac address="02:5a:0d:c4:39:77" />\n'
        '  <source dev="enp131s19f3" mode="passthrough" />\n'
        '  <model type="virtio" />\n'
        '  <alias name="ua-vf-0000-83-13-3" />\n'
        "  <vlan>\n"
        '    <tag id="15" />\n'
        "  </vlan>\n"
        "</interface>\n"
    )


def test_without_a_vlan_there_is_no_vlan_element():
    untagged = Interface(vf=EXAMPLE.vf, mac=EXAMPLE.mac, vlan=0)
    assert "vlan" not in xml.render(untagged)
    assert xml.parse(xml.render(untagged)) == untagged


@given(INTERFACES)
def test_what_is_written_is_read_back(interface):
    assert xml.parse(xml.render(interface)) == interface


WRITTEN = xml.render(EXAMPLE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "interface",
        WRITTEN[:-20],
        WRITTEN * 2,
        WRITTEN + "\n",
        WRITTEN.strip(),
        WRITTEN.replace("\n", "\r\n"),
        WRITTEN.replace("hostdev", "network", 1),
        WRITTEN.replace("interface", "hostdev"),
        WRITTEN.replace('managed="yes"', 'managed="no"'),
        WRITTEN.replace("vfio", "kvm"),
        WRITTEN.replace("  <driver", "  <alias name='net0'/>\n  <driver"),
        WRITTEN.replace("  <source>", "  <!-- mine --><source>"),
        WRITTEN.replace('id="15"', 'id="015"'),
        WRITTEN.replace('id="15"', 'id="4095"'),
        WRITTEN.replace('id="15"', 'id="0"'),
        WRITTEN.replace('id="15"', 'id=""'),
        WRITTEN.replace('id="15"', ""),
        WRITTEN.replace('<tag id="15" />', '<tag id="15" /><tag id="16" />'),
        WRITTEN.replace("02:5a:0d:c4:39:77", "02:5A:0D:C4:39:77"),
        WRITTEN.replace("02:5a:0d:c4:39:77", "ff:ff:ff:ff:ff:ff"),
        WRITTEN.replace('<mac address="02:5a:0d:c4:39:77" />', ""),
        WRITTEN.replace('bus="0x83"', ""),
        WRITTEN.replace("0x83", "0x183"),
        WRITTEN.replace("0x83", "-0x3"),
        WRITTEN.replace('function="0x3"', 'function="0x8"'),
        '<?xml version="1.0"?>' + WRITTEN,
        '<!DOCTYPE interface [<!ENTITY v "15">]>' + WRITTEN.replace('id="15"', 'id="&v;"'),
        "\ud800",
    ],
)
def test_what_the_agent_would_not_write_is_refused(text):
    with pytest.raises(InvalidField) as caught:
        xml.parse(text)
    assert caught.value.field in {"interface", "pci_slot", "mac_address", "vlan"}
    assert str(caught.value).isprintable()


@given(INTERFACES, st.data())
def test_a_text_with_a_character_changed_is_not_taken_for_another_interface(interface, data):
    text = xml.render(interface)
    at = data.draw(st.integers(0, len(text) - 1))
    text = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    try:
        read = xml.parse(text)
    except InvalidField:
        return
    assert xml.render(read) == text


@pytest.fixture(scope="module")
def schema():
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is not there: python3 tools/lab setup --also libvirt0")
    return etree.RelaxNG(etree.parse(SCHEMA))


def domain(interface):
    """The smallest domain that libvirt's schema accepts, with one interface."""
    return etree.fromstring(
        "<domain type='kvm'><name>guest</name><memory>1048576</memory>"
        f"<os><type>hvm</type></os><devices>{interface}</devices></domain>"
    )


@pytest.mark.lab
@settings(max_examples=25)
@given(interface=INTERFACES)
def test_it_is_valid_by_libvirts_schema(schema, interface):
    schema.assertValid(domain(xml.render(interface)))


@pytest.mark.lab
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [('name="vfio"', 'name="none"'), ("0x83", "0x8g"), ('id="15"', 'id="4096"'), ("hostdev", "pf")],
)
def test_libvirts_schema_would_tell(schema, ours, theirs):
    assert ours in WRITTEN
    assert not schema.validate(domain(WRITTEN.replace(ours, theirs)))
