# SPDX-License-Identifier: Apache-2.0
"""A packet socket that hears LLDP frames of one network device, and who sent them.

Source: ``linux/if_packet.h``, ``linux/filter.h``; what each option is needed for was measured.
"""

import ctypes
import functools
import socket
import struct

from sriov_agent.core.model import Neighbor
from sriov_agent.exceptions import Unavailable
from sriov_agent.host.lldp.frame import read_frame

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING = 263, 1, 8, 23
_PACKET_MR_MULTICAST = 0
_SO_ATTACH_FILTER = 26
_TP_STATUS_VLAN_VALID = 0x10
_NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
_AUXDATA = struct.Struct("=IIIHHHH")
_FRAME_BYTES = 2048

#: Classic BPF: LLDP, or LLDP behind an 802.1Q tag.
_FILTER = (
    (0x28, 0, 0, 12),
    (0x15, 3, 0, 0x88CC),
    (0x15, 0, 3, 0x8100),
    (0x28, 0, 0, 16),
    (0x15, 0, 1, 0x88CC),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)

#: A switch sends the same frame over and over.
_read = functools.lru_cache(maxsize=256)(read_frame)


def open_packets(netdev: str, index: int) -> socket.socket:
    """A socket on which :func:`receive` reads; it never blocks.

    The device is neither set promiscuous nor changed in any way that outlives the socket.

    :raises Unavailable: without ``CAP_NET_RAW``, or if the device is gone
    """
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise Unavailable(f"{error.strerror}: it takes CAP_NET_RAW") from error
    try:
        program = b"".join(struct.pack("=HBBI", *instruction) for instruction in _FILTER)
        buffer = ctypes.create_string_buffer(program, len(program))
        packets.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HP", len(_FILTER), ctypes.addressof(buffer)),
        )
        packets.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        packets.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        membership = struct.pack(
            "=iHH8s", index, _PACKET_MR_MULTICAST, len(_NEAREST_BRIDGE), _NEAREST_BRIDGE
        )
        packets.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
        packets.bind((netdev, _ETH_P_ALL))
        packets.setblocking(False)
    except OSError as error:
        packets.close()
        raise Unavailable(str(error)) from error
    return packets


def receive(packets: socket.socket) -> Neighbor:
    """The neighbor that the next frame announces.

    :raises BlockingIOError: if no frame waits, as ``OSError`` if the device is down
    :raises InvalidField: if it is no LLDP frame
    """
    frame, ancillary, _, _ = packets.recvmsg(_FRAME_BYTES, socket.CMSG_SPACE(_AUXDATA.size))
    tagged = any(
        _AUXDATA.unpack_from(data)[0] & _TP_STATUS_VLAN_VALID
        for level, kind, data in ancillary
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA)
    )
    return _read(frame, tagged=tagged)
