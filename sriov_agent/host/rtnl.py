# SPDX-License-Identifier: Apache-2.0
"""VFs of a PF in rtnetlink's messages: data into ``RTM_SETLINK``, and out of ``RTM_NEWLINK``.

The list attribute ``IFLA_VFINFO_LIST`` has a 16-bit length, which wraps on a PF with more VFs
than 64 KiB can hold; ``ip link`` then shows a "Truncated VF list". The entries are all in the
message, each with a true length, so this reader counts them up to ``IFLA_NUM_VF`` instead of
believing the list's length. Source: ``include/uapi/linux/if_link.h``, ``net/core/rtnetlink.c``.
"""

import binascii
import functools
import struct
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from sriov_agent.core.model import LinkState, VfSettings
from sriov_agent.exceptions import Unavailable

NLMSG_ERROR, NLMSG_DONE = 2, 3
_NLMSG_HEADER = struct.Struct("=IHHII")
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP_INTR, _NLM_F_DUMP = 0x1, 0x4, 0x10, 0x300
_RTM_GETLINK, _RTM_SETLINK = 18, 19
_RTEXT_FILTER_VF, _RTEXT_FILTER_SKIP_STATS = 1, 8
_IFINFOMSG = struct.Struct("=BxHiII")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF

_IFF_UP, _IFF_LOWER_UP = 1, 1 << 16
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MASTER, _IFLA_LINKINFO = 1, 3, 10, 18
_IFLA_INFO_KIND = 1
_IFLA_NUM_VF, _IFLA_VFINFO_LIST, _IFLA_EXT_MASK = 21, 22, 29
_IFLA_CARRIER_CHANGES, _IFLA_PERM_ADDRESS = 35, 54
_READ = frozenset(
    {
        _IFLA_ADDRESS,
        _IFLA_IFNAME,
        _IFLA_MASTER,
        _IFLA_LINKINFO,
        _IFLA_NUM_VF,
        _IFLA_CARRIER_CHANGES,
        _IFLA_PERM_ADDRESS,
    }
)
_WITH_VFS = struct.pack("=HHI", 8, _IFLA_EXT_MASK, _RTEXT_FILTER_VF | _RTEXT_FILTER_SKIP_STATS)
_IFLA_VF_INFO = 1
#: ``ifla_vf_mac``; a VF's number and one value; its number and two.
_MAC, _ONE, _PAIR = struct.Struct("=HHI32s"), struct.Struct("=HHII"), struct.Struct("=HHIII")
_VF_MAC, _VF_VLAN, _VF_SPOOFCHK, _VF_LINK_STATE, _VF_RATE, _VF_TRUST = 1, 2, 4, 5, 6, 9

#: ``IFLA_VF_LINK_STATE_*`` by value.
LINK_STATES = (LinkState.AUTO, LinkState.ENABLE, LinkState.DISABLE)
_NOT_KNOWN = 0xFFFFFFFF
#: Of how many VFs it is remembered what they were read as.
_REMEMBERED = 4096


class Link(Struct, frozen=True, kw_only=True):
    """One network device. ``vfs`` holds the settings by VF index, ``num_vfs`` how many exist.

    ``mac`` is the permanent one, ``master`` the index of the bond or bridge it is a port of, 0
    for none; ``kind`` is what iproute2 calls ``type``, "" for hardware. ``carrier_changes`` counts
    how often the link came or went.
    """

    index: int
    name: str
    mac: str
    up: bool = True
    carrier: bool
    carrier_changes: int = 0
    master: int = 0
    kind: str = ""
    num_vfs: int = 0
    vfs: tuple[VfSettings, ...] = ()

    def all_vfs(self) -> tuple[VfSettings, ...]:
        """Every VF's settings.

        :raises Unavailable: if the kernel listed fewer than there are
        """
        if len(self.vfs) != self.num_vfs:
            raise Unavailable(
                f"{self.name}: the kernel listed {len(self.vfs)} of {self.num_vfs} VFs"
            )
        return self.vfs


def dump_request() -> bytes:
    """A request to dump every link with its VFs, without their statistics.

    With statistics a VF takes three times the room, of which a netlink attribute has 64 KiB.
    """
    return _get_request(_NLM_F_REQUEST | _NLM_F_DUMP, 1, _WITH_VFS)


def get_request(name: str, sequence: int) -> bytes:
    """A request for one link, with its VFs as :func:`dump_request` asks for them."""
    octets = name.encode() + b"\0"
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(octets), _IFLA_IFNAME)
    return _get_request(
        _NLM_F_REQUEST, sequence, _WITH_VFS + head + octets + bytes(-len(octets) % 4)
    )


def _get_request(flags: int, sequence: int, attributes: bytes) -> bytes:
    length = _NLMSG_HEADER.size + _IFINFOMSG.size + len(attributes)
    header = _NLMSG_HEADER.pack(length, _RTM_GETLINK, flags, sequence, 0)
    return header + _IFINFOMSG.pack(0, 0, 0, 0, 0) + attributes


def set_request(index: int, changes: Iterable[tuple[int, VfSettings]], sequence: int) -> bytes:
    """A request to set what changes on VFs of the device with this interface index.

    What the kernel takes as one attribute is sent whole: 0 for the partner that is not asked.
    """
    vfs = b"".join([_vf_info(vf, change) for vf, change in changes])
    body = _IFINFOMSG.pack(0, 0, index, 0, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(vfs), _IFLA_VFINFO_LIST) + vfs
    length = _NLMSG_HEADER.size + len(body)
    flags = _NLM_F_REQUEST | _NLM_F_ACK
    return _NLMSG_HEADER.pack(length, _RTM_SETLINK, flags, sequence, 0) + body


def _vf_info(vf: int, change: VfSettings) -> bytes:
    """One ``IFLA_VF_INFO``; the length of an attribute is that of its payload and 4."""
    info = b""
    if change.mac is not None:
        info = _MAC.pack(40, _VF_MAC, vf, binascii.unhexlify(change.mac.replace(":", "")))
    if change.vlan is not None or change.qos is not None:
        info += _PAIR.pack(16, _VF_VLAN, vf, change.vlan or 0, change.qos or 0)
    if change.spoofchk is not None:
        info += _ONE.pack(12, _VF_SPOOFCHK, vf, change.spoofchk)
    if change.trust is not None:
        info += _ONE.pack(12, _VF_TRUST, vf, change.trust)
    if change.link_state is not None:
        info += _ONE.pack(12, _VF_LINK_STATE, vf, LINK_STATES.index(change.link_state))
    if change.min_tx_rate is not None or change.max_tx_rate is not None:
        info += _PAIR.pack(16, _VF_RATE, vf, change.min_tx_rate or 0, change.max_tx_rate or 0)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(info), _IFLA_VF_INFO) + info


def sequence_of(message: bytes) -> int:
    """The number of the request that a message answers."""
    _, _, _, sequence, _ = _NLMSG_HEADER.unpack_from(message)
    return int(sequence)


def messages(data: bytes) -> Iterator[tuple[int, bool, bytes]]:
    """The netlink messages in one datagram: (type, whether the dump was interrupted, message)."""
    position = 0
    while position + _NLMSG_HEADER.size <= len(data):
        length, kind, flags, _, _ = _NLMSG_HEADER.unpack_from(data, position)
        if length < _NLMSG_HEADER.size:
            return
        yield kind, bool(flags & _NLM_F_DUMP_INTR), data[position : position + length]
        position += _aligned(length)


def error_code(message: bytes) -> int:
    """The errno of an ``NLMSG_ERROR`` message, positive."""
    (code,) = struct.unpack_from("=i", message, _NLMSG_HEADER.size)
    return -int(code)


def read_link(message: bytes) -> Link:
    """Decode one ``RTM_NEWLINK`` message, netlink header included.

    :raises Unavailable: if it is cut short
    """
    try:
        (whole,) = struct.unpack_from("=I", message)
        if whole != len(message):
            raise Unavailable(f"RTM_NEWLINK message cut short: {len(message)} of {whole} bytes")
        _, _, index, flags, _ = _IFINFOMSG.unpack_from(message, _NLMSG_HEADER.size)
        found: dict[int, bytes] = {}
        vfs: tuple[VfSettings, ...] = ()
        position = _NLMSG_HEADER.size + _IFINFOMSG.size
        while position + _ATTRIBUTE.size <= len(message):
            length, kind = _ATTRIBUTE.unpack_from(message, position)
            kind &= _TYPE_MASK
            if kind == _IFLA_VFINFO_LIST:
                vfs, position = _vf_list(message, position + 4, _number(found, _IFLA_NUM_VF))
                continue
            if kind in _READ:
                found[kind] = message[position + 4 : position + length]
            if length < _ATTRIBUTE.size:
                break
            position += _aligned(length)
        return Link(
            index=index,
            name=found.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode("utf-8", "replace"),
            mac=_mac(found.get(_IFLA_PERM_ADDRESS) or found.get(_IFLA_ADDRESS, b"")),
            up=bool(flags & _IFF_UP),
            carrier=bool(flags & _IFF_LOWER_UP),
            carrier_changes=_number(found, _IFLA_CARRIER_CHANGES),
            master=_number(found, _IFLA_MASTER),
            kind=_info_kind(found.get(_IFLA_LINKINFO, b"")),
            num_vfs=_number(found, _IFLA_NUM_VF),
            vfs=vfs,
        )
    except (struct.error, IndexError) as error:
        raise Unavailable(f"unreadable RTM_NEWLINK message: {error}") from error


def _number(found: Mapping[int, bytes], kind: int) -> int:
    """An attribute of 32 bits, 0 where there is none."""
    (number,) = struct.unpack("=I", found.get(kind, bytes(4)))
    return int(number)


def _info_kind(linkinfo: bytes) -> str:
    for kind, at in _attributes(linkinfo, 0, len(linkinfo)):
        if kind == _IFLA_INFO_KIND:
            return linkinfo[at:].partition(b"\0")[0].decode("ascii", "replace")
    return ""


def _vf_list(message: bytes, position: int, count: int) -> tuple[tuple[VfSettings, ...], int]:
    vfs: list[VfSettings] = []
    while len(vfs) < count and position + _ATTRIBUTE.size <= len(message):
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        fits = _ATTRIBUTE.size <= length <= len(message) - position
        if kind & _TYPE_MASK != _IFLA_VF_INFO or not fits:
            break
        vfs.append(_vf(message[position + 4 : position + length]))
        position += _aligned(length)
    return tuple(vfs), position


@functools.lru_cache(maxsize=_REMEMBERED)
def _vf(info: bytes) -> VfSettings:
    """One ``IFLA_VF_INFO``; most are as they were when they were read last."""
    seen: dict[str, object] = {}
    for kind, at in _attributes(info, 0, len(info)):
        if kind == _VF_MAC:
            seen["mac"] = _mac(info[at + 4 : at + 10])
        elif kind == _VF_VLAN:
            _, seen["vlan"], seen["qos"] = struct.unpack_from("=III", info, at)
        elif kind == _VF_RATE:
            _, seen["min_tx_rate"], seen["max_tx_rate"] = struct.unpack_from("=III", info, at)
        elif kind in (_VF_SPOOFCHK, _VF_TRUST, _VF_LINK_STATE):
            _, value = struct.unpack_from("=II", info, at)
            if kind == _VF_LINK_STATE:
                seen["link_state"] = LINK_STATES[value]
            elif value != _NOT_KNOWN:
                seen["spoofchk" if kind == _VF_SPOOFCHK else "trust"] = bool(value)
    return VfSettings(**seen)  # type: ignore[arg-type]


def _attributes(message: bytes, position: int, end: int) -> Iterator[tuple[int, int]]:
    while position + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(message, position)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, position + 4
        position += _aligned(length)


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _mac(octets: bytes) -> str:
    return octets.hex(":")
