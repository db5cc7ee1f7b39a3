# SPDX-License-Identifier: Apache-2.0
"""VPP as the switch of vhost-user guests: what is wanted of it, and what it has.

A VLAN is a bridge domain of the same number. A guest tags by itself: of its socket, each VLAN is a
sub-interface in the VLAN's bridge domain, whose tag is popped on the way in. Where the VLAN has
addresses, a loopback has them, as the bridge domain's BVI; those of one table are routed to each
other.
"""

import ipaddress
import itertools
import re
from collections.abc import Mapping

from msgspec import Struct, field, structs

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField

#: The tag of what is ours: of an interface and a bridge domain, and the name of a table.
OURS = "sriov-agent"

#: VPP ends a word at a blank, and the kernel a socket's path at 107 octets.
_SOCKET = re.compile(r"/[A-Za-z0-9_./-]{1,106}")
_MAX_TABLE = 2**32 - 2


class Vlan(Struct, frozen=True):
    """A VLAN, and the addresses of its gateway, with prefix length: of IPv4, IPv6 or both.

    :raises InvalidField: for a VLAN or an address that is none
    """

    vlan: int
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fields.integer(self.vlan, "vlan", 1, fields.MAX_VLAN)
        structs.force_setattr(self, "addresses", tuple(map(_address, self.addresses)))


class Port(Struct, frozen=True):
    """A guest's socket, an absolute path, and the VLANs that the guest tags.

    :raises InvalidField: for a path that VPP cannot be told, or VLANs that are none
    """

    socket: str
    vlans: tuple[int, ...]

    def __post_init__(self) -> None:
        path(self.socket)
        for vlan in self.vlans:
            fields.integer(vlan, "vlan", 1, fields.MAX_VLAN)
        if not self.vlans or len(set(self.vlans)) < len(self.vlans):
            raise InvalidField("vlan", self.vlans, "expected each VLAN of the port once")


class Desired(Struct, frozen=True):
    """What VPP is to have.

    :param vlans: those that have a gateway
    :param table: the table that they are routed in; 0 is VPP's own
    :param server: whether VPP makes the sockets, or QEMU
    :raises InvalidField: for what VPP would refuse
    """

    ports: tuple[Port, ...] = ()
    vlans: tuple[Vlan, ...] = ()
    table: int = 0
    server: bool = True

    def __post_init__(self) -> None:
        fields.integer(self.table, "table", 0, _MAX_TABLE)
        named: list[tuple[str, object]] = [("socket", port.socket) for port in self.ports]
        named += [("vlan", vlan.vlan) for vlan in self.vlans]
        for name, value in named:
            if named.count((name, value)) > 1:
                raise InvalidField(name, value, "named twice")
        networks = [
            (address, ipaddress.ip_interface(address).network)
            for vlan in self.vlans
            for address in vlan.addresses
        ]
        for (_, one), (address, other) in itertools.combinations(networks, 2):
            if one.version == other.version and one.overlaps(other):
                raise InvalidField("address", address, f"{one} overlaps its network")


class Interface(Struct, frozen=True):
    """An interface of VPP's.

    :param index: VPP's ``sw_if_index``
    :param bridge: the bridge domain that it is in; 0 is none
    :param bvi: whether it is that one's BVI
    """

    index: int
    name: str
    tag: str = ""
    up: bool = False
    bridge: int = 0
    bvi: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is tagged as ours."""
        return self.tag == OURS


class Loopback(Interface, frozen=True):
    """A loopback.

    :param addresses: with prefix length
    :param tables: the table of each version of IP
    """

    addresses: tuple[str, ...] = ()
    tables: Mapping[int, int] = field(default_factory=dict)


class SubInterface(Interface, frozen=True):
    """A sub-interface.

    :param vlan: the one tag that its frames have; 0 is another sort of sub-interface
    :param pops: whether that tag is popped
    """

    vlan: int = 0
    pops: bool = False


class Socket(Interface, frozen=True):
    """A vhost-user interface.

    :param server: whether VPP makes the socket
    :param connected: whether the guest's memory is mapped
    :param subs: its sub-interfaces by their number
    """

    server: bool = True
    connected: bool = False
    subs: Mapping[int, SubInterface] = field(default_factory=dict)


class Bridge(Struct, frozen=True):
    """A bridge domain.

    :param members: names of its interfaces, the BVI among them
    """

    tag: str = ""
    members: frozenset[str] = frozenset()
    bvi: str = ""

    @property
    def ours(self) -> bool:
        """Whether it is tagged as ours."""
        return self.tag == OURS


class Observed(Struct, frozen=True):
    """What VPP has, of what may be ours.

    :param sockets: by path
    :param loopbacks: by instance, the number in their name
    :param bridges: by bridge domain
    :param tables: the name of each, by version of IP and number
    """

    sockets: Mapping[str, Socket] = field(default_factory=dict)
    loopbacks: Mapping[int, Loopback] = field(default_factory=dict)
    bridges: Mapping[int, Bridge] = field(default_factory=dict)
    tables: Mapping[tuple[int, int], str] = field(default_factory=dict)


def path(given: str) -> str:
    """A socket's path.

    :raises InvalidField: for one that VPP cannot be told
    """
    if not _SOCKET.fullmatch(given):
        raise InvalidField("socket", given, f"expected {_SOCKET.pattern}")
    return given


def version(address: str) -> int:
    """Its version of IP, 4 or 6."""
    return ipaddress.ip_interface(address).version


def _address(given: str) -> str:
    try:
        found = ipaddress.ip_interface(given)
    except ValueError:
        found = None
    if found is None or "/" not in given or "%" in given:
        raise InvalidField("address", given, "expected an address such as 192.168.2.1/24")
    return found.with_prefixlen
