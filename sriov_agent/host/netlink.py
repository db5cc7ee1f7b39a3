# SPDX-License-Identifier: Apache-2.0
"""rtnetlink: one dump reads the VFs of every PF, one message sets all VFs of a PF."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType

from pyroute2 import IPRoute, NetlinkError

from sriov_agent.core.model import VfSettings
from sriov_agent.exceptions import Refused, SriovAgentError, Unavailable, Unsupported
from sriov_agent.host import rtnl
from sriov_agent.host.links import links

#: VFs in one message: a VF's settings take at most 120 bytes of the list's 65,535.
BATCH = 256

Changes = Iterable[tuple[int, VfSettings]]


class Netlink:
    """The kernel's network devices of this process's network namespace."""

    def __init__(self) -> None:
        self._socket: IPRoute | None = None

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

    def set_vfs(self, link: rtnl.Link, changes: Changes) -> dict[tuple[int, str], SriovAgentError]:
        """Set what changes on the VFs of one PF, in one message for each 256 VFs.

        The kernel stops at the first setting it refuses, so a refused message is taken apart
        until the setting is found; everything else is set.

        :return: what was refused, by (VF index, setting)
        """
        refused: dict[tuple[int, str], SriovAgentError] = {}
        for batch in _batches(list(changes)):
            if self._set(link, batch) is None:
                continue
            for index, change in batch:
                if len(batch) > 1 and self._set(link, [(index, change)]) is None:
                    continue
                for part in _parts(change):
                    refused.update(self._set_part(link, index, part))
        return refused

    def _set_part(
        self, link: rtnl.Link, index: int, part: VfSettings
    ) -> Mapping[tuple[int, str], SriovAgentError]:
        error = self._set(link, [(index, part)])
        if error is None:
            return {}
        refusals = {name: _refusal(link, index, name, error) for name in part.items()}
        if part.min_tx_rate and self._set(link, [(index, part.without(["min_tx_rate"]))]) is None:
            del refusals["max_tx_rate"]
            refusals["min_tx_rate"] = Unsupported(
                f"VF {index} of {link.name}: the driver takes no min_tx_rate ({_code(error)})"
            )
        return {(index, name): refusal for name, refusal in refusals.items()}

    def _set(self, link: rtnl.Link, changes: Changes) -> NetlinkError | None:
        try:
            self._open().link("set", index=link.index, vf=[_vf_info(*item) for item in changes])
        except NetlinkError as error:
            return error
        except OSError as error:
            self.close()
            raise Unavailable(f"RTM_SETLINK on {link.name} failed: {error}") from error
        return None

    def _open(self) -> IPRoute:
        if self._socket is None:
            self._socket = IPRoute()
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


def _vf_info(index: int, change: VfSettings) -> dict[str, object]:
    info: dict[str, object] = {"vf": index}
    if change.mac is not None:
        info["mac"] = change.mac
    if change.vlan is not None or change.qos is not None:
        info["vlan"] = {"vlan": change.vlan or 0, "qos": change.qos or 0}
    if change.spoofchk is not None:
        info["spoofchk"] = int(change.spoofchk)
    if change.trust is not None:
        info["trust"] = int(change.trust)
    if change.link_state is not None:
        info["link_state"] = rtnl.LINK_STATES.index(change.link_state)
    if change.min_tx_rate is not None or change.max_tx_rate is not None:
        info["rate"] = {
            "min_tx_rate": change.min_tx_rate or 0,
            "max_tx_rate": change.max_tx_rate or 0,
        }
    return info


def _refusal(link: rtnl.Link, index: int, name: str, error: NetlinkError) -> SriovAgentError:
    kind = Unsupported if error.code == errno.EOPNOTSUPP else Refused
    return kind(f"VF {index} of {link.name}: the kernel refused {name} ({_code(error)})")


def _code(error: NetlinkError) -> str:
    return f"{errno.errorcode.get(error.code, error.code)}: {os.strerror(error.code)}"
