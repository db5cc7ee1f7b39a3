# SPDX-License-Identifier: Apache-2.0
"""LLDP-MIB: rows that an SNMP agent served in, data out.

Source: IEEE 802.1AB-2005, clause 12 (LLDP-MIB), annexes F and G (LLDP-EXT-DOT1-MIB,
LLDP-EXT-DOT3-MIB). Of two neighbors on one port that have the chassis and the second of their
last change in common, lldpd serves only one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from sriov_agent.core import fields
from sriov_agent.core.model import Heard, LldpId, Neighbor, Uplink
from sriov_agent.exceptions import Unavailable
from sriov_agent.host.lldp.identifier import (
    CAPABILITIES,
    CHASSIS_SUBTYPES,
    PORT_SUBTYPES,
    identifier,
    network_address,
    text,
)

Oid = tuple[int, ...]
T = TypeVar("T", bytes, int)

#: No octet string of the LLDP-MIB is longer.
MAX_OCTETS = 255

_MIB = (1, 0, 8802, 1, 1, 2, 1)
_LOCAL, _LOCAL_PORT, _REMOTE = (*_MIB, 3), (*_MIB, 3, 7, 1), (*_MIB, 4, 1, 1)
_CHASSIS_KIND, CHASSIS_ID, _SYSTEM_NAME = (*_LOCAL, 1, 0), (*_LOCAL, 2, 0), (*_LOCAL, 3, 0)
_ADDRESS = (*_MIB, 4, 2, 1, 3)
_PVID = (*_MIB, 5, 32962, 1, 3, 1, 1, 1)
_VLAN_NAME = (*_MIB, 5, 32962, 1, 3, 3, 1, 2)
_AGGREGATION = (*_MIB, 5, 4623, 1, 3, 3, 1, 2)
_IF_NAME = (1, 3, 6, 1, 2, 1, 31, 1, 1, 1, 1)


def _columns(table: Oid, first: int, last: int) -> tuple[Oid, Oid]:
    return (*table, first), (*table, last + 1)


#: The objects that tell of the agent's own system.
SYSTEM = (_CHASSIS_KIND, CHASSIS_ID, _SYSTEM_NAME)
#: What to walk, each from one object up to another: its ports, and whom it hears there ...
PORTS_AND_NEIGHBORS = (_columns(_LOCAL_PORT, 2, 4), _columns(_REMOTE, 4, 9))
#: ... and what else these announce.
EVIDENCE = tuple(
    _columns(column[:-1], column[-1], column[-1])
    for column in ((*_REMOTE, 12), _ADDRESS, _PVID, _VLAN_NAME, _AGGREGATION)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of an agent's own system; ``name`` is its interface's, as far as that is told."""

    port_id: LldpId
    description: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What one agent tells: its system, and by port number its ports and their neighbors.

    ``torn``: a neighbor is left out, as its row was not whole when it was read.
    """

    chassis_id: LldpId
    system_name: str
    ports: Mapping[int, Port]
    neighbors: Mapping[int, tuple[Neighbor, ...]]
    torn: bool = field(default=False, compare=False)


def nameless(rows: Mapping[Oid, bytes | int]) -> list[Oid]:
    """The objects to get besides: interface names of ports with neighbors, if no port id is one."""
    ports = _ports(rows)
    numbers = {index[1] for index in _column(rows, (*_REMOTE, 7), bytes) if len(index) == 3}
    return [
        (*_IF_NAME, number)
        for number in sorted(numbers)
        if number not in ports or ports[number].port_id.subtype != "ifname"
    ]


def read(rows: Mapping[Oid, bytes | int]) -> Tables:
    """What an agent's rows tell.

    A neighbor is known by its chassis id and port id. Where two rows of a port have the same ones,
    the one with the higher timeMark counts; a row that lacks any of them is torn.

    :param rows: what was served: integers, and octets
    :raises Unavailable: if there is no chassis id, as without an LLDP agent
    """
    chassis_id = _identifier(rows.get(_CHASSIS_KIND), rows.get(CHASSIS_ID), CHASSIS_SUBTYPES)
    if chassis_id is None:
        raise Unavailable("the LLDP-MIB has no chassis id")
    neighbors: dict[int, dict[tuple[LldpId, LldpId], Neighbor]] = {}
    torn = False
    for number, neighbor in _neighbors(rows):
        if neighbor:
            neighbors.setdefault(number, {})[neighbor.ids] = neighbor
        else:
            torn = True
    return Tables(
        chassis_id=chassis_id,
        system_name=_text(rows.get(_SYSTEM_NAME)),
        ports=_ports(rows),
        neighbors={
            number: tuple(sorted(found.values(), key=lambda neighbor: repr(neighbor.ids)))
            for number, found in neighbors.items()
        },
        torn=torn,
    )


def heard(
    uplinks: Mapping[str, Uplink], answers: Mapping[str, Tables | str], host_agent: str, host: str
) -> Heard:
    """What agents tell of these uplinks: whom the host's own hears there, and who hears them.

    A switch hears an uplink on a port where a neighbor's port id is the uplink's MAC, or is its
    name and the neighbor is this host. The chassis id is the same for all uplinks of a host.

    :param answers: tables, or a sentence why there are none, by the agent's address; every agent
        but ``host_agent`` is a switch's
    :param host: the system name that this host announces
    :raises Unavailable: if no agent answered
    """
    told = {agent: tables for agent, tables in answers.items() if isinstance(tables, Tables)}
    silent = list(dict.fromkeys(why for why in answers.values() if isinstance(why, str)))
    if not told:
        raise Unavailable("; ".join(silent) or "there is no SNMP agent to ask")
    own = told.pop(host_agent, None)
    hosts = {host, own.system_name if own else host} - {""}
    neighbors: dict[str, tuple[Neighbor, ...]] = {}
    deaf: dict[str, str] = {}
    for address, uplink in uplinks.items():
        found: list[Neighbor] = []
        unknown, unnamed = list(silent), []
        if own:
            numbers = [n for n, port in own.ports.items() if port.name == uplink.netdev]
            found += [neighbor for n in numbers for neighbor in own.neighbors.get(n, ())]
            if not numbers:
                unknown.append(f"snmpd at {host_agent}: its lldpd does not list {uplink.netdev}")
        for agent, tables in told.items():
            for number in _numbers_of(uplink, tables, hosts):
                if number in tables.ports:
                    found.append(_announced(tables, tables.ports[number]))
                else:
                    unnamed.append(
                        f"{agent} hears {uplink.netdev} on a port without name: {number}"
                    )
        if unnamed or (unknown and not found):
            deaf[address] = "; ".join([*unnamed, *unknown])
        else:
            neighbors[address] = tuple({n.ids: n for n in reversed(found)}.values())
    local = {(own.chassis_id, port.port_id) for port in own.ports.values()} if own else set()
    return Heard(neighbors=neighbors, deaf=deaf, local=frozenset(local))


def _numbers_of(uplink: Uplink, tables: Tables, hosts: set[str]) -> list[int]:
    """The switch's ports on which the uplink is heard."""
    by_mac, by_name = LldpId("mac", uplink.mac), LldpId("ifname", uplink.netdev)
    return [
        number
        for number, neighbors in tables.neighbors.items()
        for neighbor in neighbors
        if neighbor.port_id == by_mac
        or (neighbor.port_id == by_name and neighbor.system_name in hosts)
    ]


def _announced(tables: Tables, port: Port) -> Neighbor:
    """What a switch's port makes it to whom it hears there."""
    return Neighbor(
        chassis_id=tables.chassis_id,
        port_id=port.port_id,
        system_name=tables.system_name,
        port_description=port.description,
        ttl=None,
        source="snmp",
    )


def _ports(rows: Mapping[Oid, bytes | int]) -> dict[int, Port]:
    kinds = _column(rows, (*_LOCAL_PORT, 2), int)
    ids, descriptions = (_column(rows, (*_LOCAL_PORT, column), bytes) for column in (3, 4))
    names = _column(rows, _IF_NAME, bytes)
    found: dict[int, Port] = {}
    for index in sorted(ids.keys() | names.keys()):
        description, name = _text(descriptions.get(index)), _text(names.get(index))
        port_id = _identifier(kinds.get(index), ids.get(index), PORT_SUBTYPES)
        if port_id is None and name:
            port_id = LldpId("ifname", name)
        if port_id and len(index) == 1:
            name = port_id.value if port_id.subtype == "ifname" else name or description
            found[index[0]] = Port(port_id=port_id, description=description, name=name)
    return found


def _neighbors(rows: Mapping[Oid, bytes | int]) -> Iterator[tuple[int, Neighbor | None]]:
    """(port number, neighbor) pairs by ascending timeMark, with ``None`` for a torn row."""
    chassis_kinds, port_kinds, pvids, aggregations = (
        _column(rows, column, int) for column in ((*_REMOTE, 4), (*_REMOTE, 6), _PVID, _AGGREGATION)
    )
    chassis_ids, port_ids, descriptions, names, capabilities = (
        _column(rows, (*_REMOTE, column), bytes) for column in (5, 7, 8, 9, 12)
    )
    addresses: dict[Oid, list[str]] = {}
    for index in sorted(_column(rows, _ADDRESS, int)):
        if address := _address(index[3:4] + index[5:]):
            addresses.setdefault(index[:3], []).append(address)
    vlans: dict[Oid, list[tuple[int, str]]] = {}
    for index, name in sorted(_column(rows, _VLAN_NAME, bytes).items()):
        if len(index) == 4 and 0 < index[3] <= fields.MAX_VLAN:
            vlans.setdefault(index[:3], []).append((index[3], _text(name)))
    for index in sorted({*chassis_kinds, *chassis_ids, *port_kinds, *port_ids}):
        if len(index) != 3:
            continue
        chassis_id = _identifier(chassis_kinds.get(index), chassis_ids.get(index), CHASSIS_SUBTYPES)
        port_id = _identifier(port_kinds.get(index), port_ids.get(index), PORT_SUBTYPES)
        if chassis_id is None or port_id is None:
            yield index[1], None
            continue
        pvid = pvids.get(index, 0)
        neighbor = Neighbor(
            chassis_id=chassis_id,
            port_id=port_id,
            system_name=_text(names.get(index)),
            port_description=_text(descriptions.get(index)),
            management_addresses=tuple(addresses.get(index, ())),
            capabilities=_enabled(capabilities.get(index, b"")),
            vlans=tuple(vlans.get(index, ())),
            pvid=pvid if 0 < pvid <= fields.MAX_VLAN else 0,
            aggregation=max(aggregations.get(index, 0), 0),
            ttl=None,
            source="snmp",
        )
        yield index[1], neighbor


def _column(rows: Mapping[Oid, bytes | int], column: Oid, kind: type[T]) -> dict[Oid, T]:
    """The values of a column that are of the right type, by index."""
    size = len(column)
    return {
        oid[size:]: value
        for oid, value in rows.items()
        if oid[:size] == column and isinstance(value, kind)
    }


def _identifier(
    kind: bytes | int | None, octets: bytes | int | None, subtypes: dict[int, str]
) -> LldpId | None:
    if not isinstance(kind, int) or not isinstance(octets, bytes) or not octets:
        return None
    return identifier(kind, octets, subtypes)


def _address(index: Oid) -> str:
    """The address in an index, its IANA family in front, or ""."""
    return network_address(bytes(index)) if index and max(index) <= 255 else ""


def _enabled(octets: bytes) -> frozenset[str]:
    """Names of capabilities: BITS begin at the most significant one of the first octet."""
    bits = octets[0] if octets else 0
    return frozenset(name for bit, name in enumerate(CAPABILITIES) if bits << bit & 0x80)


def _text(octets: bytes | int | None) -> str:
    return text(octets) if isinstance(octets, bytes) else ""
