# SPDX-License-Identifier: Apache-2.0
"""What a port group and its interfaces do to each other: members, aggregates, association."""

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.fakes.contrail.objects import Object, Objects, Ref, Refused, pairs
from tests.fakes.contrail.reservations import VMI, VPG, Before, Want, release, reserve
from tests.fakes.contrail.schema import Flavour

PI = "physical-interface"
GLOBAL = "default-global-system-config"
BINDINGS = "virtual_machine_interface_bindings"
PROPERTIES = "virtual_machine_interface_properties"
MACS = "virtual_machine_interface_mac_addresses"
MEMBERS = "physical_interface_refs"
INTERFACES = "virtual_machine_interface_refs"
MAX_AE = 128


def members(vpg: Object) -> list[str]:
    return [ref.uuid for ref in vpg.refs.get(MEMBERS, ())]


def set_members(objects: Objects, vpg: Object, wanted: Iterable[str], relaxed: bool = True) -> None:
    """Make the physical interfaces of a port group equal to the wanted ones.

    :raises Refused: 400, where one of them belongs to another port group
    """
    was = {ref.uuid: ref for ref in vpg.refs.get(MEMBERS, ())}
    now = list(dict.fromkeys(wanted))
    for uuid in now:
        others = [o for o, _ in objects.referrers(uuid, VPG, MEMBERS) if o.uuid != vpg.uuid]
        if uuid not in was and others:
            raise Refused(
                400,
                "physical interfaces already added at other VPGs can not be attached to this VPG"
                f" ({vpg.uuid}): PI ({uuid}) VPG-UUID ({others[0].uuid})"
                f" VPG-FQNAME ({':'.join(others[0].fq_name)}); ",
            )
    for uuid in was.keys() ^ set(now):
        if uuid in objects:
            kind = "access" if uuid in now else None
            objects.put(objects.get(uuid).setting({"physical_interface_type": kind}))
    numbers = _aggregates(objects, vpg, now)
    refs = tuple(
        Ref(uuid, numbers[uuid], was[uuid].relaxed if uuid in was else relaxed) for uuid in now
    )
    objects.put(objects.get(vpg.uuid).referring(MEMBERS, refs))


def _aggregates(objects: Objects, vpg: Object, now: list[str]) -> dict[str, Any]:
    """The number of the aggregate on each switch, where there is more than one member."""
    if len(now) < 2:
        return dict.fromkeys(now)
    own: dict[str | None, int] = {}
    used: dict[str | None, set[int]] = {}
    for group in objects.of_type(VPG):
        for ref in group.refs.get(MEMBERS, ()):
            if ref.attr and ref.uuid in objects:
                switch = objects.get(ref.uuid).parent
                used.setdefault(switch, set()).add(ref.attr["ae_num"])
                if group.uuid == vpg.uuid:
                    own[switch] = ref.attr["ae_num"]
    numbers = {}
    for uuid in now:
        switch = objects.get(uuid, PI).parent
        if switch not in own:
            free = set(range(MAX_AE)) - used.get(switch, set())
            if not free:
                raise Refused(400, "ResourceExhaustionError: when allocating AE-ID")
            own[switch] = min(free)
        numbers[uuid] = {"ae_num": own[switch]}
    return numbers


def check_port_group(vpg: Object) -> None:
    """What a new port group may not be."""
    if "vpg-internal" in vpg.name:
        raise Refused(
            400,
            f"Virtual port group({vpg.uuid}) with name vpg-internal as prefix can only be created"
            " internally",
        )
    if vpg.refs.get(MEMBERS):
        raise Refused(
            400,
            "API Infra do not support allocating AE-ID when Physical Interface refs are sent in VPG"
            " create request. Workaround: Create VPG first, then add Physical Interface to VPG",
        )


def new_interface(objects: Objects, flavour: Flavour, vmi: Object) -> tuple[Object, Object | None]:
    """The interface as it is stored, and the port group that it comes to."""
    vn = objects.get(vmi.refs["virtual_network_refs"][0].uuid)
    tag = _tag(vmi.props)
    if not 0 <= tag <= 4094:
        raise Refused(400, f"Invalid sub-interface VLAN tag ID: {tag}")
    props: dict[str, Any] = {}
    given = (vmi.props.get(MACS) or {}).get("mac_address")
    digits = vmi.uuid.replace("-", "")[:10]
    allocated = ":".join(["02", *(digits[at : at + 2] for at in range(0, 10, 2))])
    props[MACS] = {"mac_address": [mac.replace("-", ":") for mac in given or [allocated]]}
    if BINDINGS in vmi.props:
        props[BINDINGS] = {"key_value_pair": _bindings(vmi, vn)}
    routing = Ref(routing_instance(vn), {"direction": "both"})
    vmi = vmi.setting(props).referring("routing_instance_refs", (routing,))
    bindings = vmi.pairs(BINDINGS)
    links = _links(bindings)
    unbound = flavour is Flavour.R2011 or not (bindings.get("vpg") or bindings.get("profile"))
    if bindings.get("vnic_type") != "baremetal" or (unbound and not links):
        return vmi, None
    vpg = associate(objects, flavour, vmi, bindings, links, tag)
    if flavour is Flavour.MASTER:
        native = bindings.get("tor_port_vlan_id")
        attr = {"native_vlan_tag": native} if native else {"vlan_tag": tag}
        vmi = vmi.referring("virtual_port_group_refs", (Ref(vpg.uuid, attr),))
    return vmi, vpg


def routing_instance(vn: Object) -> str:
    """The uuid of a network's default routing instance, which is no object of the fake."""
    return f"{vn.uuid[:-12]}{int(vn.uuid[-12:], 16) ^ 1:012x}"


def _tag(props: Mapping[str, Any]) -> int:
    return (props.get(PROPERTIES) or {}).get("sub_interface_vlan_tag") or 0


def _bindings(vmi: Object, vn: Object) -> list[dict[str, Any]]:
    given = vmi.pairs(BINDINGS)
    added: dict[str, Any] = {}
    provider = vn.props.get("provider_properties") or {}
    if given.get("vnic_type") == "direct" and "segmentation_id" in provider:
        details = {"port_filter": True, "vlan": str(provider["segmentation_id"])}
        added = {"vif_details": json.dumps(details), "vif_type": "hw_veb"}
    elif "vnic_type" not in given:
        added = {"vnic_type": "normal"}
    elif "vif_type" not in given:
        added = {"vif_type": "vrouter"}
    return [{"key": key, "value": value} for key, value in {**given, **added}.items()]


def _links(bindings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the profile lists. One that is not as it should be is an exception, as on the server."""
    if bindings.get("vnic_type") != "baremetal" or not bindings.get("profile"):
        return []
    profile = json.loads(bindings["profile"])
    return (profile and profile.get("local_link_information")) or []


def _vlan(value: Any) -> int:
    if isinstance(value, str):
        return int(value) if value.isdigit() else 0
    return value if isinstance(value, int) else 0


def associate(
    objects: Objects,
    flavour: Flavour,
    vmi: Object,
    bindings: Mapping[str, Any],
    links: list[dict[str, Any]],
    tag: int | None,
    before: Before | None = None,
) -> Object:
    """Attach what the profile lists to the port group, and take the VLAN there."""
    name = bindings.get("vpg")
    fabric, interfaces = None, []
    for link in links:
        if link.get("fabric") and fabric not in {None, link["fabric"]}:
            raise Refused(
                400, "Physical interfaces in the same vpg should belong to the same fabric"
            )
        fabric = link.get("fabric") or "default-fabric"
        at = (GLOBAL, link["switch_info"], link["port_id"])
        interface = objects.find(PI, at)
        if interface is None:
            raise Refused(
                404,
                f"Unable to attach Physical interface to Virtual Port Group"
                f" ({name or 'vpg-internal-missing'}). No such Physical Interface object"
                f" ({at[-1]}) exists",
            )
        interfaces.append(interface)
    if fabric is None:
        raise Refused(400, "Unable to retrieve fabric name. No physical interfaces and no vpg refs")
    for interface in interfaces:
        groups = [o for o, _ in objects.referrers(interface.uuid, VPG, MEMBERS)]
        if groups and groups[0].name != name:
            raise Refused(
                400,
                f"Physical interface {interface.name} already belong to the vpg {groups[0].name}",
            )
    if name:
        vpg = objects.find(VPG, (GLOBAL, fabric, name))
        if vpg is None:
            raise Refused(404, f"Vpg object {name} is not found")
    else:
        vpg = _internal(objects, fabric)
    native = bindings.get("tor_port_vlan_id")
    vn = vmi.refs["virtual_network_refs"][0].uuid
    want = Want(vmi.uuid, vn, _vlan(native or tag), bool(native))
    reserve(objects, flavour, vpg, want, before)
    set_members(objects, objects.get(vpg.uuid), [one.uuid for one in interfaces])
    return objects.get(vpg.uuid)


def _internal(objects: Objects, fabric: str) -> Object:
    """A port group as the server makes one where none is named."""
    parent = objects.find("fabric", (GLOBAL, fabric))
    if parent is None:
        raise Refused(500, f"HttpError: HTTP Status: 400 Content: Parent {fabric} does not exist")
    names = {one.name for one in objects.of_type(VPG)}
    number = next(n for n in range(len(names) + 1) if f"vpg-internal-{n}" not in names)
    name = f"vpg-internal-{number}"
    return objects.put(
        Object(
            VPG,
            _internal_uuid(objects),
            (*parent.fq_name, name),
            parent.uuid,
            "fabric",
            {
                "display_name": name,
                "virtual_port_group_user_created": False,
                "virtual_port_group_lacp_enabled": True,
                "id_perms": parent.props["id_perms"],
                "perms2": {**parent.props["perms2"], "owner": "cloud-admin"},
            },
        )
    )


def _internal_uuid(objects: Objects) -> str:
    number = 0
    while (uuid := f"00000000-0000-4000-8000-{number:012x}") in objects:
        number += 1
    return uuid


def changed_interface(
    objects: Objects, flavour: Flavour, vmi: Object, body: Mapping[str, Any]
) -> None:
    """What a PUT with these properties does to the port group, before they are stored."""
    given = pairs(body.get(BINDINGS))
    if given.get("vnic_type") != "baremetal":
        return
    groups = [o for o, _ in objects.referrers(vmi.uuid, VPG, INTERFACES)]
    before = None
    tag: int | None = _tag(body)
    if flavour is Flavour.MASTER:
        stored = _tag(vmi.props)
        native = vmi.pairs(BINDINGS).get("tor_port_vlan_id")
        before = Before(stored, True if native else (False if stored else None))
        tag = _tag(body) if PROPERTIES in body else stored
        if groups:
            given = {**given, "vpg": given.get("vpg") or groups[0].name}
    elif not given.get("profile"):
        raise Refused(500, "TypeError: the JSON object must be str, not 'NoneType'")
    links = _links(given)
    if not links and flavour is Flavour.R2011:
        return
    if not links and groups:
        links = [
            {"fabric": groups[0].fq_name[-2], "switch_info": at[-2], "port_id": at[-1]}
            for at in (objects.get(uuid).fq_name for uuid in members(groups[0]))
        ]
    vpg = associate(objects, flavour, vmi, given, links, tag, before)
    if not groups:
        add_interface(objects, vpg.uuid, vmi.uuid)


def add_interface(objects: Objects, vpg: str, vmi: str, relaxed: bool = True) -> None:
    group = objects.get(vpg)
    refs = [ref for ref in group.refs.get(INTERFACES, ()) if ref.uuid != vmi]
    objects.put(group.referring(INTERFACES, (*refs, Ref(vmi, None, relaxed))))


def remove_interface(objects: Objects, flavour: Flavour, vmi: Object) -> None:
    """Delete the interface, what it reserved, and the port group that was made for it."""
    groups = [o.uuid for o, _ in objects.referrers(vmi.uuid, VPG, INTERFACES)]
    objects.remove(vmi.uuid)
    for uuid in groups:
        release(objects, flavour, objects.get(uuid), vmi, _tag(vmi.props))
        vpg = objects.get(uuid)
        internal = vpg.props.get("virtual_port_group_user_created") is False
        if internal and not vpg.refs.get(INTERFACES):
            with contextlib.suppress(Refused):
                remove_port_group(objects, vpg)


def remove_port_group(objects: Objects, vpg: Object) -> None:
    if vpg.refs.get(INTERFACES):
        raise Refused(
            400,
            f"Virtual port group({vpg.uuid}) can not be deleted as refernces to VMI and BMS"
            " instance association still exists.",
        )
    set_members(objects, vpg, ())
    objects.remove(vpg.uuid)


def vlans_of(objects: Objects, vpg: Object) -> list[tuple[int, bool, Object, Object]]:
    """What the device manager makes of a port group: VLAN, tagged, network, interface."""
    found = []
    for ref in vpg.refs.get(INTERFACES, ()):
        vmi = objects.get(ref.uuid, VMI)
        native = _vlan(vmi.pairs(BINDINGS).get("tor_port_vlan_id"))
        tag = _tag(vmi.props)
        vn = objects.get(vmi.refs["virtual_network_refs"][0].uuid)
        found.append((native or tag or 4094, bool(tag and not native), vn, vmi))
    return found
