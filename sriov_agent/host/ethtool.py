# SPDX-License-Identifier: Apache-2.0
"""A network device's private flags, by the ``SIOCETHTOOL`` ioctl, and what they say of LLDP.

Source: ``include/uapi/linux/ethtool.h``; the flags: ``i40e_ethtool.c``, ``ice_ethtool.c``.
"""

import ctypes
import fcntl
import socket
import struct
from collections.abc import Mapping

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GPFLAGS, _GSSET_INFO = 0x1B, 0x27, 0x37
_ETH_SS_PRIV_FLAGS = 2
_STRING_BYTES = 32

#: driver -> (private flag, the value with which the firmware leaves LLDP frames alone)
_LLDP_FLAGS = {"i40e": ("disable-fw-lldp", True), "ice": ("fw-lldp-agent", False)}


def private_flags(netdev: str) -> dict[str, bool]:
    """The device's private flags by name; none where its driver has none, or cannot be asked."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:

            def ask(request: bytes) -> bytes:
                buffer = ctypes.create_string_buffer(request, len(request))
                ifreq = struct.pack("16sP", netdev.encode(), ctypes.addressof(buffer))
                fcntl.ioctl(any_socket, _SIOCETHTOOL, ifreq)
                return buffer.raw

            answer = ask(struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _ETH_SS_PRIV_FLAGS, 0))
            _, _, known, count = struct.unpack("=IIQI", answer)
            if not known or not count:
                return {}
            head = struct.pack("=III", _GSTRINGS, _ETH_SS_PRIV_FLAGS, count)
            names = ask(head + bytes(count * _STRING_BYTES))[len(head) :]
            _, bits = struct.unpack("=II", ask(struct.pack("=II", _GPFLAGS, 0)))
    except OSError:
        return {}
    listed = (names[i * _STRING_BYTES :][:_STRING_BYTES] for i in range(count))
    return {
        name.partition(b"\0")[0].decode("ascii", "replace"): bool(bits >> bit & 1)
        for bit, name in enumerate(listed)
    }


def watched(driver: str) -> bool:
    """Whether the driver's NICs have an LLDP agent of their own in firmware."""
    return driver in _LLDP_FLAGS


def lldp_remedy(netdev: str, driver: str, flags: Mapping[str, bool]) -> str:
    """The command that has the firmware leave LLDP frames to the host, "" where it does.

    The command is only told, never run: DCB may depend on the firmware's agent, and the setting
    outlives a reboot.
    """
    flag, wanted = _LLDP_FLAGS.get(driver, ("", False))
    if flags.get(flag, wanted) == wanted:
        return ""
    return f"ethtool --set-priv-flags {netdev} {flag} {'on' if wanted else 'off'}"
