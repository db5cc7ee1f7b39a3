# SPDX-License-Identifier: Apache-2.0
"""Which VLAN of which network may be on which port group.

Master keeps reservations beside the objects and loses some; R2011 writes them into the annotations
of the port group. A release is proven by its answers, so both are kept as they are.
"""

from dataclasses import dataclass
from typing import Any

from tests.fakes.contrail.objects import Object, Objects, Refused, pairs
from tests.fakes.contrail.schema import Flavour

VPG = "virtual-port-group"
VMI = "virtual-machine-interface"


@dataclass(frozen=True)
class Want:
    """A VLAN of a network for an interface on a port group."""

    vmi: str
    vn: str
    vlan: int
    untagged: bool


@dataclass(frozen=True)
class Before:
    """What a PUT finds: the tag, 0 without one, and ``None`` where neither kind of VLAN was."""

    vlan: int
    untagged: bool | None


def reserve(
    objects: Objects, flavour: Flavour, vpg: Object, want: Want, before: Before | None = None
) -> None:
    """Take the VLAN, or refuse it.

    :raises Refused: 400, where another interface has it or the style of the fabric forbids it
    """
    fabric = objects.get(vpg.parent or "")
    if not want.vlan or fabric.type != "fabric":
        return
    enterprise = bool(fabric.props.get("fabric_enterprise_style"))
    unchecked = bool(fabric.props.get("disable_vlan_vn_uniqueness_check"))
    if flavour is Flavour.R2011:
        _annotate(objects, vpg, fabric, want, enterprise, unchecked)
    elif not unchecked:
        taken = _Taken(objects, vpg.uuid, fabric.uuid, want, before or Before(0, None))
        (taken.enterprise if enterprise else taken.service_provider)()


def release(objects: Objects, flavour: Flavour, vpg: Object, vmi: Object, vlan: Any) -> None:
    """Give back what the interface held on the port group; ``vlan`` is its tag, 0 without one."""
    if flavour is Flavour.R2011:
        kept = {
            key: value
            for key, value in vpg.pairs("annotations").items()
            if not (key.startswith("validation:") and vmi.uuid in value)
        }
        _write(objects, vpg, kept)
        return
    fabric = objects.get(vpg.parent or "")
    reserved = objects.reserved
    untagged = bool(vmi.pairs("virtual_machine_interface_bindings").get("tor_port_vlan_id"))
    enterprise = bool(fabric.props.get("fabric_enterprise_style"))
    style = "enterprise" if enterprise else "service-provider"
    vn = vmi.refs["virtual_network_refs"][0].uuid
    if untagged:
        reserved.pop((style, vpg.uuid, "untagged"), None)
    elif not enterprise:
        reserved.pop((style, vpg.uuid, vn, vlan), None)
    else:
        held = reserved.pop((style, vpg.uuid, "vn", vn), None)
        reserved.pop((style, vpg.uuid, "vlan", held), None)
        # Whoever else has this network and VLAN loses the fabric's reservation: the bug of master.
        reserved.pop((style, fabric.uuid, "vn", vn), None)
        reserved.pop((style, fabric.uuid, "vlan", held), None)


@dataclass(frozen=True)
class _Taken:
    """The reservations of master. A holder that is gone does not count."""

    objects: Objects
    vpg: str
    fabric: str
    want: Want
    before: Before

    def service_provider(self) -> None:
        want, before, reserved = self.want, self.before, self.objects.reserved
        untagged = ("service-provider", self.vpg, "untagged")
        tagged = ("service-provider", self.vpg, want.vn)
        key = untagged if want.untagged else (*tagged, want.vlan)
        holder = reserved.get(key)
        if holder not in self.objects:
            reserved[key] = want.vmi
            moved = before.vlan not in {0, want.vlan}
            if not holder and before.untagged and not want.untagged and not moved:
                reserved.pop(untagged, None)
        elif want.untagged and before.untagged is False:
            reserved.pop((*tagged, before.vlan), None)
        elif not (want.untagged and before.untagged):
            raise self._refused(holder)

    def enterprise(self) -> None:
        if self.want.untagged:
            self._enterprise_untagged()
        else:
            self._enterprise_tagged()

    def _enterprise_untagged(self) -> None:
        want, before, reserved = self.want, self.before, self.objects.reserved
        key = ("enterprise", self.vpg, "untagged")
        holder = reserved.get(key)
        if holder in self.objects:
            if not before.untagged:
                raise self._refused(holder)
            return
        reserved[key] = want.vmi
        if before.untagged is False:
            for place in (self.vpg, self.fabric):
                reserved.pop(("enterprise", place, "vn", want.vn), None)
                reserved.pop(("enterprise", place, "vlan", want.vlan), None)

    def _enterprise_tagged(self) -> None:
        want, reserved = self.want, self.objects.reserved
        by_vn = ("enterprise", self.vpg, "vn", want.vn)
        if by_vn in reserved:
            holder = reserved.get(("enterprise", self.vpg, "vlan", reserved[by_vn]))
            if holder not in {None, want.vmi}:
                raise Refused(
                    400,
                    f"vlan:({reserved[by_vn]}) already exists in virtual port group:({self.vpg})"
                    f" with virtual network:({want.vn})",
                )
            if holder and reserved[by_vn] == want.vlan:
                return
        reserved[by_vn] = want.vlan
        by_vlan = ("enterprise", self.vpg, "vlan", want.vlan)
        holder = reserved.get(by_vlan)
        if holder in self.objects:
            raise self._refused(holder)
        reserved[by_vlan] = want.vmi
        if not holder:
            self._fabric_wide()

    def _fabric_wide(self) -> None:
        """One VLAN for a network and one network for a VLAN in all of the fabric."""
        want, before, reserved = self.want, self.before, self.objects.reserved
        by_vn = ("enterprise", self.fabric, "vn", want.vn)
        by_vlan = ("enterprise", self.fabric, "vlan", want.vlan)
        moved = before.vlan not in {0, want.vlan}
        if moved:
            reserved.pop(by_vn, None)
            reserved.pop(("enterprise", self.vpg, "vlan", before.vlan), None)
            reserved.pop(("enterprise", self.fabric, "vlan", before.vlan), None)
        known = by_vn in reserved
        if reserved.setdefault(by_vn, want.vlan) != want.vlan or (
            not known and reserved.setdefault(by_vlan, want.vn) != want.vn
        ):
            raise Refused(
                400,
                f"Virtual network:({want.vn}) with other vlan({want.vlan}) already exists in"
                f" fabric:({self.fabric})",
            )
        if before.untagged and not moved:
            reserved.pop(("enterprise", self.vpg, "untagged"), None)

    def _refused(self, holder: Any) -> Refused:
        return Refused(
            400,
            f"Virtual machine interface:({holder}) already exists in virtual network:"
            f"({self.want.vn}) with vlan({self.want.vlan})",
        )


def _annotate(
    objects: Objects, vpg: Object, fabric: Object, want: Want, enterprise: bool, unchecked: bool
) -> None:
    """The validation of R2011. Its switch in the fabric only narrows it to the port group."""
    style = f"validation:{'enterprise' if enterprise else 'serviceprovider'}"
    key = f"{style}/vn:{want.vn}/vlan_id:{want.vlan}"
    native = f"{style}/untagged_vlan_id"
    places = [vpg]
    if enterprise and not unchecked:
        places += [o for o in objects.children(fabric.uuid, VPG) if o.uuid != vpg.uuid]
    others = {}
    for place in places:
        others[place.uuid] = {
            k: value
            for k, value in place.pairs("annotations").items()
            if not (k.startswith(style) and want.vmi in value)
        }
        _write(objects, place, others[place.uuid])
    here = others[vpg.uuid]
    if key in here:
        raise Refused(
            400,
            f"VN({want.vn}):VLAN({want.vlan}) already exists at VPG({vpg.uuid})."
            f" No more than one Allowed in Fabric {style}",
        )
    if want.untagged:
        if native in here:
            raise Refused(400, f"Untagged VLAN({here[native]}) already exists in VPG({vpg.uuid})")
        here[native] = f"{want.vlan}:{want.vmi}"
    if enterprise:
        for uuid, annotations in others.items():
            for known in annotations:
                _one_to_one(style, known, want, uuid)
    here[key] = want.vmi
    _write(objects, objects.get(vpg.uuid), here)


def _one_to_one(style: str, key: str, want: Want, place: str) -> None:
    if not key.startswith(f"{style}/vn:"):
        return
    vn, _, vlan = key.removeprefix(f"{style}/vn:").partition("/vlan_id:")
    if (vn == want.vn) != (vlan == str(want.vlan)):
        raise Refused(
            400,
            f"VN({vn}):VLAN({vlan}) of existing VPG({place}) matches with this"
            f" VN({want.vn}):VLAN({want.vlan}). Not Allowed in fabric enterprise style",
        )


def _write(objects: Objects, vpg: Object, annotations: dict[str, Any]) -> None:
    if annotations != pairs(vpg.props.get("annotations")):
        listed = [{"key": key, "value": value} for key, value in annotations.items()]
        objects.put(vpg.setting({"annotations": {"key_value_pair": listed}}))
