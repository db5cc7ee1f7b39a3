# SPDX-License-Identifier: Apache-2.0
"""What there is on a host and at the other end of its cables: plain frozen data, no I/O.

Everything is keyed by PCI address, never by interface name. Where a mapping lacks a key the fact
is *unknown*; an empty value is a fact.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from msgspec import Struct, field, structs

from sriov_agent.core import fields


class LinkState(enum.StrEnum):
    """Link state of a VF as iproute2 names it (``IFLA_VF_LINK_STATE``)."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"


class VfSettings(Struct, frozen=True, kw_only=True):
    """What the PF's driver can be told about one VF. ``None``: not asked, or not listed.

    Rates are in Mbit/s, 0 means no limit (``max``) or no guarantee (``min``). Source:
    ``IFLA_VF_*`` in ``include/uapi/linux/if_link.h``.
    """

    mac: str | None = None
    vlan: int | None = None
    qos: int | None = None
    spoofchk: bool | None = None
    trust: bool | None = None
    link_state: LinkState | None = None
    min_tx_rate: int | None = None
    max_tx_rate: int | None = None

    def items(self) -> dict[str, object]:
        """The settings that are not ``None``, by name."""
        return {name: value for name in SETTINGS if (value := getattr(self, name)) is not None}

    def differing(self, seen: VfSettings) -> VfSettings:
        """Those of these settings that ``seen`` lists with another value."""
        shown = seen.items()
        return self.without(
            name for name, value in self.items().items() if shown.get(name, value) == value
        )

    def without(self, names: Iterable[str]) -> VfSettings:
        """These settings with ``names`` not asked."""
        asked = [name for name in names if getattr(self, name) is not None]
        return structs.replace(self, **dict.fromkeys(asked)) if asked else self


SETTINGS = VfSettings.__struct_fields__

#: An unused VF, exactly.
RELEASED = VfSettings(
    mac=fields.ZERO_MAC,
    vlan=0,
    qos=0,
    spoofchk=True,
    trust=False,
    link_state=LinkState.AUTO,
    min_tx_rate=0,
    max_tx_rate=0,
)


class Vf(Struct, frozen=True, kw_only=True):
    """One virtual function as the kernel shows it.

    ``held_by`` says who else uses the VF ("" when nobody does): such a VF is never given
    away and never reset unless the agent itself had programmed it. ``passed_through`` tells
    whether a guest can have it: its driver makes no netdev, or its netdev has a macvtap.
    ``domain`` is the running libvirt domain that has it, "" for none, ``None`` where that cannot
    be told. ``excluded`` is a VF that the configuration says to leave alone, whoever holds it.
    """

    address: str
    pf: str
    index: int
    driver: str | None = None
    netdev: str | None = None
    held_by: str = ""
    passed_through: bool = False
    domain: str | None = ""
    excluded: bool = False
    settings: VfSettings = VfSettings()


class Uplink(Struct, frozen=True, kw_only=True):
    """A network device with a cable: a PF, or what it is bonded with.

    ``address`` is its PCI address, ``mac`` the permanent one; ``up`` is the administrative state,
    ``carrier`` the link's, ``carrier_changes`` counts how often that came or went.
    ``firmware_lldp`` is the command that stops its firmware from swallowing LLDP frames, ""
    where it does not.
    """

    address: str
    netdev: str
    mac: str = ""
    up: bool = True
    carrier: bool = False
    carrier_changes: int = 0
    firmware_lldp: str = ""


class Pf(Uplink, frozen=True, kw_only=True):
    """One physical function of the configuration as the kernel shows it.

    ``bonded_with`` are the other members of its bond; ``unsupported`` names the VF settings its
    driver was seen to lack.
    """

    physical_network: str
    total_vfs: int = 0
    vfs: tuple[Vf, ...] = ()
    bonded_with: tuple[Uplink, ...] = ()
    unsupported: frozenset[str] = frozenset()

    def uplinks(self) -> tuple[Uplink, ...]:
        """Where frames of its VFs may leave and arrive: itself, and its bond."""
        return (self, *self.bonded_with)


class LldpId(Struct, frozen=True):
    """A chassis id or port id TLV: subtype by lldpd's name and value (IEEE 802.1AB 8.5)."""

    subtype: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """One LLDP neighbor of an uplink; every string comes from the wire.

    ``capabilities`` are the enabled ones, by lldpd's names; ``vlans`` maps VLAN id to name as
    pairs; ``pvid`` is the untagged VLAN and ``aggregation`` the number of the port channel, 0
    where none is announced. ``ttl`` and ``age``, since it last changed, are in seconds, ``None``
    where ``source`` does not tell. Only frames read from the uplink itself have a ``source_mac``
    and tell whether they were ``tagged``.
    """

    chassis_id: LldpId
    port_id: LldpId
    system_name: str = ""
    port_description: str = ""
    management_addresses: tuple[str, ...] = ()
    capabilities: frozenset[str] = frozenset()
    vlans: tuple[tuple[int, str], ...] = ()
    pvid: int = 0
    aggregation: int = 0
    ttl: int | None = 0
    age: int | None = dataclasses.field(default=None, compare=False)
    source: str = dataclasses.field(default="", compare=False)
    source_mac: str = ""
    tagged: bool = False

    @property
    def ids(self) -> tuple[LldpId, LldpId]:
        """What makes it this neighbor and no other (MSAP, IEEE 802.1AB 3.2)."""
        return self.chassis_id, self.port_id

    @property
    def name(self) -> str:
        """The system's name, its chassis id where it has none."""
        return self.system_name or self.chassis_id.value


class Heard(Struct, frozen=True, kw_only=True):
    """What one source of LLDP tells of some uplinks, by their address.

    An uplink is in ``neighbors`` if it was listened on, in ``deaf``, with the reason, if it
    could not be. ``local`` are the ids that this host itself announces.
    """

    neighbors: Mapping[str, tuple[Neighbor, ...]] = field(default_factory=dict)
    deaf: Mapping[str, str] = field(default_factory=dict)
    local: frozenset[tuple[LldpId, LldpId]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchPort:
    """Where a PF is cabled. Identity is PF, chassis id and port id; the rest is evidence."""

    pf: str
    chassis_id: LldpId
    port_id: LldpId
    system_name: str = dataclasses.field(default="", compare=False)
    port_description: str = dataclasses.field(default="", compare=False)

    @property
    def name(self) -> str:
        """The switch's name, its chassis id where it has none."""
        return self.system_name or self.chassis_id.value


class Segment(Struct, frozen=True, order=True):
    """A VLAN as a link carries it, and the network whose it is.

    ``network_id`` is Neutron's, "" where the device manager does not tell networks apart.
    """

    vlan: int
    network_id: str = ""
    tagged: bool = True


class Cabling(Struct, frozen=True, kw_only=True):
    """What LLDP says of one uplink: exactly one switch port, or why there is none."""

    switch_port: SwitchPort | None = None
    reason: str = ""
    neighbors: tuple[Neighbor, ...] = ()


class KnownCabling(Struct, frozen=True, kw_only=True):
    """The switch port that an uplink was last believed to hang on, and its link's count then."""

    switch_port: SwitchPort
    carrier_changes: int
