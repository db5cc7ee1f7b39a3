# SPDX-License-Identifier: Apache-2.0
"""What a host should look like, what it looks like, and what the agent holds of it.

Plain frozen data, keyed by Neutron port id or PCI address. Where a mapping lacks a key the fact is
*unknown*; an empty value is a fact.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field, structs

from sriov_agent.core import fields
from sriov_agent.core.model import (
    RELEASED,
    SETTINGS,
    Cabling,
    LinkState,
    Pf,
    Segment,
    SwitchPort,
    Vf,
    VfSettings,
)
from sriov_agent.exceptions import InvalidField

VNIC_TYPES = ("direct", "macvtap", "accelerator-direct")

#: What whoever plugs a VF into a guest sets itself (nova through libvirt).
PLUGGED_SETTINGS = ("mac", "vlan", "qos")


class PortBinding(Struct, frozen=True, kw_only=True):
    """One port that is bound to this host: the desired side, checked on construction.

    ``trunk`` are the VLANs of a VF whose guest tags its frames itself, and at most one that it
    sends untagged: then the VF has no VLAN. ``plugged_by_nova``: nova chose the VF, and libvirt
    sets MAC and VLAN when it plugs it; before, they are not touched. ``status`` is the port's in
    Neutron as far as known.

    :raises InvalidField: for the first field that cannot be accepted
    """

    port_id: str
    mac: str
    vlan: int
    physical_network: str
    network_id: str = ""
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
    trunk: tuple[Segment, ...] = ()
    plugged_by_nova: bool = False
    status: str = ""

    def __post_init__(self) -> None:
        put = structs.force_setattr
        put(self, "port_id", fields.port_id(self.port_id))
        put(self, "mac", fields.mac(self.mac))
        put(self, "vlan", fields.vlan(self.vlan))
        put(self, "physical_network", fields.physical_network(self.physical_network))
        if self.network_id:
            put(self, "network_id", fields.port_id(self.network_id, "network_id"))
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
        fields.boolean(self.plugged_by_nova, "plugged_by_nova")
        fields.text(self.status, "status")
        put(self, "trunk", _trunk(self.trunk))
        if self.trunk and self.vlan:
            raise InvalidField("trunk", self.vlan, "the VF of a trunk has no VLAN of its own")

    def segments(self) -> frozenset[Segment]:
        """What of this port its link carries."""
        if self.trunk:
            return frozenset(self.trunk)
        return frozenset({Segment(self.vlan, self.network_id)} if self.vlan else ())

    def vf_settings(self) -> VfSettings:
        """Every setting of the port's VF: what was not asked for is as on an unused VF."""
        return VfSettings(**{name: getattr(self, name) for name in SETTINGS})

    def plugged_into(self, vf: Vf) -> bool:
        """Whether a guest has the VF as this port's."""
        return vf.passed_through and vf.settings.mac == self.mac


def _trunk(given: object) -> tuple[Segment, ...]:
    """Segments, also as JSON has them, by VLAN."""
    if not isinstance(given, list | tuple):
        raise InvalidField("trunk", given, "expected a list of segments")
    found: dict[int, Segment] = {}
    for entry in given:
        try:
            segment = entry if isinstance(entry, Segment) else Segment(**entry)
        except TypeError:
            raise InvalidField("trunk", entry, "expected vlan, network_id and tagged") from None
        fields.integer(segment.vlan, "trunk", 1, fields.MAX_VLAN)
        fields.boolean(segment.tagged, "trunk")
        if segment.network_id:
            fields.port_id(segment.network_id, "trunk")
        if segment.vlan in found:
            raise InvalidField("trunk", segment.vlan, "twice in one trunk")
        found[segment.vlan] = segment
    if sum(not segment.tagged for segment in found.values()) > 1:
        raise InvalidField("trunk", list(found), "at most one VLAN is untagged")
    return tuple(sorted(found.values()))


class Bindings(Struct, frozen=True, kw_only=True):
    """What the source knows of this host's ports.

    ``invalid`` maps port id to what is wrong: those ports are on this host, so they keep
    what they have, but nothing new is done for them.
    """

    ports: Mapping[str, PortBinding] = field(default_factory=dict)
    invalid: Mapping[str, str] = field(default_factory=dict)


class Claim(Struct, frozen=True, kw_only=True):
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

    @property
    def unset(self) -> bool:
        """Whether the VF showed the port's MAC before anybody set it.

        A driver can announce an address by itself, which the VF loses when it is reset: the guest
        would start with another. Such a MAC is set once although it is seen.
        """
        return bool(self.mac) and self.mac == self.former_mac

    def release(self, seen: VfSettings) -> VfSettings:
        """What the VF is set to when the port goes.

        A MAC that is not the port's is not ours: without an administrative one, the driver of
        the VF announces an address of its own.
        """
        ours = not self.mac or seen.mac in (self.mac, self.former_mac)
        return RELEASED if ours else RELEASED.without(["mac"])


class Interface(Struct, frozen=True, kw_only=True):
    """What the XML of a libvirt interface says: ``hostdev``, or macvtap on the VF's ``netdev``."""

    vf: str
    mac: str
    vlan: int
    netdev: str = ""


class Desired(Struct, frozen=True, kw_only=True):
    """What this host should look like.

    ``segments`` are what each port needs of the fabric, ``fabric`` what that makes on each link.
    ``unmet`` maps port id to why nothing (new) can be wanted for it; the ports in ``held``
    keep what they have. The VFs of those in ``unplugged`` are not in their guests yet.
    """

    claims: Mapping[str, Claim] = field(default_factory=dict)
    vfs: Mapping[str, VfSettings] = field(default_factory=dict)
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    segments: Mapping[str, frozenset[Segment]] = field(default_factory=dict)
    fabric: Mapping[SwitchPort, frozenset[Segment]] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    unplugged: frozenset[str] = frozenset()
    unmet: Mapping[str, str] = field(default_factory=dict)


class Observed(Struct, frozen=True, kw_only=True):
    """What this host looks like. A key that is absent is unknown.

    ``interfaces`` maps port id to ``None`` where a file is there but not one of ours as
    written. ``errors`` maps what could not be asked ("pf 0000:3b:00.0") to why.
    """

    pfs: Mapping[str, Pf] = field(default_factory=dict)
    claims: Mapping[str, Claim] = field(default_factory=dict)
    interfaces: Mapping[str, Interface | None] = field(default_factory=dict)
    cabling: Mapping[str, Cabling] = field(default_factory=dict)
    fabric: Mapping[SwitchPort, frozenset[Segment]] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    def vfs(self) -> dict[str, Vf]:
        """Every VF seen, by PCI address."""
        return {vf.address: vf for pf in self.pfs.values() for vf in pf.vfs}


class Scope(Struct, frozen=True):
    """Which ports a pass may touch; ``ports=None`` is all of them."""

    ports: frozenset[str] | None = None

    def __contains__(self, port_id: str) -> bool:
        return self.ports is None or port_id in self.ports


ALL = Scope()
