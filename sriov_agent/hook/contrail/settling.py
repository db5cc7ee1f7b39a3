# SPDX-License-Identifier: Apache-2.0
"""From what is wanted on a switch port to the VMIs of its virtual-port-group (VPG).

Deleted first, made then: in an enterprise-style fabric a network's old VLAN is in the way of its
new one. Source: sections 0, 1.5, 1.6 and 1.10 of the contract.
"""

import logging
from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from sriov_agent.core import fields
from sriov_agent.core.model import Segment, SwitchPort
from sriov_agent.exceptions import InvalidField, Refused, printable
from sriov_agent.hook.contrail.objects import At, Evidence, Place, Vmi, Vpg
from sriov_agent.hook.contrail.reading import Reader, Seen, Vanished
from sriov_agent.hook.contrail.writing import Opening, Writer, described

LOG = logging.getLogger(__name__)

_NOTHING: frozenset[Segment] = frozenset()


class Unit(Struct, frozen=True):
    """Switch ports that share a VPG, and what this host wants there.

    ``name`` is that of the VPG if it is made, ``tail`` the same without the prefix.
    """

    name: str
    tail: str
    places: frozenset[Place]
    evidence: tuple[Evidence, ...]
    wants: frozenset[Segment]

    @property
    def at(self) -> frozenset[At]:
        return frozenset(place.at for place in self.places)


class _Change(Struct):
    """What a VPG is short of: VMIs to delete, segments to open on the switch ports ``at``."""

    at: frozenset[At]
    evidence: tuple[Evidence, ...]
    delete: list[Vmi] = field(default_factory=list)
    open: list[Segment] = field(default_factory=list)


class Settling:
    """One change of a link's unit, and of those that are in its way."""

    def __init__(
        self,
        reader: Reader,
        writer: Writer,
        host: str,
        link: SwitchPort,
        units: Mapping[str, Unit],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host
        self._link = link
        self._units = units
        self._begun: set[str] = set()

    def settle(self, unit: Unit, mine: frozenset[Segment]) -> None:
        """Have ``mine`` open on the unit's VPG, and of this host's nothing that is not wanted."""
        self._begun.add(unit.name)
        seen = self._left_others(unit)
        groups = seen.distinct()
        if not unit.wants:
            for group in groups:
                self._close(group, seen.vmis[group.uuid])
            return
        self._open(unit, mine, groups[0] if groups else None, seen)

    def _seen(self, unit: Unit) -> Seen:
        """:raises Vanished: if Contrail lacks one of the switch ports"""
        seen = self._reader.seen(unit.places)
        for place in unit.places:
            if place.uuid not in seen.groups:
                raise Vanished(f"physical-interface {place.interface} of {place.switch}")
            if len(seen.groups[place.uuid]) > 1:
                names = ", ".join(printable(group.name) for group in seen.groups[place.uuid])
                raise Refused(
                    f"{named(self._link)} is in several virtual-port-groups at once: {names}; "
                    "leave it in one"
                )
        return seen

    def _left_others(self, unit: Unit) -> Seen:
        """What there is, after the unit has left those own VPGs that are for other units.

        :raises Refused: if one cannot be used, before anything was changed
        """
        seen = self._seen(unit)
        for group in seen.distinct():
            if group.contrail and (unit.wants or any(map(self._own, seen.vmis[group.uuid]))):
                raise Refused(
                    f"{named(self._link)} is managed by Contrail itself (virtual-port-group "
                    f"{printable(group.name)}, usage=sriov-vm): nothing was changed; take it out "
                    "of this agent's configuration, or its host out of Contrail's SR-IOV"
                )
        for group in seen.distinct() if unit.wants else ():
            if group.host != self._host and not unit.at <= group.members.keys():
                missing = sorted(unit.at - group.members.keys())
                raise Refused(
                    f"{named(self._link)} is in the virtual-port-group {printable(group.name)}, "
                    "which this agent did not make, and others of its bond are not: add "
                    f"{', '.join(f'{printable(a)} {printable(b)}' for a, b in missing)} to it, or "
                    "delete it"
                )
        for group in seen.distinct():
            if group.host != self._host or group.name.endswith(unit.tail):
                continue
            holder = self._units.get(group.name)
            if holder:
                if holder.name not in self._begun:
                    self.settle(holder, _NOTHING)
            else:
                self._dissolve(group, seen.vmis[group.uuid], unit)
            seen = self._seen(unit)
        return seen

    def _own(self, vmi: Vmi) -> bool:
        return vmi.host == self._host

    def _sharers(self, at: Iterable[At]) -> list[Unit]:
        ports = frozenset(at)
        return [unit for unit in self._units.values() if unit.at & ports]

    def _dissolve(self, group: Vpg, vmis: Iterable[Vmi], unit: Unit) -> None:
        """Have the VPG no more, and its other switch ports each in a VPG of their own."""
        for vmi in filter(self._own, vmis):
            self._writer.delete_vmi(vmi)
        self._writer.delete_vpg(group.uuid)
        for other in self._sharers(group.members):
            if other is not unit and other.wants and other.name not in self._begun:
                try:
                    self.settle(other, other.wants)
                except (Refused, Vanished) as error:
                    LOG.warning("Contrail: %s: %s", printable(other.name), error)

    def _close(self, group: Vpg, vmis: Iterable[Vmi]) -> None:
        """Leave on the VPG of this host's VMIs what other links of it still want."""
        wants = _NOTHING.union(*(unit.wants for unit in self._sharers(group.members)))
        for vmi in filter(self._own, vmis):
            if vmi.segment not in wants:
                self._writer.delete_vmi(vmi)
        if group.host == self._host:
            self._writer.delete_vpg(group.uuid)

    def _open(self, unit: Unit, mine: frozenset[Segment], group: Vpg | None, seen: Seen) -> None:
        if len({place.fabric for place in unit.places}) > 1:
            raise Refused(f"{named(self._link)}: a bond cannot be in two fabrics of Contrail")
        if group is None:
            if not mine:
                return
            self._reader.networks(segment.network_id for segment in mine)
            fabric = next(iter(unit.places)).fabric
            group = self._writer.create_vpg(fabric, unit.name, unit.evidence)
            if group.contrail or (group.host != self._host and group.members):
                raise Refused(
                    f"{named(self._link)}: the virtual-port-group {printable(group.name)} is "
                    "somebody else's and has other switch ports; rename it, or change "
                    "[hook_contrail] vpg_prefix"
                )
            vmis = self._reader.vmis(group.vmis)
        else:
            vmis = list(seen.vmis[group.uuid])
        try:
            self._make(group, self._change(unit, mine, group, vmis))
        except Refused:
            self._writer.delete_vpg(group.uuid)
            raise

    def _change(
        self, unit: Unit, mine: frozenset[Segment], group: Vpg, vmis: Iterable[Vmi]
    ) -> _Change:
        """:raises Refused: if a segment cannot be beside what there is"""
        own = [vmi for vmi in vmis if self._own(vmi)]
        others = [vmi for vmi in vmis if not self._own(vmi)]
        kept_in = set(group.members)
        if group.host == self._host:
            kept_in &= {port for vmi in others for port in vmi.at}
        at = unit.at | kept_in
        sharers = self._sharers(at)
        wants = _NOTHING.union(*(one.wants for one in sharers))
        change = _Change(at, tuple(one for unit in sharers for one in unit.evidence))
        kept: set[Segment] = set()
        for vmi in own:
            usable = vmi.at == at and unit.at <= group.members.keys()
            if vmi.segment in wants and vmi.segment not in kept:
                kept.add(vmi.segment)
                if usable:
                    continue
                change.open.append(vmi.segment)
            change.delete.append(vmi)
        there = kept | {vmi.segment for vmi in others}
        for segment in sorted(mine - there):
            for other in sorted((there | mine) - {segment}):
                _compatible(self._link, segment, other)
            change.open.append(segment)
        self._reader.networks(segment.network_id for segment in change.open)
        return change

    def _make(self, group: Vpg, change: _Change) -> None:
        chassis = {one.at: one.link.chassis_id.value for one in change.evidence}
        at = {one: chassis.get(one, "") for one in change.at}
        for vmi in change.delete:
            self._writer.delete_vmi(vmi)
        for segment in change.open:
            self._writer.create_vmi(Opening(group, segment, at, change.evidence))


def checked(link: SwitchPort, segments: frozenset[Segment]) -> None:
    """Whether these can be open on one switch port at all.

    :raises Refused: if not; the message says what would do
    """
    for segment in sorted(segments):
        if not segment.network_id:
            raise Refused(
                f"{named(link)}, VLAN {segment.vlan}: Contrail opens a VLAN for a network; give "
                "the port a Neutron network that has this VLAN"
            )
        try:
            fields.integer(segment.vlan, "vlan", 1, fields.MAX_VLAN)
        except InvalidField as error:
            raise Refused(
                f"{named(link)}, network {printable(segment.network_id)}: {error}; Contrail has "
                "no untagged port without a VLAN, give the network a segmentation id"
            ) from error
    ordered = sorted(segments)
    for at, one in enumerate(ordered):
        for other in ordered[at + 1 :]:
            _compatible(link, one, other)


def _compatible(link: SwitchPort, one: Segment, other: Segment) -> None:
    """:raises Refused: if the Device Manager could not have both on one port (section 1.6)"""
    if one.vlan == other.vlan and one.network_id != other.network_id:
        why = "one VLAN cannot be two networks; give one of them another segmentation id"
    elif one.vlan == other.vlan:
        why = "one VLAN cannot be tagged and untagged; choose one"
    elif not one.tagged and not other.tagged:
        why = "a switch port has one untagged VLAN; let one of them be tagged"
    else:
        return
    raise Refused(f"{named(link)}: {described(one)} against {described(other)}: {why}")


def named(link: SwitchPort) -> str:
    """A link for messages: the switch port and the PF."""
    return f"switch port {printable(link.name)} {printable(link.port_id.value)} (PF {link.pf})"
