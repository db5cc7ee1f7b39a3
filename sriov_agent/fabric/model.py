# SPDX-License-Identifier: Apache-2.0
"""What hosts want of switches, and what switches carry: plain frozen data, no I/O.

A port is a switch's interface by the name that the switch has for it. Where a mapping lacks a
port that is unknown; an empty set is a fact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sriov_agent.core.fields import MAX_VLAN
from sriov_agent.core.model import LldpId

Vlans = frozenset[int]

#: What may be asked for at all: VLAN 1 is every switch's default (IEEE 802.1Q 9.6).
MANAGED_VLANS = frozenset(range(2, MAX_VLAN + 1))


@dataclass(frozen=True, slots=True, order=True)
class Link:
    """A PF of a host on a switch port, as LLDP names that: who wants something."""

    host: str
    pf: str
    chassis_id: LldpId
    port_id: LldpId


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """All the VLANs that a host wants on a link; an empty set once it wants none.

    ``system_name`` and ``port_description`` are what else LLDP said. Of two wants of one link the
    later is that with the greater ``(epoch, sequence)``. ``heard`` is when it was last told, in
    seconds since 1970.
    """

    link: Link
    vlans: Vlans
    epoch: int
    sequence: int
    system_name: str = ""
    port_description: str = ""
    heard: float = field(default=0.0, compare=False)

    @property
    def age(self) -> tuple[int, int]:
        """What makes it later than another."""
        return self.epoch, self.sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class PortVlans:
    """What a switch port carries, as it was read.

    ``trunk``: it carries tagged frames of ``vlans``, and of every VLAN if ``every``: some switches
    take an empty list for all. ``lag`` is the aggregate that it is a member of: then everything
    here is the aggregate's, and only that can be changed.
    """

    trunk: bool = True
    vlans: Vlans = frozenset()
    every: bool = False
    native: int | None = None
    lag: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """VLANs to open and to close on a port or aggregate; they have none in common."""

    add: Vlans = frozenset()
    remove: Vlans = frozenset()


Ports = Mapping[str, PortVlans]
Changes = Mapping[str, Change]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One transaction: what was read before and after, by port, and what was changed between."""

    before: Ports
    changes: Changes
    after: Ports


@dataclass(frozen=True, slots=True, kw_only=True)
class PortStatus:
    """What became of a port's wants when it was last tried; shared by all managers.

    ``seen`` are the VLANs that it was seen to carry, ``None`` if it could not be read since it is
    wanted. ``tried`` are those that were wanted then, ``refused`` why one of them is not opened,
    ``error`` why nothing could be done. ``at`` is in seconds since 1970.
    """

    switch: str
    port: str
    seen: Vlans | None = None
    tried: Vlans = frozenset()
    refused: Mapping[int, str] = field(default_factory=dict)
    error: str = ""
    at: float = field(default=0.0, compare=False)
