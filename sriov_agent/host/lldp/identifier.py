# SPDX-License-Identifier: Apache-2.0
"""LLDP's ids, addresses and names as octets, in frames and MIB alike, by lldpd's words.

Source: IEEE 802.1AB-2016, clause 8.5.
"""

import ipaddress

from sriov_agent.core.model import LldpId

CHASSIS_SUBTYPES = {2: "ifalias", 4: "mac", 5: "ip", 6: "ifname", 7: "local"}
PORT_SUBTYPES = {1: "ifalias", 3: "mac", 4: "ip", 5: "ifname", 7: "local"}
#: System capabilities by bit.
CAPABILITIES = ("Other", "Repeater", "Bridge", "Wlan", "Router", "Tel", "Docsis", "Station")

_MAC_BYTES = 6
#: By IANA address family.
_ADDRESS_BYTES = {1: 4, 2: 16}


def identifier(subtype: int, octets: bytes, subtypes: dict[int, str]) -> LldpId:
    """A chassis id or port id; of a subtype that lldpd does not print, the octets in hex.

    :param subtypes: :data:`CHASSIS_SUBTYPES` or :data:`PORT_SUBTYPES`
    """
    name = subtypes.get(subtype, "unhandled")
    if name == "mac" and len(octets) == _MAC_BYTES:
        return LldpId(name, octets.hex(":"))
    if name == "ip" and (found := network_address(octets)):
        return LldpId(name, found)
    if name in ("mac", "ip", "unhandled"):
        return LldpId("unhandled", octets.hex(" ").upper())
    return LldpId(name, text(octets))


def network_address(octets: bytes) -> str:
    """An address with its IANA family in front, or ""."""
    if octets and len(octets) == 1 + _ADDRESS_BYTES.get(octets[0], -1):
        return str(ipaddress.ip_address(octets[1:]))
    return ""


def text(octets: bytes) -> str:
    """A name, as far as the first NUL."""
    return octets.decode("utf-8", "replace").partition("\0")[0]
