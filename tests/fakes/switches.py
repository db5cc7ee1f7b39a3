# SPDX-License-Identifier: Apache-2.0
"""The leaf switches, behind a device manager that serves other hosts as well, and their LLDP."""

from collections.abc import Iterable, Mapping

from sriov_agent.core.lldp import cabled
from sriov_agent.core.model import (
    Cabling,
    Heard,
    Neighbor,
    Pf,
    Segment,
    SwitchPort,
)
from sriov_agent.exceptions import Refused, Unavailable
from sriov_agent.hook.base import Hook


class Fabric(Hook):
    """A hook.

    ``down``: nobody answers. ``dark``: switch ports that the device manager cannot read.
    ``forbidden``: VLANs that it does not open. ``deaf``: it says yes and opens nothing.
    ``mute``: it does what it is asked, and its answer is lost. ``left_behind``: links that it
    tells of by itself.
    """

    required = True
    networks = False

    def __init__(self) -> None:
        self.open: dict[SwitchPort, frozenset[Segment]] = {}
        self.down = False
        self.dark: set[SwitchPort] = set()
        self.forbidden: set[int] = set()
        self.deaf = False
        self.mute = False
        self.left_behind: set[SwitchPort] = set()
        self.applied: list[tuple[SwitchPort, frozenset[Segment]]] = []

    def read(self, switch_ports: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[Segment]]:
        asked = list(switch_ports)
        if self.down and asked:
            raise Unavailable("device manager: no answer")
        return {at: self.open.get(at, frozenset()) for at in asked if at not in self.dark}

    def apply(
        self, link: SwitchPort, wanted: Mapping[SwitchPort, frozenset[Segment]]
    ) -> frozenset[Segment]:
        if self.down or link in self.dark:
            raise Unavailable("device manager: no answer")
        refused = self.forbidden & {segment.vlan for segment in wanted[link]}
        if refused:
            raise Refused(f"VLAN {min(refused)} is not allowed here")
        if not self.deaf:
            self.applied.append((link, wanted[link]))
            self.open[link] = wanted[link]
        if self.mute:
            raise Unavailable("device manager: no answer")
        return self.open.get(link, frozenset())

    def owned(self) -> list[SwitchPort]:
        return list(self.left_behind)


class Lldp:
    """``sriov_agent.reconciler.Lldp``: what lldpd heard on each PF."""

    def __init__(self, heard: Mapping[str, Iterable[Neighbor]]) -> None:
        self.heard = {pf: list(neighbors) for pf, neighbors in heard.items()}
        self.down = False

    def cabling(self, pfs: Mapping[str, Pf], *, again: bool) -> dict[str, Cabling]:
        if self.down:
            raise Unavailable("lldpcli: 'unable to connect to socket'; is lldpd running?")
        uplinks = {uplink for pf in pfs.values() for uplink in pf.uplinks()}
        return cabled(uplinks, Heard(neighbors={pf: tuple(n) for pf, n in self.heard.items()}))
