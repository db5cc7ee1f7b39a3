# SPDX-License-Identifier: Apache-2.0
"""``RTM_NEWLINK`` messages as the kernel writes them (``rtnl_fill_ifinfo``)."""

import struct
from collections.abc import Sequence

from sriov_agent.core.model import LinkState, VfSettings

RTM_NEWLINK = 16
LINK_STATES = [LinkState.AUTO, LinkState.ENABLE, LinkState.DISABLE]
NOT_KNOWN = 0xFFFFFFFF


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute. Its length wraps where it does not fit, as ``nla_nest_end`` lets it."""
    head = struct.pack("=HH", (4 + len(payload)) & 0xFFFF, kind)
    return head + payload + bytes(-len(payload) % 4)


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


def vf_info(index: int, settings: VfSettings) -> bytes:
    """What every driver fills in, with a VF's broadcast address and RSS query besides."""
    flags = {
        4: NOT_KNOWN if settings.spoofchk is None else int(settings.spoofchk),
        5: LINK_STATES.index(settings.link_state or LinkState.AUTO),
        7: NOT_KNOWN,
        9: NOT_KNOWN if settings.trust is None else int(settings.trust),
    }
    octets = bytes.fromhex((settings.mac or "").replace(":", "")).ljust(32, b"\0")
    vlan, qos = settings.vlan or 0, settings.qos or 0
    low, high = settings.min_tx_rate or 0, settings.max_tx_rate or 0
    body = attribute(1, struct.pack("=I", index) + octets)
    body += attribute(13, b"\xff" * 6 + bytes(26))
    body += attribute(2, struct.pack("=III", index, vlan, qos))
    body += attribute(6, struct.pack("=III", index, low, high))
    body += attribute(3, struct.pack("=II", index, high))
    for kind, value in flags.items():
        body += attribute(kind, struct.pack("=II", index, value))
    body += attribute(12, attribute(1, struct.pack("=IIIH", index, vlan, qos, 0x8100)))
    return attribute(1, body)


def newlink(
    name: str = "ens1",
    mac: str = "52:54:00:aa:00:01",
    vfs: Sequence[VfSettings] = (),
    *,
    index: int = 3,
    flags: int = 0x11043,
    num_vf: int | None = None,
    permanent: str = "",
    master: int = 0,
    kind: str = "",
) -> bytes:
    """A device; ``num_vf`` where it is not the number of ``vfs``."""
    body = struct.pack("=BxHiII", 0, 1, index, flags, 0)
    body += attribute(3, name.encode() + b"\0")
    body += attribute(1, bytes.fromhex(mac.replace(":", "")))
    count = len(vfs) if num_vf is None else num_vf
    if count:
        body += attribute(21, struct.pack("=I", count))
        body += attribute(22, b"".join(vf_info(index, vf) for index, vf in enumerate(vfs)))
    if master:
        body += attribute(10, struct.pack("=I", master))
    if kind:
        body += attribute(18, attribute(1, kind.encode() + b"\0") + attribute(0x8002, b""))
    if permanent:
        body += attribute(54, bytes.fromhex(permanent.replace(":", "")))
    body += attribute(0x8000 | 26, attribute(2, struct.pack("=I", 7)))
    return message(RTM_NEWLINK, body)
