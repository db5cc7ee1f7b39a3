# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: one dump reads the VFs of every PF, one message those of one, or sets them all.

The messages are the agent's own: a library takes ten times as long to write one as the kernel
to carry it out, and reads a wrapped list wrong.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType

from sriov_agent.core.model import VfSettings
from sriov_agent.exceptions import Refused, SriovAgentError, Unavailable, Unsupported
from sriov_agent.host import rtnl
from sriov_agent.host.links import links

#: VFs in one message: a VF's settings take at most 120 bytes of the list's 65,535.
BATCH = 256

_RECEIVE_BYTES = 1 << 20
_SEQUENCES = 2**31
#: A driver that talks to its NIC's firmware for each VF takes long for many.
_ANSWER_SECONDS = 60

Changes = Iterable[tuple[int, VfSettings]]


class Netlink:
    """The kernel's network devices of this process's network namespace."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._sequence = 0
        self._received = memoryview(bytearray(_RECEIVE_BYTES))

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; the next call opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def links(self) -> dict[str, rtnl.Link]:
        """Every device by name, with its VFs, from one dump without statistics.

        :raises Unavailable: if the kernel could not be asked
        """
        return links()

    def link(self, name: str) -> rtnl.Link | None:
        """One device with its VFs; ``None`` if there is none of this name.

        :raises Unavailable: if the kernel could not be asked
        """
        try:
            kind, message = self._answer(rtnl.get_request(name, self._next()))
        except OSError as error:
            self.close()
            raise Unavailable(f"RTM_GETLINK of {name} failed: {error}") from error
        if kind != rtnl.NLMSG_ERROR:
            return rtnl.read_link(message)
        code = rtnl.error_code(message)
        if code == errno.ENODEV:
            return None
        raise Unavailable(f"RTM_GETLINK of {name} failed: {_code(code)}")

    def set_vfs(self, link: rtnl.Link, changes: Changes) -> dict[tuple[int, str], SriovAgentError]:
        """Set what changes on the VFs of one PF, in one message for each 256 VFs.

        The kernel stops at the first setting it refuses, so a refused message is taken apart
        until the setting is found; everything else is set.

        :return: what was refused, by (VF index, setting)
        """
        refused: dict[tuple[int, str], SriovAgentError] = {}
        for batch in _batches(list(changes)):
            if not self._set(link, batch):
                continue
            for index, change in batch:
                if len(batch) > 1 and not self._set(link, [(index, change)]):
                    continue
                for part in _parts(change):
                    refused.update(self._set_part(link, index, part))
        return refused

    def _set_part(
        self, link: rtnl.Link, index: int, part: VfSettings
    ) -> Mapping[tuple[int, str], SriovAgentError]:
        error = self._set(link, [(index, part)])
        if not error:
            return {}
        refusals = {name: _refusal(link, index, name, error) for name in part.items()}
        if part.min_tx_rate and not self._set(link, [(index, part.without(["min_tx_rate"]))]):
            del refusals["max_tx_rate"]
            refusals["min_tx_rate"] = Unsupported(
                f"VF {index} of {link.name}: the driver takes no min_tx_rate ({_code(error)})"
            )
        return {(index, name): refusal for name, refusal in refusals.items()}

    def _set(self, link: rtnl.Link, changes: Changes) -> int:
        """The errno of the refusal, 0 for none."""
        try:
            _, message = self._answer(rtnl.set_request(link.index, changes, self._next()))
            return rtnl.error_code(message)
        except OSError as error:
            self.close()
            raise Unavailable(f"RTM_SETLINK on {link.name} failed: {error}") from error

    def _next(self) -> int:
        """The number of the next request."""
        self._sequence = self._sequence % _SEQUENCES + 1
        return self._sequence

    def _answer(self, request: bytes) -> tuple[int, bytes]:
        """The one message that answers the request with the last number, and its type.

        :raises OSError: if there is none
        """
        route = self._open()
        route.send(request)
        while True:
            received = bytes(self._received[: route.recv_into(self._received)])
            for kind, _, message in rtnl.messages(received):
                if rtnl.sequence_of(message) == self._sequence:
                    return kind, message

    def _open(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
            # With a timeout of Python's, each call would be two.
            timeout = struct.pack("@ll", _ANSWER_SECONDS, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        return self._socket


def _batches(changes: list[tuple[int, VfSettings]]) -> Iterator[list[tuple[int, VfSettings]]]:
    for start in range(0, len(changes), BATCH):
        yield changes[start : start + BATCH]


def _parts(change: VfSettings) -> Iterator[VfSettings]:
    """One for each attribute of the kernel's: VLAN and QoS are one, both rates are one."""
    for names in (
        ("mac",),
        ("vlan", "qos"),
        ("spoofchk",),
        ("trust",),
        ("link_state",),
        ("min_tx_rate", "max_tx_rate"),
    ):
        part = VfSettings(**{name: getattr(change, name) for name in names})
        if part.items():
            yield part


def _refusal(link: rtnl.Link, index: int, name: str, error: int) -> SriovAgentError:
    kind = Unsupported if error == errno.EOPNOTSUPP else Refused
    return kind(f"VF {index} of {link.name}: the kernel refused {name} ({_code(error)})")


def _code(error: int) -> str:
    return f"{errno.errorcode.get(error, error)}: {os.strerror(error)}"
