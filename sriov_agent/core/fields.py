# SPDX-License-Identifier: Apache-2.0
"""Values that enter from outside, checked and brought to one form.

Each function returns the canonical value or raises
:class:`~sriov_agent.exceptions.InvalidField` naming the field.
"""

import ipaddress
import re

from sriov_agent.exceptions import InvalidField

ZERO_MAC = "00:00:00:00:00:00"
MAX_VLAN = 4094
MAX_QOS = 7
MAX_RATE = 2**32 - 1

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,31}")
_NETDEV = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
#: What ``net.ipv4.conf`` has beside the interfaces.
_NOT_NETDEVS = frozenset({"all", "default"})


def port_id(value: object, field: str = "id") -> str:
    """A Neutron port id: a UUID in its canonical form."""
    text = _text(value, field, "a UUID").lower()
    if not _UUID.fullmatch(text):
        raise InvalidField(field, value, "expected a UUID in its hyphenated form")
    return text


def is_id(text: str) -> bool:
    """Whether it could be an id of Neutron's, rather than a name."""
    return _UUID.fullmatch(text.lower()) is not None


def mac(value: object, field: str = "mac_address") -> str:
    """A unicast, non-zero MAC address in lower case with colons (IEEE 802, EUI-48)."""
    text = _text(value, field, "a MAC address").strip().lower().replace("-", ":")
    if not _MAC.fullmatch(text):
        raise InvalidField(field, value, "expected six colon-separated octets")
    if text == ZERO_MAC:
        raise InvalidField(field, value, "the all-zero MAC address cannot be used")
    if int(text[:2], 16) & 1:
        raise InvalidField(field, value, "a multicast MAC address cannot be used")
    return text


def vlan(value: object, field: str = "vlan") -> int:
    """A VLAN id 0..4094, 0 for untagged (IEEE 802.1Q; 4095 is reserved)."""
    return integer(value, field, 0, MAX_VLAN)


def pci_address(value: object, field: str = "pci_slot") -> str:
    """A PCI address ``dddd:bb:ss.f`` in lower case, as sysfs writes it."""
    text = _text(value, field, "a PCI address").strip().lower()
    if not _PCI.fullmatch(text):
        raise InvalidField(field, value, "expected a PCI address such as 0000:3b:00.2")
    return text


def physical_network(value: object, field: str = "physical_network") -> str:
    """A physical network's name: letters, digits and ``_ . : -``, at most 64."""
    text = _text(value, field, "a physical network")
    if not _NAME.fullmatch(text):
        raise InvalidField(field, value, "expected letters, digits, '_', '.', ':' or '-'")
    return text


def alias(value: object, field: str = "alias") -> str:
    """A VLAN's alias: a letter, then letters, digits and ``_ . -``, at most 32; as it came."""
    text = _text(value, field, "an alias")
    if not _ALIAS.fullmatch(text):
        raise InvalidField(
            field, value, "an alias is a letter, then letters, digits, '_', '.' or '-', at most 32"
        )
    return text


def netdev(value: object, field: str = "netdev") -> str:
    """A network interface's name: letters, digits and ``_ . -``, at most 15 (IFNAMSIZ)."""
    text = _text(value, field, "a network interface's name")
    if not _NETDEV.fullmatch(text) or text in _NOT_NETDEVS:
        raise InvalidField(
            field,
            value,
            "an interface is letters, digits, '_', '.' or '-', at most 15, and not 'all' or "
            "'default'",
        )
    return text


def address(value: object, field: str = "ip") -> str:
    """A host's IPv4 or IPv6 address with the length of its prefix, as ``10.0.0.1/24``."""
    text = _text(value, field, "an address")
    try:
        found = ipaddress.ip_interface(text)
    except ValueError:
        found = None
    if found is None or "/" not in text or "%" in text:
        raise InvalidField(
            field, value, "expected ADDRESS/PREFIX, as 10.0.0.1/24 or 2001:db8::1/64"
        )
    if found.ip.is_multicast or found.ip.is_unspecified:
        raise InvalidField(field, value, "no address of a host")
    return str(found)


def integer(value: object, field: str, low: int, high: int) -> int:
    """A whole number ``low..high``; booleans and fractions are not numbers here."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidField(field, value, f"expected a whole number {low}..{high}")
    if not low <= value <= high:
        raise InvalidField(field, value, f"out of range {low}..{high}")
    return value


def boolean(value: object, field: str) -> bool:
    """A JSON boolean; ``"false"`` and 0 are not."""
    if not isinstance(value, bool):
        raise InvalidField(field, value, "expected true or false")
    return value


def text(value: object, field: str, limit: int = 255) -> str:
    """Free text for people, kept as it came; shown only escaped."""
    if not isinstance(value, str) or len(value) > limit:
        raise InvalidField(field, value, f"expected text of at most {limit} characters")
    return value


def _text(value: object, field: str, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidField(field, value, f"expected {what}")
    return value
