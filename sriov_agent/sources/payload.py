# SPDX-License-Identifier: Apache-2.0
"""What Neutron's notifications say of a port or network: pure, and strict about types.

A payload is the API response as its *caller* may see it: a tenant's request yields none of the
``binding:*`` fields but the VNIC type, an administrator's yields all of them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sriov_agent.core import fields
from sriov_agent.core.model import LinkState
from sriov_agent.core.state import VNIC_TYPES
from sriov_agent.exceptions import InvalidField

Json = object

#: VNIC types that other agents of a compute node serve.
FOREIGN_VNIC_TYPES = frozenset(
    "normal baremetal smart-nic virtio-forwarder remote-managed vdpa direct-physical".split()
)
#: VIF types of a port that Neutron has not bound to the host it names.
UNBOUND_VIF_TYPES = frozenset({"unbound", "binding_failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PortPayload:
    """A port as far as the payload tells. ``bound`` is ``None`` where it does not say."""

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

    :raises InvalidField: if it has none
    """
    entry = mapping(port, "port")
    return (
        fields.port_id(entry.get("id")),
        fields.integer(entry.get("revision_number"), "revision_number", 0, 2**62 - 1),
    )


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
        document={} if bound is False else dict(_document(entry)),
    )


def read_network(network: Json) -> tuple[str, int, int | None, str | None] | None:
    """(id, revision, VLAN, physical network); ``None`` if the caller may not see the latter.

    :raises InvalidField: for the first field that cannot be accepted
    """
    entry = mapping(network, "network")
    network_id, revision = identity(entry)
    if "provider:network_type" not in entry:
        return None
    physical_network = entry.get("provider:physical_network")
    if physical_network is not None:
        physical_network = fields.physical_network(physical_network, "provider:physical_network")
    kind = entry["provider:network_type"]
    if kind == "flat":
        return network_id, revision, 0, physical_network
    if kind != "vlan":
        return network_id, revision, None, physical_network
    vlan = fields.vlan(entry.get("provider:segmentation_id"), "provider:segmentation_id")
    return network_id, revision, vlan, physical_network


def _bound(entry: Mapping[str, Json], host: str) -> bool | None:
    if "binding:host_id" not in entry:
        return None
    host_id = fields.text(entry["binding:host_id"], "binding:host_id")
    vif_type = entry.get("binding:vif_type")
    if vif_type is not None and fields.text(vif_type, "binding:vif_type") in UNBOUND_VIF_TYPES:
        return False
    vnic_type = entry.get("binding:vnic_type")
    foreign = isinstance(vnic_type, str) and vnic_type in FOREIGN_VNIC_TYPES
    return host_id == host and not foreign


def _document(entry: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    yield "mac", fields.mac(entry.get("mac_address"))
    yield "name", fields.text(entry.get("name", ""), "name")
    up = fields.boolean(entry.get("admin_state_up", True), "admin_state_up")
    yield "link_state", LinkState.AUTO if up else LinkState.DISABLE
    security = entry.get("port_security_enabled")
    yield (
        "spoofchk",
        True if security is None else fields.boolean(security, "port_security_enabled"),
    )
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
    if profile.get("pci_slot") is not None:
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
    yield "plugged_by_nova", nova and profile.get("pci_slot") is not None
    trusted = profile.get("trusted", entry.get("trusted", False))
    yield "trust", trusted is True or str(trusted).lower() == "true"
    vlan = details.get("vlan")
    if vlan is not None:
        if isinstance(vlan, str) and re.fullmatch("[0-9]{1,4}", vlan):
            vlan = int(vlan)
        yield "vlan", fields.vlan(vlan, "binding:vif_details.vlan")


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
    if not isinstance(value, Mapping):
        raise InvalidField(field, value, "expected an object")
    return value
