# SPDX-License-Identifier: Apache-2.0
"""Netlink by hand: the least that setting VFs can cost, and who sees it when it is done."""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

from sriov_agent.host import rtnl

RTM_NEWLINK, RTM_GETLINK, RTM_SETLINK = 16, 18, 19
NLM_F_REQUEST, NLM_F_ACK = 1, 4
IFLA_VFINFO_LIST, IFLA_EXT_MASK = 22, 29
VF_WITHOUT_STATISTICS = 1 | 8
RTMGRP_LINK = 1
RECEIVE_BYTES = 1 << 18
#: how long a change may stay unnoticed of which the kernel does not tell
LOOK_AGAIN_SECONDS = 0.5

ZERO_MAC = "00:00:00:00:00:00"


@dataclass(frozen=True)
class Change:
    """What is set on a VF; ``None`` is left as it is."""

    vf: int
    mac: str
    vlan: int
    spoofchk: bool | None = None
    trust: bool | None = None
    max_tx_rate: int | None = None


def attribute(kind: int, payload: bytes) -> bytes:
    length = len(payload) + 4
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def vf_info(change: Change) -> bytes:
    vf = change.vf
    info = attribute(1, struct.pack("=I32s", vf, bytes.fromhex(change.mac.replace(":", ""))))
    info += attribute(2, struct.pack("=III", vf, change.vlan, 0))
    if change.spoofchk is not None:
        info += attribute(4, struct.pack("=II", vf, change.spoofchk))
    if change.trust is not None:
        info += attribute(9, struct.pack("=II", vf, change.trust))
    if change.max_tx_rate is not None:
        info += attribute(6, struct.pack("=III", vf, 0, change.max_tx_rate))
    return attribute(1, info)


def set_message(index: int, changes: Iterable[Change]) -> bytes:
    """One message that sets VFs of the PF with this interface index."""
    vfs = attribute(IFLA_VFINFO_LIST, b"".join(map(vf_info, changes)))
    return _message(RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, index, vfs)


def get_message(index: int) -> bytes:
    """One message that asks for a device with its VFs."""
    mask = attribute(IFLA_EXT_MASK, struct.pack("=I", VF_WITHOUT_STATISTICS))
    return _message(RTM_GETLINK, NLM_F_REQUEST, index, mask)


def _message(kind: int, flags: int, index: int, attributes: bytes) -> bytes:
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0) + attributes
    return struct.pack("=IHHII", len(body) + 16, kind, flags, 1, 0) + body


class Route:
    """A socket for what was packed by hand."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)

    def __enter__(self) -> "Route":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def do(self, message: bytes) -> None:
        """Send it and wait until the kernel has done it.

        :raises OSError: the kernel refused
        """
        self._socket.send(message)
        answer = self._socket.recv(RECEIVE_BYTES)
        if code := struct.unpack_from("=i", answer, 16)[0]:
            raise OSError(-code, os.strerror(-code))

    def link(self, index: int) -> rtnl.Link:
        """A device as it is now."""
        self._socket.send(get_message(index))
        answer = self._socket.recv(RECEIVE_BYTES)
        if struct.unpack_from("=H", answer, 4)[0] != RTM_NEWLINK:
            raise OSError(errno.ENODEV, f"no device has the index {index}")
        return rtnl.read_link(answer[: struct.unpack_from("=I", answer)[0]])


class Watch:
    """Waits, from before something happens, until VFs are as they should be.

    The time that counts is when the kernel told of the change, so that looking is not measured.

    :param indices: the PFs that are looked at
    """

    def __init__(self, indices: Iterable[int]) -> None:
        self._indices = frozenset(indices)
        self._route = Route()
        self._news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._news.bind((0, RTMGRP_LINK))
        self._news.setblocking(False)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *raised: object) -> None:
        self._news.close()
        self._route.__exit__(None, None, None)

    def until(self, holds: Callable[[rtnl.Link], bool], timeout: float) -> float:
        """When one of the PFs became so, in seconds of ``time.perf_counter``.

        :raises TimeoutError: none did
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            told = select.select([self._news], [], [], LOOK_AGAIN_SECONDS)[0]
            now = time.perf_counter()
            changed = self._changed() if told else self._indices
            if any(holds(self._route.link(index)) for index in sorted(changed)):
                return now
        raise TimeoutError(f"not seen in {timeout:g} s")

    def _changed(self) -> frozenset[int]:
        found: set[int] = set()
        try:
            while True:
                for _, _, message in rtnl.messages(self._news.recv(RECEIVE_BYTES)):
                    found.add(struct.unpack_from("=i", message, 20)[0])
        except BlockingIOError:
            return self._indices & found
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return self._indices
