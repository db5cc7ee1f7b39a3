# SPDX-License-Identifier: Apache-2.0
"""The two domains of an appliance: written, valid by libvirt's schemas, defined and run."""

import functools
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from lxml import etree

from sriov_agent.core.state import Claim, Interface
from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import appliance, nic, vmx
from sriov_agent.libvirt.appliance import Data, Port
from sriov_agent.libvirt.nic import Bridge, Macvtap, Network, Vf, Vlans
from tests.frozen import replace
from tests.unit.test_sriovctl import ID, MAC, VF, Host, one_sentence
from tests.unit.test_vmx import SAMPLE

SCHEMAS = Path("/usr/share/libvirt/schemas")
URI = "test:///default"
SEED = vmx.parse(SAMPLE)
PORT = Interface(vf=VF, mac=MAC, vlan=15)
MIXED = replace(
    SEED,
    data=(
        Data(number=0, source=Port("web1"), description='<b> & "c"'),
        Data(number=1, source=Bridge("br-data"), mac="02:06:0a:0e:ff:f1"),
        Data(number=2, source=Vf("0000:3b:00.7"), mac="02:06:0a:0e:ff:f2", vlan=16),
        Data(number=3, source=Network("fast & <wide>"), mac="02:06:0a:0e:ff:f3"),
    ),
)
NAMES = ["vcp-vmx1", "vfp-vmx1"]


def rendered(router, ports=None, kind="kvm"):
    return appliance.domains(router, appliance.data_nics(router, ports or {}), kind)


def devices(text):
    return [nic.nic(device) for device in nic.devices(text)]


def slots(text):
    found = [device.find("address").get("slot") for device in nic.devices(text)]
    return [int(slot, 16) for slot in found]


@functools.cache
def schema(name):
    path = SCHEMAS / name
    if not path.exists():
        pytest.skip(f"{path} is not there: python3 tools/lab setup --also libvirt0")
    return etree.RelaxNG(etree.parse(path))


@pytest.mark.lab
@pytest.mark.parametrize("kind", appliance.TYPES)
@pytest.mark.parametrize("router", [SEED, MIXED])
def test_it_is_valid_by_libvirts_schemas(router, kind):
    for text in rendered(router, {"web1": PORT}, kind).values():
        schema("domain.rng").assertValid(etree.fromstring(text))
    schema("network.rng").assertValid(etree.fromstring(appliance.internal_network(router)))


def test_the_seeds_guests_have_its_interfaces():
    vcp, vfp = rendered(SEED).values()
    assert [(d.source, d.mac, d.model, d.target) for d in devices(vcp)] == [
        (Bridge("br-mgmt"), "0a:00:dd:c0:de:0e", "e1000", "vcp_ext-vmx1"),
        (Bridge("br-int-vmx1"), "52:54:00:e0:a2:a1", "virtio", "vcp_int-vmx1"),
    ]
    assert [(d.source, d.mac, d.model, d.target) for d in devices(vfp)] == [
        (Bridge("br-mgmt"), "0a:00:dd:c0:de:10", "virtio", "vfp_ext-vmx1"),
        (Bridge("br-int-vmx1"), "52:54:00:8a:bd:4b", "virtio", "vfp_int-vmx1"),
        (Network("default"), "02:06:0a:0e:ff:f0", "virtio", "ge-0.0.0-vmx1"),
        (Network("default"), "02:06:0a:0e:ff:f1", "virtio", "ge-0.0.1-vmx1"),
    ]


def test_the_seeds_guests_have_its_machine():
    vcp, vfp = map(ET.fromstring, rendered(SEED).values())
    assert [pin.attrib for pin in vcp.iterfind("cputune/vcpupin")] == [{"vcpu": "0", "cpuset": "0"}]
    assert vcp.find("memoryBacking") is None
    assert vcp.findtext("sysinfo/system/entry[@name='product']") == "VM-vcp_vmx1-161-re-0"
    assert [disk.get("type") for disk in vcp.iterfind("devices/disk/driver")] == ["qcow2"] * 2
    assert vcp.find("devices/serial/source").get("service") == "8601"
    assert [backing.tag for backing in vfp.find("memoryBacking")] == ["hugepages", "nosharepages"]
    assert vfp.find("numatune/memory").attrib == {"mode": "strict", "nodeset": "0"}
    assert vfp.find("cputune") is None
    assert (vfp.findtext("vcpu"), vfp.findtext("memory")) == ("3", "6144")
    assert vfp.find("cpu/topology").get("cores") == "3"
    assert vfp.find("devices/disk/driver").get("type") == "raw"


def test_the_guest_counts_its_interfaces_by_slot_whatever_they_are_on():
    text = rendered(MIXED, {"web1": PORT})["vfp-vmx1"]
    _, _, port, bridge, vf, network = devices(text)
    assert (port.source, port.mac, port.vlans) == (Vf(VF), MAC, Vlans((15,)))
    assert (bridge.source, bridge.target) == (Bridge("br-data"), "ge-0.0.1-vmx1")
    assert (vf.source, vf.mac, vf.vlans) == (Vf("0000:3b:00.7"), MIXED.data[2].mac, Vlans((16,)))
    assert network.source == Network("fast & <wide>")
    assert slots(text) == [3, 4, 5, 6, 7, 8]
    assert ET.fromstring(text).findtext("description") == 'ge-0/0/0: <b> & "c"'


def test_as_many_interfaces_as_there_may_be_leave_slots_to_libvirt():
    data = tuple(
        Data(number=number, source=Bridge("br-data"), mac=f"02:00:00:00:00:{number:02x}")
        for number in range(appliance.MAX_DATA_INTERFACES)
    )
    assert max(slots(rendered(replace(SEED, data=data))["vfp-vmx1"])) < 31


def test_each_vcpu_has_a_cpu_of_its_own_or_one_for_all():
    for cpus, pinned in (((4, 5, 6), ["4", "5", "6"]), ((7,), ["7"] * 3)):
        router = replace(SEED, vfp=replace(SEED.vfp, cpus=cpus), numa_node=1)
        vfp = ET.fromstring(rendered(router)["vfp-vmx1"])
        assert [pin.get("cpuset") for pin in vfp.iterfind("cputune/vcpupin")] == pinned
        assert vfp.find("numatune/memory").get("nodeset") == "1"


def test_a_port_may_be_a_macvtap():
    macvtap = replace(PORT, netdev="enp59s0f0v0")
    text = rendered(MIXED, {"web1": macvtap})["vfp-vmx1"]
    assert devices(text)[2].source == Macvtap("enp59s0f0v0")


@pytest.mark.parametrize(
    ("data", "interface", "field"),
    [
        (Data(number=0, source=Port("web1"), mac="02:06:0a:0e:ff:f0"), PORT, "ge-0/0/0"),
        (MIXED.data[0], replace(PORT, mac=SEED.vcp.mac), "ge-0/0/0"),
        (MIXED.data[0], replace(PORT, vf="0000:3b:00.7"), "ge-0/0/2"),
        (MIXED.data[0], replace(PORT, mac=MIXED.data[3].mac), "ge-0/0/3"),
    ],
)
def test_a_port_that_does_not_fit_is_named(data, interface, field):
    router = replace(MIXED, data=(data, *MIXED.data[1:]))
    with pytest.raises(InvalidField) as caught:
        appliance.data_nics(router, {"web1": interface})
    assert caught.value.field == field


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path)
    with host.config.open("a") as file:
        file.write(f"[libvirt]\nuri = {URI}\n")
    host.file = tmp_path / "vmx.conf"
    host.file.write_text(SAMPLE)
    return host


@pytest.fixture
def connection(host):
    libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not here: see make test")
    connection = libvirt.open(URI)
    yield connection
    for domain in connection.listAllDomains():
        if domain.name() != "test":
            if domain.isActive():
                domain.destroy()
            domain.undefine()
    for network in connection.listAllNetworks():
        if network.name() != "default":
            network.destroy()
            network.undefine()
    connection.close()


def named(host, entry):
    """Have the file's first interface say more."""
    text = SAMPLE.replace("ge-0/0/0\n", f"ge-0/0/0\n     {entry}\n")
    host.file.write_text(text.replace("device-type : virtio", "device-type : mixed"))


def state(connection):
    """Whether each domain runs, by name."""
    found = {domain.name(): bool(domain.isActive()) for domain in connection.listAllDomains()}
    return {name: running for name, running in found.items() if name != "test"}


def test_it_is_printed_or_written(host, tmp_path):
    texts = [appliance.internal_network(SEED), *rendered(SEED).values()]
    assert host.do("appliance", "render", str(host.file)) == "".join(texts)
    directory = tmp_path / "made"
    assert host.do("appliance", "render", str(host.file), "--output", str(directory)) == ""
    written = [directory / f"{name}.xml" for name in ("br-int-vmx1", *NAMES)]
    assert [path.read_text() for path in written] == texts
    status, _, err = host("appliance", "render", str(host.file), "--output", str(host.file))
    assert status == 1
    one_sentence(err, str(host.file))


def test_a_file_that_cannot_be_used_is_one_sentence(host, tmp_path):
    host.file.write_text(SAMPLE.replace(": vmx1", ": '<vmx1>'").replace("8602", "8601"))
    for path, said in (
        (host.file, ("line 13: ", "line 43: ")),
        (tmp_path / "none.conf", ("No such file",)),
        (tmp_path, ("Is a directory",)),
    ):
        status, out, err = host("appliance", "render", str(path))
        assert (status, out) == (1, "")
        one_sentence(err, str(path), *said)


def test_a_port_gives_its_vf_and_one_without_says_where_to_look(host):
    host.create("--id", ID, "--mac", MAC, "web1")
    named(host, "port: web1")
    text = host.file.read_text().replace("02:06:0A:0E:FF:F0", MAC)
    host.file.write_text(text)
    status, _, err = host("appliance", "render", str(host.file))
    assert status == 1
    one_sentence(err, ID, "sriovctl port show")
    host.files.read()
    host.files.write(ID, PORT)
    assert '<interface type="hostdev" managed="yes">' in host.do(
        "appliance", "render", str(host.file)
    )
    named(host, "port: web2")
    status, _, err = host("appliance", "render", str(host.file))
    assert status == 1
    one_sentence(err, "port 'web2'")


def test_a_vf_that_a_port_has_is_not_taken_from_it(host):
    host.store.record(Claim(port_id=ID, vf=VF, pf="0000:3b:00.0", index=0))
    named(host, f"vf: {VF}")
    status, _, err = host("appliance", "define", str(host.file))
    assert status == 1
    one_sentence(err, "ge-0/0/0 vf", VF, f"port {ID}")


@pytest.mark.lab
def test_it_is_defined_started_stopped_and_destroyed_each_of_them_twice(host, connection):
    for verb, after in (
        ("define", dict.fromkeys(NAMES, False)),
        ("start", dict.fromkeys(NAMES, True)),
        ("define", dict.fromkeys(NAMES, True)),
        ("stop", dict.fromkeys(NAMES, False)),
        ("start", dict.fromkeys(NAMES, True)),
        ("destroy", {}),
    ):
        for _ in range(2):
            out = host.do("appliance", verb, str(host.file))
            assert sorted(line.partition(":")[0] for line in out.splitlines()) == sorted(
                ["br-int-vmx1", *NAMES] if verb != "stop" else NAMES
            )
            assert state(connection) == after
    assert connection.listNetworks() == ["default"]


@pytest.mark.lab
def test_a_network_that_does_not_run_is_started_again(host, connection):
    host.do("appliance", "define", str(host.file))
    connection.networkLookupByName("br-int-vmx1").destroy()
    host.do("appliance", "define", str(host.file))
    assert connection.networkLookupByName("br-int-vmx1").isActive()


@pytest.mark.lab
def test_what_failed_is_said_of_each_domain_and_the_rest_is_done(host, connection):
    connection.defineXML(
        "<domain type='test'><name>vcp-vmx1</name><memory>1024</memory><os><type>hvm</type></os>"
        "</domain>"
    )
    for verb, said in (
        ("define", "br-int-vmx1: defined\nvfp-vmx1: defined\n"),
        ("start", "br-int-vmx1: defined\nvfp-vmx1: started\n"),
        ("stop", "vfp-vmx1: off, or shutting down\n"),
        ("destroy", "vfp-vmx1: destroyed\nbr-int-vmx1: destroyed\n"),
    ):
        status, out, err = host("appliance", verb, str(host.file))
        assert (status, out) == (1, said)
        one_sentence(err, "domain vcp-vmx1: ")
    assert state(connection) == {"vcp-vmx1": False}


@pytest.mark.lab
def test_one_that_is_not_defined_cannot_be_stopped(host, connection):
    status, out, err = host("appliance", "stop", str(host.file))
    assert (status, out) == (1, "")
    one_sentence(err, "'vcp-vmx1'", "'vfp-vmx1'", "no such domain")


@pytest.mark.lab
def test_a_host_without_an_iommu_says_so_before_the_start(host, connection):
    named(host, f"vf: {VF}")
    status, out, err = host("appliance", "start", str(host.file))
    assert (status, out) == (1, "br-int-vmx1: defined\nvcp-vmx1: started\n")
    one_sentence(err, "domain vfp-vmx1", VF, "no IOMMU")
