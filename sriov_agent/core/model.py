# SPDX-License-Identifier: Apache-2.0
"""The words of the agent: plain frozen data, no I/O.

Everything is keyed by PCI address or Neutron port id, never by interface name. Where a
mapping lacks a key the fact is *unknown*; an empty value is a fact.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField


class LinkState(enum.StrEnum):
    """Link state of a VF as iproute2 names it (``IFLA_VF_LINK_STATE``)."""

    AUTO = "auto"
    ENABLE = "enable"
    DISABLE = "disable"


@dataclass(frozen=True, slots=True, kw_only=True)
class VfSettings:
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
        return dataclasses.replace(self, **dict.fromkeys(names))


SETTINGS = tuple(f.name for f in dataclasses.fields(VfSettings))

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

VNIC_TYPES = ("direct",)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """One port that is bound to this host: the desired side, checked on construction.

    :raises InvalidField: for the first field that cannot be accepted
    """

    port_id: str
    mac: str
    vlan: int
    physical_network: str
    vnic_type: str = "direct"
    revision_number: int = 0
    pci_slot: str | None = None
    name: str = ""
    qos: int = 0
    spoofchk: bool = True
    trust: bool = False
    link_state: LinkState = LinkState.AUTO
    min_tx_rate: int = 0
    max_tx_rate: int = 0

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "port_id", fields.port_id(self.port_id))
        put(self, "mac", fields.mac(self.mac))
        put(self, "vlan", fields.vlan(self.vlan))
        put(self, "physical_network", fields.physical_network(self.physical_network))
        if self.vnic_type not in VNIC_TYPES:
            raise InvalidField(
                "vnic_type", self.vnic_type, "this agent serves " + ", ".join(VNIC_TYPES)
            )
        fields.integer(self.revision_number, "revision_number", 0, 2**63 - 1)
        if self.pci_slot is not None:
            put(self, "pci_slot", fields.pci_address(self.pci_slot))
        fields.text(self.name, "name")
        fields.integer(self.qos, "qos", 0, fields.MAX_QOS)
        if self.qos and not self.vlan:
            raise InvalidField("qos", self.qos, "a VLAN priority needs a VLAN")
        fields.boolean(self.spoofchk, "spoofchk")
        fields.boolean(self.trust, "trust")
        try:
            put(self, "link_state", LinkState(self.link_state))
        except ValueError:
            raise InvalidField(
                "link_state", self.link_state, "expected " + ", ".join(LinkState)
            ) from None
        fields.integer(self.min_tx_rate, "min_tx_rate", 0, fields.MAX_RATE)
        fields.integer(self.max_tx_rate, "max_tx_rate", 0, fields.MAX_RATE)
        if self.max_tx_rate and self.min_tx_rate > self.max_tx_rate:
            raise InvalidField(
                "min_tx_rate", self.min_tx_rate, f"above max_tx_rate {self.max_tx_rate}"
            )

    def vf_settings(self) -> VfSettings:
        """Every setting of the port's VF: what was not asked for is as on an unused VF."""
        return VfSettings(**{name: getattr(self, name) for name in SETTINGS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bindings:
    """What the source knows of this host's ports.

    ``invalid`` maps port id to what is wrong: those ports are on this host, so they keep
    what they have, but nothing new is done for them.
    """

    ports: Mapping[str, PortBinding] = field(default_factory=dict)
    invalid: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vf:
    """One virtual function as the kernel shows it.

    ``held_by`` says who else uses the VF ("" when nobody does): such a VF is never given
    away and never reset unless the agent itself had programmed it.
    """

    address: str
    pf: str
    index: int
    driver: str | None = None
    netdev: str | None = None
    held_by: str = ""
    settings: VfSettings = VfSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Uplink:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pf(Uplink):
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


@dataclass(frozen=True, slots=True)
class LldpId:
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
    age: int | None = field(default=None, compare=False)
    source: str = field(default="", compare=False)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
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
    system_name: str = field(default="", compare=False)
    port_description: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The switch's name, its chassis id where it has none."""
        return self.system_name or self.chassis_id.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Cabling:
    """What LLDP says of one uplink: exactly one switch port, or why there is none."""

    switch_port: SwitchPort | None = None
    reason: str = ""
    neighbors: tuple[Neighbor, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCabling:
    """The switch port that an uplink was last believed to hang on, and its link's count then."""

    switch_port: SwitchPort
    carrier_changes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Which port holds which VF; recorded before anything is programmed.

    ``mac`` is the MAC set for the port, "" where it is not known; ``former_mac`` the one that it
    takes the place of, as long as that is seen on the VF.
    """

    port_id: str
    vf: str
    pf: str
    index: int
    mac: str = ""
    former_mac: str = ""

    def release(self, seen: VfSettings) -> VfSettings:
        """What the VF is set to when the port goes.

        A MAC that is not the port's is not ours: without an administrative one, the driver of
        the VF announces an address of its own.
        """
        ours = not self.mac or seen.mac in (self.mac, self.former_mac)
        return RELEASED if ours else RELEASED.without(["mac"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A libvirt ``hostdev`` interface: what its XML says."""

    vf: str
    mac: str
    vlan: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """What this host should look like.

    ``unmet`` maps port id to why nothing (new) can be wanted for it; the ports in ``held``
    keep what they have.
    """

    claims: Mapping[str, Claim] = field(default_factory=dict)
    vfs: Mapping[str, VfSettings] = field(default_factory=dict)
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    fabric: Mapping[SwitchPort, frozenset[int]] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    unmet: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What this host looks like. A key that is absent is unknown.

    ``interfaces`` maps port id to ``None`` where a file is there but not one of ours as
    written. ``errors`` maps what could not be asked ("pf 0000:3b:00.0") to why.
    """

    pfs: Mapping[str, Pf] = field(default_factory=dict)
    claims: Mapping[str, Claim] = field(default_factory=dict)
    interfaces: Mapping[str, Interface | None] = field(default_factory=dict)
    cabling: Mapping[str, Cabling] = field(default_factory=dict)
    fabric: Mapping[SwitchPort, frozenset[int]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    def vfs(self) -> dict[str, Vf]:
        """Every VF seen, by PCI address."""
        return {vf.address: vf for pf in self.pfs.values() for vf in pf.vfs}


@dataclass(frozen=True, slots=True)
class Scope:
    """Which ports a pass may touch; ``ports=None`` is all of them."""

    ports: frozenset[str] | None = None

    def __contains__(self, port_id: str) -> bool:
        return self.ports is None or port_id in self.ports


ALL = Scope()
