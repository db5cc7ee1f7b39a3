# SPDX-License-Identifier: Apache-2.0
"""VPP as the switch of vhost-user guests, in the commands of its own command line: pure.

A VLAN is a bridge domain of the same number. A guest tags by itself: of its socket, each VLAN is a
sub-interface in the VLAN's bridge domain, whose tag is popped on the way in. Where the VLAN has
addresses, a loopback has them, as the bridge domain's BVI; those of one table are routed to each
other.

Source: VPP's "CLI reference": ``create vhost-user``, ``create loopback interface``, ``create
sub-interfaces``, ``set interface l2 bridge``, ``set interface l2 tag-rewrite``, ``set interface ip
table``.
"""

import ipaddress
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField

#: VPP ends a word at a blank, and the kernel a socket's path at 107 octets.
_SOCKET = re.compile(r"/[A-Za-z0-9_./-]{1,106}")
_MAX_TABLE = 2**32 - 2
_MAX_NUMBER = 2**16 - 1


@dataclass(frozen=True, slots=True)
class Vlan:
    """A VLAN, and the addresses of its gateway, with prefix length: of IPv4, IPv6 or both.

    :raises InvalidField: for a VLAN or an address that is none
    """

    vlan: int
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        fields.integer(self.vlan, "vlan", 1, fields.MAX_VLAN)
        object.__setattr__(self, "addresses", tuple(map(_address, self.addresses)))


@dataclass(frozen=True, slots=True)
class Port:
    """A guest's socket, an absolute path, and the VLANs that the guest tags.

    :raises InvalidField: for a path that VPP cannot be told, or VLANs that are none
    """

    socket: str
    vlans: tuple[int, ...]

    def __post_init__(self) -> None:
        if not _SOCKET.fullmatch(self.socket):
            raise InvalidField("socket", self.socket, f"expected {_SOCKET.pattern}")
        for vlan in self.vlans:
            fields.integer(vlan, "vlan", 1, fields.MAX_VLAN)
        if not self.vlans or len(set(self.vlans)) < len(self.vlans):
            raise InvalidField("vlan", self.vlans, "expected each VLAN of the port once")


def commands(
    ports: Sequence[Port],
    vlans: Sequence[Vlan] = (),
    *,
    table: int = 0,
    first: int = 0,
    server: bool = True,
) -> list[str]:
    """What VPP is to be told, in this order.

    :param vlans: those that have a gateway
    :param table: the table that they are routed in; 0 is VPP's own
    :param first: the number of the first port's interface; the others follow
    :param server: whether VPP makes the sockets, or QEMU
    :raises InvalidField: for what VPP would refuse
    """
    fields.integer(table, "table", 0, _MAX_TABLE)
    fields.integer(first, "first", 0, _MAX_NUMBER)
    _check(ports, vlans)
    versions = {ipaddress.ip_interface(each).version for vlan in vlans for each in vlan.addresses}
    found = [f"{_IP[version]} table add {table}" for version in sorted(versions) if table]
    for vlan in vlans:
        found += _gateway(vlan, table)
    for number, port in enumerate(ports, first):
        found += _port(port, number, server)
    return found


_IP = {4: "ip", 6: "ip6"}


def _gateway(vlan: Vlan, table: int) -> list[str]:
    """The BVI of a VLAN; its table comes before its addresses, which stay where they are."""
    if not vlan.addresses:
        return []
    loopback = f"loop{vlan.vlan}"
    versions = {ipaddress.ip_interface(address).version for address in vlan.addresses}
    return [
        f"create loopback interface instance {vlan.vlan}",
        f"set interface l2 bridge {loopback} {vlan.vlan} bvi",
        *(
            f"set interface {_IP[version]} table {loopback} {table}"
            for version in sorted(versions)
            if table
        ),
        *(f"set interface ip address {loopback} {address}" for address in vlan.addresses),
        f"set interface state {loopback} up",
    ]


def _port(port: Port, number: int, server: bool) -> list[str]:
    name = f"VirtualEthernet0/0/{number}"
    found = [
        f"create vhost-user socket {port.socket}{' server' if server else ''} renumber {number}",
        f"set interface state {name} up",
    ]
    for vlan in port.vlans:
        found += [
            f"create sub-interfaces {name} {vlan}",
            f"set interface l2 bridge {name}.{vlan} {vlan}",
            f"set interface l2 tag-rewrite {name}.{vlan} pop 1",
            f"set interface state {name}.{vlan} up",
        ]
    return found


def _check(ports: Sequence[Port], vlans: Sequence[Vlan]) -> None:
    named: list[tuple[str, object]] = [("socket", port.socket) for port in ports]
    named += [("vlan", vlan.vlan) for vlan in vlans]
    for name, value in named:
        if named.count((name, value)) > 1:
            raise InvalidField(name, value, "named twice")
    networks = [
        (address, ipaddress.ip_interface(address).network)
        for vlan in vlans
        for address in vlan.addresses
    ]
    for (_, one), (address, other) in itertools.combinations(networks, 2):
        if one.version == other.version and one.overlaps(other):
            raise InvalidField("address", address, f"{one} overlaps its network")


def _address(given: str) -> str:
    try:
        found = ipaddress.ip_interface(given)
    except ValueError:
        found = None
    if found is None or "/" not in given or "%" in given:
        raise InvalidField("address", given, "expected an address such as 192.168.2.1/24")
    return found.with_prefixlen
