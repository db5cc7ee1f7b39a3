# SPDX-License-Identifier: Apache-2.0
"""libvirt's ``<interface>`` for a VF, ``hostdev`` or macvtap in passthrough mode: pure.

Source: libvirt "Domain XML format", PCI passthrough of network devices, direct attachment to
physical interface; ``schemas/domaincommon.rng``, define ``interface``.
"""

import re
import xml.etree.ElementTree as ET

from sriov_agent.core import fields
from sriov_agent.core.state import Interface
from sriov_agent.exceptions import InvalidField

#: What the name of a device of the user's own begins with, by libvirt's rule.
_ALIAS = "ua-vf-"
_PCI_PARTS = ("domain", "bus", "slot", "function")


def render(interface: Interface) -> str:
    """The interface element, indented, with a newline at its end."""
    if interface.netdev:
        root = _macvtap(interface)
    else:
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


def _macvtap(interface: Interface) -> ET.Element:
    """It names the netdev alone; the VF, which outlives a rename, is in the device's alias."""
    root = ET.Element("interface", type="direct")
    ET.SubElement(root, "mac", address=interface.mac)
    ET.SubElement(root, "source", dev=interface.netdev, mode="passthrough")
    ET.SubElement(root, "model", type="virtio")
    ET.SubElement(root, "alias", name=_ALIAS + re.sub("[:.]", "-", interface.vf))
    return root


def parse(text: str) -> Interface:
    """What an interface element written by :func:`render` says.

    :raises InvalidField: if it is anything else
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 - the agent's own files
        if root.tag != "interface" or root.get("type") not in ("hostdev", "direct"):
            raise InvalidField("interface", text, "expected a hostdev or direct interface")
        source = root.find("source")
        tag = root.find("vlan/tag")
        interface = Interface(
            vf=_vf(root),
            netdev=source.get("dev", "") if source is not None else "",
            mac=fields.mac(getattr(root.find("mac"), "attrib", {}).get("address")),
            vlan=fields.vlan(int(tag.get("id", ""))) if tag is not None else 0,
        )
    except (ET.ParseError, ValueError) as error:
        raise InvalidField("interface", text, str(error)) from error
    if render(interface) != text:
        raise InvalidField("interface", text, "not as this agent writes it")
    return interface


def _vf(root: ET.Element) -> str:
    alias = root.find("alias")
    if alias is not None:
        parts = alias.get("name", "").removeprefix(_ALIAS).rsplit("-", 3)
        return fields.pci_address("{}:{}:{}.{}".format(*parts, *[""] * (4 - len(parts))))
    address = root.find("source/address")
    if address is None:
        raise InvalidField("interface", None, "its source has no address")
    domain, bus, slot, function = (int(address.get(part, ""), 16) for part in _PCI_PARTS)
    return fields.pci_address(f"{domain:04x}:{bus:02x}:{slot:02x}.{function}")
