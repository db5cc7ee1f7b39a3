# SPDX-License-Identifier: Apache-2.0
"""``sriov-lldp-discover --decode``: captured LLDP frames, explained.

Source of the file format: IETF draft-ietf-opsawg-pcap (classic pcap).
"""

import string
import struct
from pathlib import Path

from sriov_agent.core.model import Neighbor
from sriov_agent.exceptions import InvalidField, printable
from sriov_agent.host.lldp.frame import read_frame

#: By the magic number of microsecond and nanosecond files, in either byte order.
_PCAP_LENGTH = {
    bytes.fromhex("d4c3b2a1"): struct.Struct("<I"),
    bytes.fromhex("4d3cb2a1"): struct.Struct("<I"),
    bytes.fromhex("a1b2c3d4"): struct.Struct(">I"),
    bytes.fromhex("a1b23c4d"): struct.Struct(">I"),
}
_PCAPNG = bytes.fromhex("0a0d0d0a")
_PCAP_HEADER, _PCAP_RECORD = 24, 16


def decoded(file: str) -> str:
    """What each frame in a file says: hex digits of one frame, or a pcap file with several.

    :raises InvalidField: if there is no LLDP frame in it that can be read
    """
    try:
        frames = _frames(Path(file).read_bytes())
    except OSError as error:
        raise InvalidField("decode", file, error.strerror or "unreadable") from error
    if not frames:
        raise InvalidField("decode", file, "no frame in it")
    said: list[str] = []
    errors: list[InvalidField] = []
    for frame in frames:
        try:
            said.append(_explanation(read_frame(frame)))
        except InvalidField as error:
            errors.append(error)
    if not said:
        raise errors[0]
    if errors:
        said.append(f"{len(errors)} more frames, of which the first: {errors[0]}")
    return "\n\n".join(said)


def _frames(data: bytes) -> list[bytes]:
    """The frames of a pcap file, or the one that is written as hex digits."""
    if data.startswith(_PCAPNG):
        raise InvalidField("decode", "pcapng", "save it as pcap: editcap -F pcap FILE FILE.pcap")
    stored_length = _PCAP_LENGTH.get(data[:4])
    if stored_length is None:
        text = data.decode("ascii", "replace").translate({ord(c): None for c in string.whitespace})
        try:
            return [bytes.fromhex(text.replace(":", ""))] if text else []
        except ValueError as error:
            raise InvalidField("decode", printable(text, 40), "neither hex nor pcap") from error
    found, position = [], _PCAP_HEADER
    while position + _PCAP_RECORD <= len(data):
        (length,) = stored_length.unpack_from(data, position + 8)
        found.append(data[position + _PCAP_RECORD : position + _PCAP_RECORD + length])
        position += _PCAP_RECORD + length
    return found


def _explanation(neighbor: Neighbor) -> str:
    rows = (
        ("Source", neighbor.source_mac + (", tagged" if neighbor.tagged else "")),
        ("Chassis", f"{neighbor.chassis_id.subtype} {_shown(neighbor.chassis_id.value)}"),
        ("Port", f"{neighbor.port_id.subtype} {_shown(neighbor.port_id.value)}"),
        ("Descr", _shown(neighbor.port_description)),
        ("Name", _shown(neighbor.system_name)),
        ("TTL", f"{neighbor.ttl} s" + ("" if neighbor.ttl else ", going away")),
        ("Mgmt", ", ".join(map(_shown, neighbor.management_addresses))),
        ("Enabled", ", ".join(sorted(neighbor.capabilities))),
        ("VLANs", ", ".join(f"{vlan} {_shown(name)}".strip() for vlan, name in neighbor.vlans)),
        ("PVID", str(neighbor.pvid or "")),
        ("LAG", str(neighbor.aggregation or "")),
    )
    return "\n".join(f"{name:8}{value}" for name, value in rows if value)


def _shown(text: str) -> str:
    return printable(text)[1:-1]
