# SPDX-License-Identifier: Apache-2.0
"""The interface XML that the agent writes for a port's VF, and nothing else: pure.

It is read back strictly: a file that says more, or says it in another way, is somebody else's.
"""

import re
import xml.etree.ElementTree as ET

from sriov_agent.core import fields
from sriov_agent.core.state import Interface
from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import nic

#: What the name of a device of the user's own begins with, by libvirt's rule.
_ALIAS = "ua-vf-"


def render(interface: Interface) -> str:
    """The interface element, indented, with a newline at its end."""
    return nic.text(nic.element(device(interface)))


def device(interface: Interface) -> nic.Nic:
    """The network device of a port.

    A macvtap names the netdev alone; the VF, which outlives a rename, is in the device's alias.
    """
    vlans = nic.Vlans((interface.vlan,) if interface.vlan else ())
    if not interface.netdev:
        return nic.Nic(source=nic.Vf(interface.vf), mac=interface.mac, vlans=vlans)
    return nic.Nic(
        source=nic.Macvtap(interface.netdev),
        mac=interface.mac,
        vlans=vlans,
        model="virtio",
        alias=_ALIAS + re.sub("[:.]", "-", interface.vf),
    )


def parse(text: str) -> Interface:
    """What an interface element written by :func:`render` says.

    :raises InvalidField: if it is anything else
    """
    try:
        read = nic.nic(ET.fromstring(text))  # noqa: S314 - the agent's own files
        match read:
            case nic.Nic(source=nic.Vf(address)):
                vf, netdev = address, ""
            case nic.Nic(source=nic.Macvtap(dev)):
                vf, netdev = _vf(read.alias), dev
            case _:
                raise InvalidField("interface", text, "expected a hostdev or direct interface")
        (vlan,) = read.vlans.tags or (0,)
        interface = Interface(vf=vf, netdev=netdev, mac=fields.mac(read.mac), vlan=vlan)
        same = render(interface) == text
    except (ET.ParseError, ValueError) as error:
        raise InvalidField("interface", text, str(error)) from error
    if not same:
        raise InvalidField("interface", text, "not as this agent writes it")
    return interface


def _vf(alias: str) -> str:
    parts = alias.removeprefix(_ALIAS).rsplit("-", 3)
    return fields.pci_address("{}:{}:{}.{}".format(*parts, *[""] * (4 - len(parts))))
