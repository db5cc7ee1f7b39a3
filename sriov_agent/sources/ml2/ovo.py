# SPDX-License-Identifier: Apache-2.0
"""Neutron's versioned objects as they cross the wire: pure, and strict about types.

Source: ``obj_to_primitive`` of oslo.versionedobjects; ``neutron/objects/ports.py`` (Port 1.7) and
``neutron/objects/qos/policy.py`` (QosPolicy 1.10).
"""

import json
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField
from sriov_agent.sources.payload import PortPayload, mapping

Json = object

_ACTIVE = "ACTIVE"
_SAME_IN_THE_API = (
    "id name network_id mac_address admin_state_up device_owner status revision_number "
    "qos_policy_id qos_network_policy_id trusted"
).split()
#: The field of a rule that a VF's rate comes from; there are rules of other kinds.
_RATES = {"QosBandwidthLimitRule": "max_kbps", "QosMinimumBandwidthRule": "min_kbps"}


def name(primitive: Json) -> Json:
    """Which object it is."""
    return mapping(primitive, "object").get("versioned_object.name")


def data(primitive: Json, name: str) -> Mapping[str, Json]:
    """The fields of a versioned object of this name.

    :raises InvalidField: if it is none
    """
    entry = mapping(primitive, name)
    found = entry.get("versioned_object.name")
    if found != name:
        raise InvalidField("versioned_object.name", found, f"expected {name}")
    return mapping(entry.get("versioned_object.data"), f"{name} versioned_object.data")


def port_id(primitive: Json) -> str:
    """The id of a Port, which is all that is left of a deleted one."""
    return fields.port_id(data(primitive, "Port").get("id"))


def with_segment(said: PortPayload, segment: Mapping[str, Json] | None) -> PortPayload:
    """``said`` with the VLAN and the physical network of its segment, where there is one.

    :raises InvalidField: for a segment that no VF can be in
    """
    if not said.bound or segment is None:
        return said
    kind = segment.get("network_type")
    if kind not in ("vlan", "flat"):
        raise InvalidField("network_type", kind, "a VF takes a vlan or flat segment")
    vlan = segment.get("segmentation_id") if kind == "vlan" else 0
    found = {
        "vlan": fields.vlan(vlan, "segmentation_id"),
        "physical_network": fields.physical_network(segment.get("physical_network")),
    }
    return replace(said, document={**said.document, **found})


def api_port(entry: Mapping[str, Json]) -> dict[str, Json]:
    """The fields of a Port as Neutron's API names them.

    Where it has several bindings, the active one counts.
    """
    found = {name: entry[name] for name in _SAME_IN_THE_API if name in entry}
    if entry.get("security") is not None:
        found["port_security_enabled"] = _port_security(entry["security"])
    bindings = list(_objects(entry, "bindings", "PortBinding"))
    active = [binding for binding in bindings if binding.get("status") == _ACTIVE]
    binding = next(iter(active or bindings), {})
    found |= {
        "binding:host_id": binding.get("host", "") if active else "",
        "binding:vnic_type": binding.get("vnic_type"),
        "binding:vif_type": binding.get("vif_type"),
        "binding:profile": _decoded(binding, "profile"),
        "binding:vif_details": _decoded(binding, "vif_details"),
    }
    return found


def trunk(primitive: Json) -> tuple[str, list[list[Json]]]:
    """A Trunk's parent port, and its subports as [port id, VLAN] (Trunk 1.1, SubPort 1.0).

    :raises InvalidField: for the first field that cannot be accepted
    """
    entry = data(primitive, "Trunk")
    sub_ports: list[list[Json]] = []
    for sub_port in _objects(entry, "sub_ports", "SubPort"):
        kind = sub_port.get("segmentation_type")
        if kind != "vlan":
            raise InvalidField("segmentation_type", kind, "a guest tags its frames with a VLAN")
        vlan = fields.vlan(sub_port.get("segmentation_id"), "segmentation_id")
        sub_ports.append([fields.port_id(sub_port.get("port_id"), "sub_ports.port_id"), vlan])
    return fields.port_id(entry.get("port_id"), "port_id"), sub_ports


def policy_rates(primitive: Json) -> tuple[str, int, int]:
    """A QosPolicy's id, and what its rules for egress make of a VF's rates.

    :return: (id, max_tx_rate, min_tx_rate), rates in Mbit/s, 0 where there is no such rule
    :raises InvalidField: for the first field that cannot be accepted
    """
    entry = data(primitive, "QosPolicy")
    policy_id = fields.port_id(entry.get("id"), "qos_policy_id")
    rates = dict.fromkeys(_RATES.values(), 0)
    for rule in _mappings(entry.get("rules") or [], "rules"):
        found = mapping(rule.get("versioned_object.data"), "rule")
        if found.get("direction", "egress") != "egress":
            continue
        name = _RATES.get(str(rule.get("versioned_object.name")))
        if name:
            rates[name] = fields.integer(found.get(name), name, 0, 2**31 - 1)
    return policy_id, megabits(rates["max_kbps"]), megabits(rates["min_kbps"])


def megabits(kilobits: int) -> int:
    """Kbit/s in the Mbit/s of a VF's rates, rounded, but no limit becomes none (0)."""
    return max(1, (kilobits + 500) // 1000) if kilobits else 0


def segment(entry: Mapping[str, Json], host: str) -> Mapping[str, Json] | None:
    """The segment that a Port, as :func:`data` has it, is bound to on this host, if to any.

    :raises InvalidField: for the first field that cannot be accepted
    """
    levels = [
        level
        for level in _objects(entry, "binding_levels", "PortBindingLevel")
        if level.get("host") == host and level.get("segment") is not None
    ]
    if not levels:
        return None
    bottom = max(levels, key=lambda level: fields.integer(level.get("level"), "level", 0, 100))
    return data(bottom["segment"], "NetworkSegment")


def _objects(entry: Mapping[str, Json], field: str, name: str) -> Iterator[Mapping[str, Json]]:
    for primitive in _mappings(entry.get(field) or [], field):
        yield data(primitive, name)


def _port_security(primitive: Json) -> Json:
    """What a PortSecurity says; of anything else itself, which whoever reads the port refuses."""
    within = primitive.get("versioned_object.data") if isinstance(primitive, Mapping) else None
    return within.get("port_security_enabled") if isinstance(within, Mapping) else primitive


def _decoded(binding: Mapping[str, Json], field: str) -> Json:
    """A field that is JSON in a string within the object, "" or ``None`` for nothing.

    Other text stays text, which whoever reads the port refuses.
    """
    text = binding.get(field)
    if not isinstance(text, str) or not text:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _mappings(value: Json, field: str) -> list[Mapping[str, Json]]:
    if not isinstance(value, list):
        raise InvalidField(field, value, "expected a list")
    return [mapping(entry, field) for entry in value]
