# SPDX-License-Identifier: Apache-2.0
"""libvirt's ``<interface type='hostdev'>`` for a VF: pure.

Source: libvirt "Domain XML format", PCI passthrough of network devices;
``schemas/domaincommon.rng``, define ``interface``.
"""

import re
import xml.etree.ElementTree as ET

from sriov_agent.core import fields
from sriov_agent.core.state import Interface
from sriov_agent.exceptions import InvalidField

_PCI_PARTS = ("domain", "bus", "slot", "function")


def render(interface: Interface) -> str:
    """The interface element, indented, with a newline at its end."""
    root = ET.Element("interface", type="hostdev", managed="yes")
    ET.SubElement(root, "mac", address=interface.mac)
    ET.SubElement(root, "driver", name="vfio")
    source = ET.SubElement(root, "source")
    parts = re.split("[:.]", interface.vf)
    address = {name: f"0x{part}" for name, part in zip(_PCI_PARTS, parts, strict=True)}
    ET.SubElement(source, "address", {"type": "pci", **address})
    if interface.vlan:
        vlan = ET.SubElement(root, "vlan")
        ET.SubElement(vlan, "tag", id=str(interface.vlan))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def parse(text: str) -> Interface:
    """What an interface element written by :func:`render` says.

    :raises InvalidField: if it is anything else
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 - the agent's own files
        address = root.find("source/address")
        if root.tag != "interface" or root.get("type") != "hostdev" or address is None:
            raise InvalidField("interface", text, "expected a hostdev interface")
        domain, bus, slot, function = (int(address.get(part, ""), 16) for part in _PCI_PARTS)
        tag = root.find("vlan/tag")
        interface = Interface(
            vf=fields.pci_address(f"{domain:04x}:{bus:02x}:{slot:02x}.{function}"),
            mac=fields.mac(getattr(root.find("mac"), "attrib", {}).get("address")),
            vlan=fields.vlan(int(tag.get("id", ""))) if tag is not None else 0,
        )
    except (ET.ParseError, ValueError) as error:
        raise InvalidField("interface", text, str(error)) from error
    if render(interface) != text:
        raise InvalidField("interface", text, "not as this agent writes it")
    return interface
