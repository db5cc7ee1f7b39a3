# SPDX-License-Identifier: Apache-2.0
"""One LLDP frame: bytes in, data out.

Source: IEEE 802.1AB-2016, clauses 8.2 to 8.5 (LLDPDU and TLV formats).
"""

import struct
from collections.abc import Iterator

from sriov_agent.core import fields
from sriov_agent.core.model import LldpId, Neighbor
from sriov_agent.exceptions import InvalidField
from sriov_agent.host.lldp.identifier import (
    CAPABILITIES,
    CHASSIS_SUBTYPES,
    PORT_SUBTYPES,
    identifier,
    network_address,
    text,
)

ETHERTYPE_LLDP, _ETHERTYPE_VLAN = 0x88CC, 0x8100
_END, _CHASSIS_ID, _PORT_ID, _TTL = 0, 1, 2, 3
_PORT_DESCRIPTION, _SYSTEM_NAME, _CAPABILITIES, _MANAGEMENT_ADDRESS = 4, 5, 7, 8
_ORGANIZATION = 127
#: Organizationally specific TLVs, by OUI and subtype (IEEE 802.1Q annex D, 802.3 clause 79).
_PVID, _VLAN_NAME = bytes.fromhex("0080c201"), bytes.fromhex("0080c203")
_AGGREGATIONS = (bytes.fromhex("00120f03"), bytes.fromhex("0080c207"))
_AGGREGATED = 2


def read_frame(frame: bytes, *, tagged: bool = False) -> Neighbor:
    """The neighbor that an Ethernet frame announces.

    :param tagged: whether the NIC took an 802.1Q tag off it
    :raises InvalidField: if it is no LLDP frame, or is cut short
    """
    if len(frame) < 14:
        raise InvalidField("frame", frame.hex(), "shorter than an Ethernet header")
    (ethertype,) = struct.unpack_from("!H", frame, 12)
    start = 14
    if ethertype == _ETHERTYPE_VLAN and len(frame) >= 18:
        (ethertype,) = struct.unpack_from("!H", frame, 16)
        start, tagged = 18, True
    if ethertype != ETHERTYPE_LLDP:
        raise InvalidField("frame", f"ethertype {ethertype:#06x}", "no LLDP frame")
    tlvs = list(_tlvs(frame, start))
    if [kind for kind, _ in tlvs[:3]] != [_CHASSIS_ID, _PORT_ID, _TTL]:
        raise InvalidField("frame", frame.hex(), "it must begin with chassis id, port id and TTL")
    (_, chassis), (_, port), (_, ttl) = tlvs[:3]
    if len(ttl) < 2:
        raise InvalidField("ttl", ttl.hex(), "expected two octets")
    rest: dict[int, bytes] = {}
    specific: list[tuple[bytes, bytes]] = []
    for kind, value in tlvs[3:]:
        rest.setdefault(kind, value)
        if kind == _ORGANIZATION:
            specific.append((value[:4], value[4:]))
    return Neighbor(
        chassis_id=_identifier("chassis_id", chassis, CHASSIS_SUBTYPES),
        port_id=_identifier("port_id", port, PORT_SUBTYPES),
        system_name=text(rest.get(_SYSTEM_NAME, b"")),
        port_description=text(rest.get(_PORT_DESCRIPTION, b"")),
        management_addresses=tuple(
            address
            for kind, value in tlvs[3:]
            if kind == _MANAGEMENT_ADDRESS and (address := _management_address(value))
        ),
        capabilities=_capabilities(rest.get(_CAPABILITIES, b"")),
        vlans=tuple(
            vlan for kind, value in specific if kind == _VLAN_NAME for vlan in _vlan(value)
        ),
        pvid=next((_vlan_id(value) for kind, value in specific if kind == _PVID), 0),
        aggregation=next(
            (
                number
                for kind, v in specific
                if kind in _AGGREGATIONS and (number := _aggregation(v))
            ),
            0,
        ),
        ttl=int.from_bytes(ttl[:2], "big"),
        source="raw",
        source_mac=frame[6:12].hex(":"),
        tagged=tagged,
    )


def _tlvs(frame: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """(type, value) pairs up to the end TLV; what follows that is padding."""
    while position < len(frame):
        if position + 2 > len(frame):
            raise InvalidField("frame", frame.hex(), "cut short in the head of a TLV")
        (head,) = struct.unpack_from("!H", frame, position)
        kind, length = head >> 9, head & 0x1FF
        value = frame[position + 2 : position + 2 + length]
        if len(value) < length:
            raise InvalidField("frame", frame.hex(), f"cut short in the TLV of type {kind}")
        if kind == _END:
            return
        yield kind, value
        position += 2 + length


def _identifier(field: str, value: bytes, subtypes: dict[int, str]) -> LldpId:
    if len(value) < 2:
        raise InvalidField(field, value.hex(), "expected a subtype and a value")
    return identifier(value[0], value[1:], subtypes)


def _management_address(value: bytes) -> str:
    return network_address(value[1 : 1 + value[0]]) if value else ""


def _capabilities(value: bytes) -> frozenset[str]:
    if len(value) < 4:
        return frozenset()
    enabled = int.from_bytes(value[2:4], "big")
    return frozenset(name for bit, name in enumerate(CAPABILITIES) if enabled >> bit & 1)


def _vlan(value: bytes) -> Iterator[tuple[int, str]]:
    """A VLAN's id and name, if it has an id."""
    if len(value) >= 3 and _vlan_id(value):
        yield _vlan_id(value), text(value[3 : 3 + value[2]])


def _vlan_id(value: bytes) -> int:
    number = int.from_bytes(value[:2], "big")
    return number if number <= fields.MAX_VLAN else 0


def _aggregation(value: bytes) -> int:
    """The number of the port channel, 0 for a port that is in none."""
    if len(value) < 5 or not value[0] & _AGGREGATED:
        return 0
    return int.from_bytes(value[1:5], "big")
