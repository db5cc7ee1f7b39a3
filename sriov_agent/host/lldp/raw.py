# SPDX-License-Identifier: Apache-2.0
"""LLDP neighbors heard on the PFs themselves, for hosts without lldpd.

Only this source sees who sent a frame, so only here is a frame from a local VF told from the
switch's. A frame comes every 30 s or so, and one that was forged may come first: what counts is
all that was heard in the whole time.
"""

import ctypes
import selectors
import socket
import struct
import time
from collections.abc import Callable, Mapping

from sriov_agent.core.lldp import cabling
from sriov_agent.core.model import Cabling, Neighbor, Pf
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.host.lldp.frame import read_frame

#: Longer than the 30 s between two frames of a switch.
LISTEN_SECONDS = 35.0

_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING = 263, 1, 8, 23
_PACKET_MR_MULTICAST = 0
_SO_ATTACH_FILTER = 26
_TP_STATUS_VLAN_VALID = 0x10
_NEAREST_BRIDGE = bytes.fromhex("0180c200000e")
_AUXDATA = struct.Struct("=IIIHHHH")
_FRAME_BYTES = 2048
_POLL_SECONDS = 1.0

#: Classic BPF: LLDP, or LLDP behind an 802.1Q tag. Source: ``linux/filter.h``.
_FILTER = (
    (0x28, 0, 0, 12),
    (0x15, 3, 0, 0x88CC),
    (0x15, 0, 3, 0x8100),
    (0x28, 0, 0, 16),
    (0x15, 0, 1, 0x88CC),
    (0x06, 0, 0, 0xFFFF),
    (0x06, 0, 0, 0),
)


class Raw:
    """Listens on PFs by ``AF_PACKET``; needs ``CAP_NET_RAW``.

    :param seconds: how long to listen
    :param progress: called about once a second with the seconds that are left
    """

    def __init__(
        self,
        seconds: float = LISTEN_SECONDS,
        progress: Callable[[float], None] = lambda left: None,
    ) -> None:
        self.seconds = seconds
        self.progress = progress

    def cabling(self, pfs: Mapping[str, Pf]) -> dict[str, Cabling]:
        """Where each PF is cabled, by PCI address, after listening on all of them at once.

        :raises Unavailable: if none can be listened on
        """
        heard = self._listen(pfs)
        macs = frozenset(
            mac
            for pf in pfs.values()
            for mac in (pf.mac, *(vf.settings.mac for vf in pf.vfs))
            if mac
        )
        return {
            address: cabling(address, neighbors, frozenset(), macs)
            if pfs[address].carrier
            else Cabling(reason=f"{pfs[address].netdev} has no carrier")
            for address, neighbors in heard.items()
        }

    def _listen(self, pfs: Mapping[str, Pf]) -> dict[str, list[Neighbor]]:
        heard: dict[str, list[Neighbor]] = {address: [] for address in pfs}
        with selectors.DefaultSelector() as selector:
            try:
                for address, pf in pfs.items():
                    selector.register(_open(pf.netdev), selectors.EVENT_READ, address)
                deadline = time.monotonic() + self.seconds
                while (left := deadline - time.monotonic()) > 0:
                    self.progress(left)
                    for key, _ in selector.select(min(left, _POLL_SECONDS)):
                        neighbor = _receive(key.fileobj)
                        if neighbor:
                            heard[key.data].append(neighbor)
            finally:
                for key in list(selector.get_map().values()):
                    _socket(key.fileobj).close()
        return heard


def _open(netdev: str) -> socket.socket:
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except OSError as error:
        raise Unavailable(f"cannot listen for LLDP frames: {error.strerror}") from error
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
            "=iHH8s",
            socket.if_nametoindex(netdev),
            _PACKET_MR_MULTICAST,
            len(_NEAREST_BRIDGE),
            _NEAREST_BRIDGE,
        )
        packets.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)
        packets.bind((netdev, _ETH_P_ALL))
        packets.setblocking(False)
    except OSError as error:
        packets.close()
        raise Unavailable(f"cannot listen on {netdev}: {error}") from error
    return packets


def _receive(file: object) -> Neighbor | None:
    try:
        frame, ancillary, _, _ = _socket(file).recvmsg(
            _FRAME_BYTES, socket.CMSG_SPACE(_AUXDATA.size)
        )
        tagged = any(
            _AUXDATA.unpack_from(data)[0] & _TP_STATUS_VLAN_VALID
            for level, kind, data in ancillary
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA)
        )
        return read_frame(frame, tagged=tagged)
    except (OSError, InvalidField):
        return None


def _socket(file: object) -> socket.socket:
    if not isinstance(file, socket.socket):
        raise TypeError(f"expected a socket, not {file!r}")
    return file
