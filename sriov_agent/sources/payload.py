# SPDX-License-Identifier: Apache-2.0
"""What Neutron's notifications say of a port or network: pure, and strict about types.

A payload is the API response as its *caller* may see it: a tenant's request yields none of the
``binding:*`` fields but the VNIC type, an administrator's yields all of them. Contrail's Neutron
plugin (R1912 was read) gives no ``revision_number``, no ``provider:network_type``, and ``null``
for the host of a port that is bound nowhere.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from sriov_agent.core import fields
from sriov_agent.core.model import LinkState
from sriov_agent.core.state import VNIC_TYPES
from sriov_agent.exceptions import InvalidField
from sriov_agent.sources.trunk import Network

Json = object

#: VNIC types that other agents of a compute node serve.
FOREIGN_VNIC_TYPES = frozenset(
    "normal baremetal smart-nic virtio-forwarder remote-managed vdpa direct-physical".split()
)
#: ``device_owner`` of a port that is a VLAN of its trunk's parent, and has no VF of its own.
SUB_PORT_OWNER = "trunk:subport"
#: What of a document comes from the ``binding:*`` fields, which a tenant does not see.
BINDING_FIELDS = frozenset(
    "vnic_type pci_slot physical_network trust vlan trunk_vlans plugged_by_nova".split()
)
#: How ``trusted`` is written in a profile; source: nova, which takes it from oslo.utils' strutils.
_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FALSE = frozenset({"0", "f", "false", "off", "n", "no"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: In a profile: the host whose agent, and not nova, wrote the ``pci_slot`` that is there.
WRITTEN_BY = "sriov_agent_host"
#: VIF types of a port that Neutron has not bound to the host it names.
UNBOUND_VIF_TYPES = frozenset({"unbound", "binding_failed"})


class PortPayload(Struct, frozen=True, kw_only=True):
    """A port as far as the payload tells. ``bound`` is ``None`` where it does not say.

    ``document`` holds fields of a :class:`PortBinding`, and of a trunk's parent ``sub_ports``, as
    [port id, VLAN], or ``trunk_vlans``.
    """

    port_id: str
    revision_number: int
    bound: bool | None
    network_id: str
    document: Mapping[str, Json]


def ports(payload: Json) -> list[Json]:
    """The port dictionaries of a create or update payload, bulk or not.

    :raises InvalidField: if there are none
    """
    return _several(payload, "port")


def networks(payload: Json) -> list[Json]:
    """The network dictionaries of a create or update payload, bulk or not.

    :raises InvalidField: if there are none
    """
    return _several(payload, "network")


def deleted_id(payload: Json, kind: str) -> str:
    """The id in a delete payload; ``kind`` is ``port`` or ``network``.

    :raises InvalidField: if there is none
    """
    return fields.port_id(mapping(payload, "payload").get(f"{kind}_id"), f"{kind}_id")


def identity(port: Json) -> tuple[str, int]:
    """Id and revision number of a port or network dictionary.

    Without a revision number its time of change orders it, in microseconds.

    :raises InvalidField: if it has none
    """
    entry = mapping(port, "port")
    port_id = fields.port_id(entry.get("id"))
    if "revision_number" not in entry and "updated_at" in entry:
        return port_id, _microseconds(entry["updated_at"])
    revision = fields.integer(entry.get("revision_number"), "revision_number", 0, 2**62 - 1)
    return port_id, revision


def tells_binding(port: Json) -> bool:
    """Whether its caller may see where the port is bound."""
    return isinstance(port, Mapping) and "binding:host_id" in port


def served(port: Json) -> bool:
    """Whether it is of a VNIC type that this agent serves, wherever it is bound."""
    return isinstance(port, Mapping) and port.get("binding:vnic_type") in VNIC_TYPES


def read_port(port: Json, host: str) -> PortPayload:
    """Check and pick what the agent needs of one port dictionary.

    :param host: this host's name; a port of another host is not ``bound`` here
    :raises InvalidField: for the first field that cannot be accepted
    """
    entry = mapping(port, "port")
    port_id, revision = identity(entry)
    bound = _bound(entry, host)
    return PortPayload(
        port_id=port_id,
        revision_number=revision,
        bound=bound,
        network_id=fields.port_id(entry.get("network_id"), "network_id") if bound else "",
        document={} if bound is False else dict(_document(entry, host)),
    )


def read_network(network: Json) -> Network | None:
    """Where a network is; ``None`` if the caller may not see that.

    :raises InvalidField: for the first field that cannot be accepted
    """
    entry = mapping(network, "network")
    network_id, revision = identity(entry)
    if "segments" in entry:
        several = entry["segments"]
        if not isinstance(several, list):
            raise InvalidField("segments", several, "expected a list")
        found = [_segment(mapping(one, "segments"), "segments.") for one in several]
        both = [(vlan, name) for vlan, name in found if vlan is not None and name is not None]
        return Network(network_id, revision, segments=tuple(sorted(both)))
    if not entry.keys() & {"provider:network_type", "provider:segmentation_id"}:
        return None
    vlan, physical_network = _segment(entry, "")
    return Network(network_id, revision, vlan, physical_network)


def _segment(entry: Mapping[str, Json], within: str) -> tuple[int | None, str | None]:
    """(VLAN, physical network); no VLAN where the type has none, 0 where it is flat."""
    physical_network = entry.get("provider:physical_network")
    if physical_network is not None:
        name = f"{within}provider:physical_network"
        physical_network = fields.physical_network(physical_network, name)
    segmentation_id = entry.get("provider:segmentation_id")
    kind = entry.get("provider:network_type", "vlan" if segmentation_id else None)
    if kind == "flat":
        return 0, physical_network
    if kind != "vlan":
        return None, physical_network
    return fields.vlan(segmentation_id, f"{within}provider:segmentation_id"), physical_network


def _bound(entry: Mapping[str, Json], host: str) -> bool | None:
    if "binding:host_id" not in entry:
        return None
    host_id = entry["binding:host_id"]
    if host_id is None:
        return False
    fields.text(host_id, "binding:host_id")
    vif_type = entry.get("binding:vif_type")
    if vif_type is not None and fields.text(vif_type, "binding:vif_type") in UNBOUND_VIF_TYPES:
        return False
    vnic_type = entry.get("binding:vnic_type")
    foreign = isinstance(vnic_type, str) and vnic_type in FOREIGN_VNIC_TYPES
    sub_port = entry.get("device_owner") == SUB_PORT_OWNER
    return host_id == host and not foreign and not sub_port


def _document(entry: Mapping[str, Json], host: str) -> Iterator[tuple[str, Json]]:
    yield "mac", fields.mac(entry.get("mac_address"))
    yield "name", fields.text(entry.get("name", ""), "name")
    up = fields.boolean(entry.get("admin_state_up", True), "admin_state_up")
    yield "link_state", LinkState.AUTO if up else LinkState.DISABLE
    security = entry.get("port_security_enabled")
    yield (
        "spoofchk",
        True if security is None else fields.boolean(security, "port_security_enabled"),
    )
    if "trunk_details" in entry:
        yield "sub_ports", _sub_ports(entry["trunk_details"])
    if "binding:host_id" not in entry:
        return
    vnic_type = entry.get("binding:vnic_type")
    if vnic_type not in VNIC_TYPES:
        raise InvalidField(
            "binding:vnic_type", vnic_type, "this agent serves " + ", ".join(VNIC_TYPES)
        )
    yield "vnic_type", vnic_type
    profile = mapping(entry.get("binding:profile") or {}, "binding:profile")
    details = mapping(entry.get("binding:vif_details") or {}, "binding:vif_details")
    if profile.get("pci_slot") is not None and profile.get(WRITTEN_BY, host) == host:
        yield "pci_slot", fields.pci_address(profile["pci_slot"], "binding:profile.pci_slot")
    if profile.get("physical_network") is not None:
        yield (
            "physical_network",
            fields.physical_network(
                profile["physical_network"], "binding:profile.physical_network"
            ),
        )
    owner = entry.get("device_owner")
    nova = isinstance(owner, str) and owner.startswith("compute:")
    chosen = profile.get("pci_slot") is not None and WRITTEN_BY not in profile
    yield "plugged_by_nova", nova and chosen
    if "trusted" in profile:
        yield "trust", _trusted(profile["trusted"], "binding:profile.trusted")
    else:
        yield "trust", _trusted(entry.get("trusted"), "trusted")
    if profile.get("trunk") is not None:
        if "trunk_details" in entry:
            raise InvalidField(
                "binding:profile.trunk",
                profile["trunk"],
                "the port is the parent of a Neutron trunk, which says what its VLANs are",
            )
        yield "trunk_vlans", _trunk_vlans(profile["trunk"])
    vlan = details.get("vlan")
    if vlan is not None:
        if isinstance(vlan, str) and re.fullmatch("[0-9]{1,4}", vlan):
            vlan = int(vlan)
        yield "vlan", fields.vlan(vlan, "binding:vif_details.vlan")


def _trusted(value: Json, field: str) -> bool:
    """A boolean, also as ``openstack port create --binding-profile trusted=true`` writes it."""
    if value is None or isinstance(value, bool):
        return bool(value)
    text = value.strip().lower() if isinstance(value, str) else ""
    if text not in _TRUE | _FALSE:
        raise InvalidField(field, value, "expected true or false")
    return text in _TRUE


def _sub_ports(details: Json) -> list[list[Json]]:
    """Source: the extension ``trunk-details``; only subports that are tagged with a VLAN."""
    found: list[list[Json]] = []
    field = "trunk_details.sub_ports"
    several = mapping(details, "trunk_details").get("sub_ports", [])
    if not isinstance(several, list):
        raise InvalidField(field, several, "expected a list")
    for one in several:
        entry = mapping(one, field)
        kind = entry.get("segmentation_type")
        if kind != "vlan":
            raise InvalidField(f"{field}.segmentation_type", kind, "expected vlan")
        segmentation_id = entry.get("segmentation_id")
        vlan = fields.integer(segmentation_id, f"{field}.segmentation_id", 1, fields.MAX_VLAN)
        found.append([fields.port_id(entry.get("port_id"), f"{field}.port_id"), vlan])
    return sorted(found, key=str)


def _trunk_vlans(trunk: Json) -> list[int]:
    entry = mapping(trunk, "binding:profile.trunk")
    vlans = entry.get("vlans")
    if not isinstance(vlans, list) or not vlans:
        raise InvalidField("binding:profile.trunk.vlans", vlans, "expected a list of VLANs")
    checked = {
        fields.integer(vlan, "binding:profile.trunk.vlans", 1, fields.MAX_VLAN) for vlan in vlans
    }
    return sorted(checked)


def _microseconds(value: Json) -> int:
    """A time as Neutron writes it, in UTC, as microseconds since 1970."""
    text = fields.text(value, "updated_at")
    try:
        at = datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError:
        raise InvalidField("updated_at", text, "expected a time as of ISO 8601") from None
    return max(0, (at - _EPOCH) // timedelta(microseconds=1))


def _several(payload: Json, kind: str) -> list[Json]:
    entry = mapping(payload, "payload")
    if kind in entry:
        return [entry[kind]]
    several = entry.get(f"{kind}s")
    if not isinstance(several, list):
        raise InvalidField(kind, None, f"the payload has no {kind}")
    return several


def mapping(value: Json, field: str) -> Mapping[str, Json]:
    """A JSON object.

    :raises InvalidField: if it is none
    """
    if not isinstance(value, dict):
        raise InvalidField(field, value, "expected an object")
    return value
