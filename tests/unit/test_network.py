# SPDX-License-Identifier: Apache-2.0
"""libvirt's networks of VFs: written, valid by its schema, read back, and what counts in them."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from sriov_agent.core.guests import Reserved
from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import network
from sriov_agent.libvirt.network import Pool, Portgroup
from sriov_agent.libvirt.nic import Network, Nic, Rate, Vlans, text
from tests.unit.test_sriovctl import Host, one_sentence

SCHEMA = Path("/usr/share/libvirt/schemas/network.rng")
VFS = ("0000:83:13.3", "0000:83:13.4")
TAG = Vlans((15,))
TRUNK = Vlans((42, 47), trunk=True, native=47)
SLOW, FAST = Rate(average=1000, peak=5000, burst=5120), Rate(average=9000)
MEMBERS = {
    "hostdev": [{"pf": "enp59s0f0"}, {"addresses": VFS}],
    "passthrough": [{"pf": "enp59s0f0"}, {"netdevs": ("eth10", "eth11")}],
    "bridge": [{"bridge": "br-int"}],
}


@st.composite
def pools(draw):
    mode = draw(st.sampled_from(network.MODES))
    vlans = st.sampled_from([Vlans(), TAG, *([TRUNK] if mode == "bridge" else [])])
    rates = st.sampled_from([None, *([SLOW, FAST] if mode != "hostdev" else [])])
    default = draw(st.sampled_from(["", "a", "b"]))
    return Pool(
        name=draw(st.sampled_from(["fast", '<fast> & "wide"', "ü"])),
        mode=mode,
        **draw(st.sampled_from(MEMBERS[mode])),
        vlans=draw(vlans),
        portgroups=tuple(
            Portgroup(
                name=name,
                default=name == default,
                vlans=draw(vlans),
                inbound=draw(rates),
                outbound=draw(rates),
            )
            for name in draw(st.sampled_from(["", "a", "ab"]))
        ),
    )


@given(pools())
def test_what_is_written_is_read_back(pool):
    assert network.pool(text(network.element(pool))) == pool


@pytest.fixture(scope="module")
def schema():
    if not SCHEMA.exists():
        pytest.skip(f"{SCHEMA} is not there: python3 tools/lab setup --also libvirt0")
    return etree.RelaxNG(etree.parse(SCHEMA))


@pytest.mark.lab
@settings(max_examples=50)
@given(pool=pools())
def test_it_is_valid_by_libvirts_schema(schema, pool):
    schema.assertValid(etree.fromstring(text(network.element(pool))))


def test_a_pool_of_addresses_with_a_portgroup():
    pool = Pool(
        name="fast",
        mode="hostdev",
        addresses=VFS[:1],
        portgroups=(Portgroup(name="web", default=True, vlans=TAG),),
    )
    assert text(network.element(pool)) == (
        "<network>\n"
        "  <name>fast</name>\n"
        '  <forward mode="hostdev" managed="yes">\n'
        '    <driver name="vfio" />\n'
        '    <address type="pci" domain="0x0000" bus="0x83" slot="0x13" function="0x3" />\n'
        "  </forward>\n"
        '  <portgroup name="web" default="yes">\n'
        "    <vlan>\n"
        '      <tag id="15" />\n'
        "    </vlan>\n"
        "  </portgroup>\n"
        "</network>\n"
    )


def test_the_seeds_definition_is_read():
    said = (
        "<network connections='1'><name>n</name><forward mode='hostdev' managed='yes'>"
        "<pf dev='eth0'/><address type='pci' domain='0' bus='4' slot='0' function='1'/></forward>"
        "<vlan><tag id='15'/></vlan></network>"
    )
    assert network.pool(said) == Pool(name="n", mode="hostdev", pf="eth0", vlans=TAG)
    by_address = said.replace("<pf dev='eth0'/>", "")
    assert network.pool(by_address).addresses == ("0000:04:00.1",)


@pytest.mark.parametrize("forward", ["", "<forward mode='nat'/>", "<forward mode='bridge'/>"])
def test_networks_of_other_kinds_are_left_aside(forward):
    assert network.pool(f"<network><name>default</name>{forward}</network>") is None


@pytest.mark.parametrize(
    ("own", "portgroup", "vlans"),
    [
        (Vlans((7,)), "web", (7,)),
        (Vlans(), "web", (16,)),
        (Vlans(), "", (17,)),
        (Vlans(), "plain", (15,)),
    ],
)
def test_the_interface_counts_before_its_portgroup_and_that_before_the_network(
    own, portgroup, vlans
):
    pool = Pool(
        name="fast",
        mode="passthrough",
        pf="eth0",
        vlans=TAG,
        portgroups=(
            Portgroup(name="web", vlans=Vlans((16,)), inbound=SLOW),
            Portgroup(name="rest", default=True, vlans=Vlans((17,))),
            Portgroup(name="plain", outbound=FAST),
        ),
    )
    device = Nic(source=Network("fast", portgroup), vlans=own)
    assert pool.settled(device)[0].tags == vlans
    shaped = Nic(source=Network("fast", "web"), outbound=FAST)
    assert pool.settled(shaped)[1:] == (None, FAST)
    assert pool.settled(Nic(source=Network("fast", "web")))[1:] == (SLOW, None)


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": "a/b", "pf": "eth0"}),
        ("name", {"name": "", "pf": "eth0"}),
        ("mode", {"mode": "nat", "pf": "eth0"}),
        ("mode", {}),
        ("mode", {"pf": "eth0", "addresses": VFS}),
        ("mode", {"netdevs": ("eth0",)}),
        ("mode", {"mode": "bridge", "pf": "eth0"}),
        ("netdev", {"pf": "eth 0"}),
        ("pci_slot", {"addresses": ("83:13.3",)}),
        ("trunk", {"pf": "eth0", "vlans": TRUNK}),
        ("trunk", {"pf": "eth0", "portgroups": (Portgroup(name="a", vlans=TRUNK),)}),
        ("portgroup", {"pf": "eth0", "portgroups": (Portgroup(name="a"),) * 2}),
        ("portgroup", {"pf": "eth0", "portgroups": (Portgroup(name="a b"),)}),
        ("bandwidth", {"pf": "eth0", "portgroups": (Portgroup(name="a", inbound=SLOW),)}),
        (
            "default",
            {"pf": "eth0", "portgroups": tuple(Portgroup(name=n, default=True) for n in "ab")},
        ),
    ],
)
def test_what_libvirt_would_refuse_names_the_field(field, given):
    with pytest.raises(InvalidField) as caught:
        Pool(**{"name": "fast", "mode": "hostdev", **given})
    assert caught.value.field == field


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    with host.config.open("a") as file:
        file.write("[libvirt]\nuri = test:///default\n")
    return host


def test_xml_is_printed(host):
    made = host.do(
        *("libvirt", "network", "xml", "fast", "--mode", "passthrough", "--dev", "eth10"),
        *("--vlan", "15", "--portgroup", "web,default,vlan=16,in=1000/5000/5120,out=9000"),
    )
    assert network.pool(made) == Pool(
        name="fast",
        mode="passthrough",
        netdevs=("eth10",),
        vlans=TAG,
        portgroups=(
            Portgroup(name="web", default=True, vlans=Vlans((16,)), inbound=SLOW, outbound=FAST),
        ),
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--portgroup", "web,colour=red"], "unknown in it: colour"),
        (["--portgroup", "web,vlan=x"], "vlan 'x'"),
        (["--portgroup", "web,in=1/2/3/4"], "AVERAGE/PEAK/BURST"),
        (["--portgroup", "web,default=no"], "default has no value"),
        (["--vlan", "15", "--trunk", "16"], "trunk '16'"),
        (["--vlan", "4095"], "vlan 4095"),
    ],
)
def test_what_is_not_understood_is_one_sentence(host, arguments, named):
    status, _, err = host("libvirt", "network", "xml", "fast", "--pf", "eth0", *arguments)
    assert status == 1
    one_sentence(err, named)


@pytest.mark.lab
def test_it_is_defined_listed_and_shown(host):
    libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not here: see make test")
    connection = libvirt.open("test:///default")
    try:
        host.do(
            *("libvirt", "network", "define", "fast", "--address", VFS[0], "--vlan", "15"),
            *("--portgroup", "web,vlan=16", "--start"),
        )
        (listed,) = json.loads(host.do("libvirt", "network", "list", "-f", "json"))
        assert listed == {
            "name": "fast",
            "mode": "hostdev",
            "pool": VFS[0],
            "vlans": "15",
            "portgroups": "web",
        }
        shown = json.loads(host.do("libvirt", "network", "show", "-f", "json", "fast"))
        assert [(row["portgroup"], row["vlans"]) for row in shown] == [("", "15"), ("web", "16")]
        status, _, err = host("libvirt", "network", "define", "fast", "--pf", "eth0")
        assert status == 1
        one_sentence(err, "network fast is active", "net-destroy")
        status, _, err = host("libvirt", "network", "show", "default")
        assert status == 1
        one_sentence(err, "network 'default'", "Open vSwitch")
    finally:
        for name in connection.listNetworks() + connection.listDefinedNetworks():
            if name == "fast":
                connection.networkLookupByName(name).destroy()
                connection.networkLookupByName(name).undefine()
        connection.close()


@pytest.mark.parametrize(
    ("forward", "given"),
    [
        ("<forward mode='hostdev'><pf dev='enp59s0f0'/></forward>", {"pf": "enp59s0f0"}),
        (
            # as libvirt shows one that is active
            "<forward mode='hostdev' managed='yes'><driver name='vfio'/><pf dev='enp59s0f0'/>"
            "<address type='pci' domain='0x0000' bus='0x83' slot='0x13' function='0x3'/></forward>",
            {"pf": "enp59s0f0", "addresses": frozenset({VFS[0]})},
        ),
        (
            "<forward dev='eth10' mode='passthrough'><interface dev='eth10' connections='1'/>"
            "<interface dev='eth11'/></forward>",
            {"netdevs": frozenset({"eth10", "eth11"})},
        ),
        ("<forward mode='vepa'><interface dev='eth10'/></forward>", {"netdevs": {"eth10"}}),
        ("<forward mode='nat' dev='eth10'><interface dev='eth10'/></forward>", None),
        ("<forward/>", None),
        ("", None),
    ],
)
def test_what_an_active_network_gives_its_guests(forward, given):
    said = network.reserved(f"<network><name>fast</name>{forward}</network>")
    assert said == (None if given is None else Reserved(network="fast", **given))


def test_what_is_no_network_gives_nothing_away():
    with pytest.raises(InvalidField):
        network.reserved("<network")
