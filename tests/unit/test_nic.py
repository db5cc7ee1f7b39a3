# SPDX-License-Identifier: Apache-2.0
"""Network devices of every kind, as libvirt's schema wants them and as libvirt says them back."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import nic
from sriov_agent.libvirt.nic import (
    Bridge,
    Macvtap,
    Network,
    Nic,
    Rate,
    Vf,
    VhostUser,
    Vlans,
    WholePf,
)

SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
VF = Vf("0000:83:13.3")
OVS = Bridge("br-int", "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f")
RATES = st.none() | st.builds(
    Rate, average=st.integers(1, 10**6), peak=st.integers(0, 10**6), burst=st.integers(0, 10**6)
)
NAMES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\ufffe\uffff"),
    min_size=1,
)
ANY = {
    "mac": st.sampled_from(["", "02:5a:0d:c4:39:77"]),
    "alias": st.sampled_from(["", "ua-web1"]),
    "boot_order": st.integers(0, 9),
}
MODEL = {"model": st.sampled_from(["", "virtio", "e1000"]), "mtu": st.sampled_from([0, 1500, 9000])}
TAP = {**ANY, **MODEL, "inbound": RATES, "outbound": RATES}
VLAN = {"vlans": st.just(Vlans()) | st.builds(Vlans, st.tuples(st.integers(1, 4094)))}
TRUNK = {"vlans": st.builds(Vlans, st.just((15, 16)), st.just(True), st.sampled_from([0, 15, 16]))}
NICS = st.one_of(
    st.builds(Nic, source=st.just(VF), **ANY, **VLAN),
    st.builds(Nic, source=st.just(WholePf("0000:83:00.1")), boot_order=st.integers(0, 9)),
    st.builds(Nic, source=st.just(Macvtap("enp131s19f3")), **TAP, **VLAN),
    st.builds(Nic, source=st.builds(VhostUser, st.just("/tmp/a b&<'\">"), st.just("client"))),
    st.builds(Nic, source=st.just(VhostUser("/tmp/vm00.sock")), **ANY, **MODEL),
    st.builds(Nic, source=st.just(Bridge("br-mgmt")), target=st.just("vcp_ext-vmx1"), **TAP),
    st.builds(Nic, source=st.just(OVS), **TAP, **VLAN),
    st.builds(Nic, source=st.just(OVS), queues=st.integers(0, 8), **TAP, **TRUNK),
    st.builds(Nic, source=st.builds(Network, NAMES, st.sampled_from(["", "v15"])), **TAP),
)


@given(NICS)
def test_what_is_written_is_read_back(device):
    assert nic.nic(ET.fromstring(nic.text(nic.element(device)))) == device


def test_a_trunk_with_a_native_vlan():
    device = Nic(source=OVS, vlans=Vlans((42, 123), trunk=True, native=123))
    assert nic.text(nic.element(device)) == (
        '<interface type="bridge">\n'
        '  <source bridge="br-int" />\n'
        '  <virtualport type="openvswitch">\n'
        '    <parameters interfaceid="09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f" />\n'
        "  </virtualport>\n"
        '  <vlan trunk="yes">\n'
        '    <tag id="42" />\n'
        '    <tag id="123" nativeMode="untagged" />\n'
        "  </vlan>\n"
        "</interface>\n"
    )


def test_a_whole_pf():
    assert nic.text(nic.element(Nic(source=WholePf("0000:83:00.1")))) == (
        '<hostdev mode="subsystem" type="pci" managed="yes">\n'
        '  <driver name="vfio" />\n'
        "  <source>\n"
        '    <address domain="0x0000" bus="0x83" slot="0x00" function="0x1" />\n'
        "  </source>\n"
        "</hostdev>\n"
    )


def test_markup_in_a_name_stays_text():
    name = "</source><source dev='eth0'/><!--&amp;"
    element = ET.fromstring(nic.text(nic.element(Nic(source=Network(name)))))
    assert [child.tag for child in element] == ["source"]
    assert element[0].get("network") == name


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("pci_slot", {"source": Vf("83:13.3")}),
        ("netdev", {"source": Macvtap("")}),
        ("netdev", {"source": Macvtap("eth0'/>")}),
        ("path", {"source": VhostUser("vm00.sock")}),
        ("path", {"source": VhostUser("/tmp/\x00")}),
        ("mode", {"source": VhostUser("/tmp/s", "both")}),
        ("bridge", {"source": Bridge("br<0>")}),
        ("interface_id", {"source": Bridge("br0", "7")}),
        ("network", {"source": Network("\x1b[2J")}),
        ("network", {"source": Network("\ud800")}),
        ("portgroup", {"source": Network("default", "a b")}),
        ("mac_address", {"source": VF, "mac": "ff:ff:ff:ff:ff:ff"}),
        ("vlan", {"source": Bridge("br0"), "vlans": Vlans((15,))}),
        ("vlan", {"source": WholePf("0000:83:00.1"), "vlans": Vlans((15,))}),
        ("vlan", {"source": VhostUser("/tmp/s"), "vlans": Vlans((15,), trunk=True)}),
        ("trunk", {"source": VF, "vlans": Vlans((15, 16), trunk=True)}),
        ("model", {"source": OVS, "model": "e1000 "}),
        ("target", {"source": OVS, "target": "tap 0"}),
        ("alias", {"source": OVS, "alias": "net0"}),
        ("mtu", {"source": OVS, "mtu": 65536}),
        ("bandwidth", {"source": VF, "inbound": Rate(average=1)}),
        ("mac", {"source": WholePf("0000:83:00.1"), "mac": "02:5a:0d:c4:39:77"}),
    ],
)
def test_what_libvirt_would_refuse_names_the_field(field, given):
    with pytest.raises(InvalidField) as caught:
        Nic(**given)
    assert caught.value.field == field
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("given", [{"average": 0}, {"average": 1, "peak": -1}, {"average": 2**32}])
def test_rates_that_libvirt_would_refuse(given):
    with pytest.raises(InvalidField):
        Rate(**given)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("vlan", {"tags": (4095,)}),
        ("vlan", {"tags": (0,)}),
        ("vlan", {"tags": (15, 16)}),
        ("native", {"tags": (15,), "native": 15}),
        ("native", {"tags": (15,), "trunk": True, "native": 16}),
    ],
)
def test_vlans_that_libvirt_would_refuse_name_the_field(field, given):
    with pytest.raises(InvalidField) as caught:
        Vlans(**given)
    assert caught.value.field == field


SEEN = """
<domain type='kvm' id='3'><name>vfp-vmx1</name><devices>
  <interface type='hostdev' managed='yes'>
    <mac address='02:5A:0d:c4:39:77'/>
    <driver name='vfio'/>
    <source><address type='pci' domain='0x0000' bus='0x83' slot='0x13' function='0x3'/></source>
    <vlan><tag id='15'/></vlan>
    <alias name='hostdev0'/>
    <address type='pci' domain='0x0000' bus='0x00' slot='0x03' function='0x0'/>
  </interface>
  <interface type='bridge'>
    <mac address='0a:00:dd:c0:de:10'/><source bridge='br-mgmt'/><target dev='vfp_ext-vmx1'/>
    <model type='virtio'/><alias name='net0'/>
  </interface>
  <interface type='direct'>
    <mac address='0a:00:dd:c0:de:11'/><source dev='eth0' mode='bridge'/>
  </interface>
  <interface type='user'><mac address='0a:00:dd:c0:de:12'/></interface>
  <hostdev mode='subsystem' type='pci' managed='yes'>
    <driver name='vfio'/>
    <source><address domain='0x0000' bus='0x83' slot='0x00' function='0x1'/></source>
    <alias name='hostdev1'/>
  </hostdev>
  <hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/></source></hostdev>
</devices></domain>
"""


def test_what_libvirt_says_of_a_domain():
    assert [nic.nic(device) for device in nic.devices(SEEN)] == [
        Nic(source=VF, mac="02:5a:0d:c4:39:77", vlans=Vlans((15,))),
        Nic(
            source=Bridge("br-mgmt"),
            mac="0a:00:dd:c0:de:10",
            target="vfp_ext-vmx1",
            model="virtio",
        ),
        None,
        None,
        Nic(source=WholePf("0000:83:00.1")),
        None,
    ]


def test_a_vf_is_seen_whatever_else_is_said_of_its_interface():
    odd = SEEN.replace("<vlan><tag id='15'/></vlan>", "<vlan><tag id='4095'/></vlan>")
    (first, *_) = nic.devices(odd)
    assert nic.nic(first) is None
    assert nic.source(first) == VF


@pytest.mark.parametrize("text", ["", "<domain>", "\ud800", "virsh"])
def test_what_is_no_domain_is_refused(text):
    with pytest.raises(InvalidField):
        nic.devices(text)


@pytest.fixture(scope="module")
def schema():
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is not there: python3 tools/lab setup --also libvirt0")
    return etree.RelaxNG(etree.parse(SCHEMA))


@pytest.mark.lab
@settings(max_examples=50)
@given(device=NICS)
def test_it_is_valid_by_libvirts_schema(schema, device):
    schema.assertValid(
        etree.fromstring(
            "<domain type='kvm'><name>guest</name><memory>1048576</memory><os><type>hvm</type></os>"
            f"<devices>{nic.text(nic.element(device))}</devices></domain>"
        )
    )
