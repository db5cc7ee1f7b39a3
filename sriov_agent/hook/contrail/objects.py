# SPDX-License-Identifier: Apache-2.0
"""The objects that the agent makes in Contrail: their identities, bodies and marks. Pure.

``VMI`` is a virtual-machine-interface: a VLAN of a network on a virtual-port-group (``VPG``),
which is what stands for a switch port. Source: sections 1.3 to 1.5 of the contract.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, to_builtins

from sriov_agent.core import fields
from sriov_agent.core.model import LldpId, Segment, SwitchPort
from sriov_agent.exceptions import InvalidField

Json = Any

GLOBAL = "default-global-system-config"
CREATOR = "sriov-agent"
HOST = "sriov-agent-host"
LINKS = "sriov-agent-links"
#: The fields of a VMI, and of a VPG, that are read back.
VMI_FIELDS = (
    "virtual_network_refs,virtual_machine_interface_properties,"
    "virtual_machine_interface_bindings,annotations,id_perms,virtual_port_group_back_refs"
)
VPG_FIELDS = "virtual_machine_interface_refs,physical_interface_refs,annotations,id_perms"
#: What the Device Manager takes for the VLAN of a VMI without one.
_NO_VLAN = 4094
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "sriov-agent/contrail")

#: A physical interface by the names of its physical router and itself.
At = tuple[str, str]


class Place(Struct, frozen=True):
    """A physical interface in its fabric, as a request names it."""

    fabric: str
    switch: str
    interface: str
    uuid: str

    @property
    def at(self) -> At:
        return self.switch, self.interface


class Evidence(Struct, frozen=True):
    """A link, and the physical interface that it was found to lead to."""

    link: SwitchPort
    at: At


class Vmi(Struct, frozen=True):
    """A VMI as read. ``host`` made it, "" if no sriov-agent did; ``at`` is what it lists."""

    uuid: str
    name: str
    segment: Segment
    host: str
    at: frozenset[At]
    evidence: tuple[Evidence, ...]
    groups: tuple[str, ...]


class Vpg(Struct, frozen=True):
    """A VPG as read. ``contrail``: it is Contrail's own for SR-IOV, and not to be touched."""

    uuid: str
    name: str
    fabric: str
    host: str
    contrail: bool
    members: Mapping[At, str]
    vmis: tuple[str, ...]
    evidence: tuple[Evidence, ...]


def owner(host: str) -> str:
    """The display name of everything that a host's agent makes, for lists to be filtered by."""
    return f"{CREATOR} {host}"


def vpg_uuid(fabric: str, name: str) -> str:
    """The same for the same VPG, so that making it twice makes one."""
    return _uuid5("vpg", fabric, name)


def vmi_uuid(fabric: str, vpg: str, segment: Segment) -> str:
    """The same for the same VLAN of the same network on the same VPG."""
    kind = "t" if segment.tagged else "u"
    return _uuid5("vmi", fabric, vpg, segment.network_id, kind, str(segment.vlan))


def _uuid5(*key: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps(key)))


def vpg_name(prefix: str, place: Place) -> str:
    """The VPG of one switch port."""
    return f"{prefix}_{place.switch}_{place.interface}"


def bond_name(prefix: str, host: str, pfs: Iterable[str]) -> str:
    """The VPG of a bond, wherever it is cabled. Contrail refuses a colon in any name."""
    return "_".join([prefix, host, *sorted(pfs)]).replace(":", "-")


def vpg_body(fabric: str, name: str, host: str, evidence: Iterable[Evidence]) -> Json:
    """What is posted for a VPG. Its switch ports come with the first VMI (section 1.3)."""
    return {
        "virtual-port-group": {
            "uuid": vpg_uuid(fabric, name),
            "fq_name": [GLOBAL, fabric, name],
            "parent_type": "fabric",
            "virtual_port_group_type": "access",
            "virtual_port_group_lacp_enabled": False,
            **_mark(host, evidence),
        }
    }


def vmi_body(
    project: Iterable[str],
    fabric: str,
    vpg: str,
    segment: Segment,
    network: Iterable[str],
    at: Mapping[At, str],
    host: str,
    evidence: Iterable[Evidence],
) -> Json:
    """What is posted for a VMI.

    :param project: fq_name of its parent
    :param network: fq_name of the virtual-network
    :param at: every switch port of the VPG, with its switch's chassis id or ""
    """
    links = [
        {"switch_info": switch, "port_id": port, "switch_id": at[switch, port], "fabric": fabric}
        for switch, port in sorted(at)
    ]
    bindings = {
        "vnic_type": "baremetal",
        "vif_type": "vrouter",
        "vpg": vpg,
        "profile": json.dumps({"local_link_information": links}),
    }
    kind = "" if segment.tagged else "u"
    body: dict[str, Json] = {
        "uuid": vmi_uuid(fabric, vpg, segment),
        "fq_name": [*project, f"sriov_{segment.network_id}_{segment.vlan}{kind}_{vpg}"],
        "parent_type": "project",
        "virtual_network_refs": [{"to": list(network), "uuid": segment.network_id}],
        **_mark(host, evidence),
    }
    if segment.tagged:
        body["virtual_machine_interface_properties"] = {"sub_interface_vlan_tag": segment.vlan}
    else:
        bindings["tor_port_vlan_id"] = str(segment.vlan)
    body["virtual_machine_interface_bindings"] = _as_pairs(bindings)
    return {"virtual-machine-interface": body}


def _mark(host: str, evidence: Iterable[Evidence]) -> dict[str, Json]:
    links = [
        {
            "pf": one.link.pf,
            "chassis_id": to_builtins(one.link.chassis_id),
            "port_id": to_builtins(one.link.port_id),
            "system_name": one.link.system_name,
            "port_description": one.link.port_description,
            "at": list(one.at),
        }
        for one in evidence
    ]
    links.sort(key=lambda link: json.dumps(link, sort_keys=True))
    return {
        "display_name": owner(host),
        "id_perms": {"enable": True, "user_visible": True, "creator": CREATOR},
        "annotations": _as_pairs({HOST: host, LINKS: json.dumps(links)}),
    }


def vmi(body: Json) -> Vmi:
    """A VMI from the API's JSON.

    :raises ValueError: if it is none; like KeyError, TypeError and AttributeError
    """
    properties = body.get("virtual_machine_interface_properties") or {}
    bindings = _pairs(body.get("virtual_machine_interface_bindings"))
    native = _vlan(bindings.get("tor_port_vlan_id"))
    tag = _vlan(properties.get("sub_interface_vlan_tag"))
    networks = body.get("virtual_network_refs") or [{"uuid": ""}]
    notes = _pairs(body.get("annotations"))
    return Vmi(
        uuid=body["uuid"],
        name=body["fq_name"][-1],
        segment=Segment(native or tag or _NO_VLAN, networks[0]["uuid"], bool(tag and not native)),
        host=_host(body, notes),
        at=_listed(bindings.get("profile")),
        evidence=_evidence(notes.get(LINKS)),
        groups=tuple(ref["uuid"] for ref in body.get("virtual_port_group_back_refs") or ()),
    )


def vpg(body: Json) -> Vpg:
    """A VPG from the API's JSON.

    :raises ValueError: if it is none; like KeyError, TypeError and AttributeError
    """
    notes = _pairs(body.get("annotations"))
    members = body.get("physical_interface_refs") or ()
    return Vpg(
        uuid=body["uuid"],
        name=body["fq_name"][-1],
        fabric=body["fq_name"][-2],
        host=_host(body, notes),
        contrail=notes.get("usage") == "sriov-vm",
        members={(ref["to"][-2], ref["to"][-1]): ref["uuid"] for ref in members},
        vmis=tuple(ref["uuid"] for ref in body.get("virtual_machine_interface_refs") or ()),
        evidence=_evidence(notes.get(LINKS)),
    )


def _host(body: Json, notes: Mapping[str, str]) -> str:
    """Whose it is: only the mark and the annotation together say so."""
    made = (body.get("id_perms") or {}).get("creator") == CREATOR
    return notes.get(HOST, "") if made else ""


def _as_pairs(values: Mapping[str, str]) -> Json:
    return {"key_value_pair": [{"key": key, "value": value} for key, value in values.items()]}


def _pairs(value: Json) -> dict[str, str]:
    return {pair["key"]: pair["value"] for pair in (value or {}).get("key_value_pair") or ()}


def _vlan(value: Json) -> int:
    try:
        return int(value or 0)
    except (TypeError, ValueError):
        return 0


def _listed(profile: str | None) -> frozenset[At]:
    """The switch ports in a profile; none, where it is somebody else's idea of one."""
    try:
        links = json.loads(profile or "{}")["local_link_information"]
        return frozenset((str(link["switch_info"]), str(link["port_id"])) for link in links)
    except (ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def _evidence(text: str | None) -> tuple[Evidence, ...]:
    """What :func:`_mark` wrote; what is not of that form is left out."""
    try:
        listed = json.loads(text or "[]")
    except (ValueError, TypeError, RecursionError):
        return ()
    found = []
    for one in listed if isinstance(listed, list) else ():
        try:
            switch, interface = one["at"]
            found.append(Evidence(_link(one), (str(switch), str(interface))))
        except (InvalidField, KeyError, TypeError, ValueError):
            continue
    return tuple(found)


def _link(one: Json) -> SwitchPort:
    chassis, port = one["chassis_id"], one["port_id"]
    return SwitchPort(
        pf=fields.pci_address(one["pf"]),
        chassis_id=LldpId(str(chassis["subtype"]), str(chassis["value"])),
        port_id=LldpId(str(port["subtype"]), str(port["value"])),
        system_name=str(one.get("system_name", "")),
        port_description=str(one.get("port_description", "")),
    )
