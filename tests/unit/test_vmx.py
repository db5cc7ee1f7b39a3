# SPDX-License-Identifier: Apache-2.0
"""``vmx.conf``: what it says, and everything that is wrong with it, by line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import vmx
from sriov_agent.libvirt.appliance import Appliance, Data, Guest, Port
from sriov_agent.libvirt.nic import Bridge, Network, Vf
from tests.unit.test_documentation import ROOT, blocks

SAMPLE = (Path(__file__).parents[1] / "samples" / "vmx.conf").read_text()
IMAGES = "/root/vmx-14.1R5.4-1/images"


def problems(text):
    """(line, sentence) of each problem."""
    with pytest.raises(InvalidField) as caught:
        vmx.parse(text, "a.conf")
    assert (caught.value.field, caught.value.value) == ("file", "a.conf")
    said = [problem.partition(": ") for problem in caught.value.reason.split("; line ")]
    return [(int(line.removeprefix("line ")), problem) for line, _, problem in said]


def test_the_seeds_file():
    assert vmx.parse(SAMPLE) == Appliance(
        identifier="vmx1",
        external_bridge="br-mgmt",
        routing_engine_image=f"{IMAGES}/jinstall64-vmx-14.1R5.4-domestic.img",
        routing_engine_hdd=f"{IMAGES}/vmxhdd.img",
        forwarding_engine_image=f"{IMAGES}/vPFE-lite-20150707.img",
        vcp=Guest(vcpus=1, memory=1024, console_port=8601, mac="0a:00:dd:c0:de:0e", cpus=(0,)),
        vfp=Guest(vcpus=3, memory=6144, console_port=8602, mac="0a:00:dd:c0:de:10"),
        data=tuple(
            Data(
                number=number,
                source=Network("default"),
                mac=f"02:06:0a:0e:ff:f{number}",
                description="ge-0/0/0 interface",
            )
            for number in (0, 1)
        ),
    )


def test_what_an_interface_is_on():
    head = SAMPLE.partition("JUNOS_DEVICES")[0] + "JUNOS_DEVICES:\n"
    text = head + (
        "  - {interface: ge-0/0/3, network: 'fast', mac-address: 02:00:00:00:00:03}\n"
        "  - {interface: ge-0/0/2, bridge: br-data, mac-address: 02:00:00:00:00:02}\n"
        "  - {interface: ge-0/0/1, vf: '0000:3B:00.3', vlan: 15, mac-address: 02:00:00:00:00:01}\n"
        "  - {interface: ge-0/0/0, port: <web> & 1}\n"
    )
    text = text.replace(
        "device-type : virtio", "device-type : mixed\n    numa-node: 1\n    cpus: 2, 3,4"
    )
    read = vmx.parse(text)
    assert read.data == (
        Data(number=0, source=Port("<web> & 1")),
        Data(number=1, source=Vf("0000:3b:00.3"), mac="02:00:00:00:00:01", vlan=15),
        Data(number=2, source=Bridge("br-data"), mac="02:00:00:00:00:02"),
        Data(number=3, source=Network("fast"), mac="02:00:00:00:00:03"),
    )
    assert (read.numa_node, read.vfp.cpus) == (1, (2, 3, 4))


def test_the_file_of_the_documentation_can_be_used():
    page = (ROOT / "doc/source/appliances.rst").read_text()
    (block,) = blocks(page, "code-block:: yaml")
    assert [data.source for data in vmx.parse(block).data] == [Port("uplink0"), Bridge("br-data")]


def test_everything_wrong_is_listed_at_once_in_the_order_of_the_lines():
    changes = {
        "identifier                : vmx1": "identifier: vmx10",
        "name  : br-mgmt": "name: br-management",
        "vcpus       : 1": "vcpus: one",
        '"0A:00:DD:C0:DE:0E"': '"01:00:DD:C0:DE:0E"',
        "console_port: 8602": "console_port: 8601",
        '"02:06:0A:0E:FF:F1"': '"0A:00:DD:C0:DE:10"',
        "ge-0/0/1": "ge-0/1/1",
    }
    text = SAMPLE
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    assert problems(text) == [
        (13, "identifier 'vmx10': expected letters and digits, at most 4 characters"),
        (23, "name 'br-management': expected at most 10 characters"),
        (28, "vcpus 'one': expected a whole number 1..255"),
        (36, "macaddr '01:00:DD:C0:DE:0E': a multicast MAC address cannot be used"),
        (43, "console_port '8601': line 30 has it already"),
        (59, "interface 'ge-0/1/1': expected ge-0/0/0 to ge-0/0/23"),
        (60, "mac-address '0A:00:DD:C0:DE:10': line 50 has it already"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("BRIDGES:", "BRIDGE:", "section 'BRIDGE': expected one of HOST, BRIDGES"),
        ("BRIDGES:", "BRIDGE:", "section BRIDGES is missing"),
        ("BRIDGES:", "HOST:", "section HOST is there twice"),
        ("- type  : external", "- type  : internal", "type 'internal': expected external"),
        ("type  : external", "type  : external\n    - type: external", "expected a list of one"),
        ("memory-mb   : 1024", "memory   : 1024", "CONTROL_PLANE 'memory': expected one of"),
        ("memory-mb   : 1024", "memory   : 1024", "CONTROL_PLANE memory-mb is missing"),
        ("memory-mb   : 1024", "memory-mb: 0", "memory-mb 0: out of range"),
        ("memory-mb   : 1024", "memory-mb: [1024]", "CONTROL_PLANE memory-mb: expected one value"),
        ("memory-mb   : 1024", "vcpus: 2", "CONTROL_PLANE 'vcpus' is there twice"),
        ("memory-mb   : 1024", "[a]: 2", "CONTROL_PLANE: expected a name before the colon"),
        ("ipaddr    : 10.84.29.98", "", "CONTROL_PLANE ipaddr is missing"),
        ("10.84.29.98", "10.84.29.298", "ipaddr '10.84.29.298': expected an IP address"),
        ("10.84.29.98", "10.84.29.99", "ipaddr '10.84.29.99': line"),
        ("images/vmxhdd.img", "images/vPFE-lite-20150707.img", "forwarding-engine-image"),
        ('"/root/vmx-14.1R5.4-1/images/vmxhdd.img"', "vmxhdd.img", "expected an absolute path"),
        (": eth1", ": eth 1", "host-management-interface 'eth 1'"),
        ("device-type : virtio", "device-type : sriov", "ge-0/0/0 is on no VF"),
        ("vcpus       : 3", "vcpus: 3\n    cpus: 1,2", "one for each of its vcpus"),
        ("ge-0/0/1\n", "ge-0/0/2\n", "ge-0/0/N: expected each N from 0 on"),
        ("ge-0/0/1\n", "ge-0/0/24\n", "expected ge-0/0/0 to ge-0/0/23"),
        ("ge-0/0/1\n", "ge-0/0/0\n", "interface 'ge-0/0/0': line"),
        ("mac-address", "mac", "ge-0/0/0 mac-address is missing"),
        ("ge-0/0/1\n", "ge-0/0/1\n     vlan: 5\n", "ge-0/0/1 vlan: only a vf has one here"),
        ("ge-0/0/1\n", "ge-0/0/1\n     vf: 0000:3b:00.2\n", "ge-0/0/1 is on a VF"),
        ("ge-0/0/1\n", "ge-0/0/1\n     vf: 3b:00.2\n", "vf '3b:00.2': expected a PCI address"),
        ("ge-0/0/1\n", "ge-0/0/1\n     port: a\n     bridge: b\n", "port and bridge: expected one"),
        ("JUNOS_DEVICES:", "JUNOS_DEVICES: none\nHOSTS:", "JUNOS_DEVICES: expected a list"),
        ("HOST:", "HOST: &a [*a]\nHOSTS:", "HOST: expected 'name: value' pairs"),
        ("HOST:", "HOST: 'x", "found unexpected document separator"),
        ("HOST:", "HOST: \x1b", "character 0x1b is not allowed"),
        ("HOST:", "HOST: " + "[" * 10000, "nested too deeply"),
    ],
)
def test_each_problem_is_said(old, new, said):
    assert old in SAMPLE
    found = problems(SAMPLE.replace(old, new))
    assert any(said in sentence for _, sentence in found), found


@pytest.mark.parametrize("text", ["", "---\n", "- a\n", "text"])
def test_a_file_that_is_none_says_what_is_missing(text):
    assert (1, "section HOST is missing") in problems(text)


@given(st.text())
def test_any_text_is_refused_by_line(text):
    assert all(at > 0 for at, _ in problems(text))
