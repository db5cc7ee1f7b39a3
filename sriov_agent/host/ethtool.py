# SPDX-License-Identifier: Apache-2.0
"""A network device's private flags, by the ``SIOCETHTOOL`` ioctl.

Source: ``include/uapi/linux/ethtool.h``.
"""

import array
import fcntl
import socket
import struct
from collections.abc import Callable

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GPFLAGS, _GSSET_INFO = 0x1B, 0x27, 0x37
_ETH_SS_PRIV_FLAGS = 2
_STRING_BYTES = 32


def _ioctl(netdev: str, request: bytes) -> bytes:
    """What the driver makes of a request, which is as long as it.

    :raises OSError: if there is no such device, or its driver does not do that
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        buffer = array.array("B", request)
        address, _ = buffer.buffer_info()
        ifreq = struct.pack("16sP", netdev.encode(), address)
        fcntl.ioctl(any_socket, _SIOCETHTOOL, ifreq)
        return buffer.tobytes()


def private_flags(netdev: str, ask: Callable[[str, bytes], bytes] = _ioctl) -> dict[str, bool]:
    """The device's private flags by name; none where its driver has none, or cannot be asked."""
    try:
        request = struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _ETH_SS_PRIV_FLAGS, 0)
        _, _, known, count = struct.unpack("=IIQI", ask(netdev, request))
        if not known or not count:
            return {}
        head = struct.pack("=III", _GSTRINGS, _ETH_SS_PRIV_FLAGS, count)
        names = ask(netdev, head + bytes(count * _STRING_BYTES))[len(head) :]
        _, bits = struct.unpack("=II", ask(netdev, struct.pack("=II", _GPFLAGS, 0)))
    except OSError:
        return {}
    listed = (names[i * _STRING_BYTES :][:_STRING_BYTES] for i in range(count))
    return {
        name.partition(b"\0")[0].decode("ascii", "replace"): bool(bits >> bit & 1)
        for bit, name in enumerate(listed)
    }
