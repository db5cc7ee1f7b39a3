# SPDX-License-Identifier: Apache-2.0
"""The types of the config API that the fake knows: parents, properties and references.

``str``, ``int`` and ``bool`` stand for themselves, a mapping for a structure, a list of one kind
for a list of it, a :class:`OneOf` for an enumeration.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Flavour(enum.Enum):
    """The release whose behaviour is shown."""

    MASTER = "master"
    R2011 = "R2011"


@dataclass(frozen=True)
class OneOf:
    """An enumeration of strings."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class Reference:
    """Where a reference leads; ``attr``: it carries an attribute, and the client must send it."""

    to: str
    attr: bool = False


@dataclass(frozen=True)
class Type:
    """``parents`` is empty for a type at the root of the configuration."""

    name: str
    parents: tuple[str, ...] = ()
    props: Mapping[str, Any] = field(default_factory=dict)
    refs: Mapping[str, Reference] = field(default_factory=dict)

    @property
    def field(self) -> str:
        """The name as fields have it."""
        return self.name.replace("-", "_")


PAIRS = {"key_value_pair": [{"key": str, "value": str}]}

COMMON = {
    "display_name": str,
    "annotations": PAIRS,
    "id_perms": {
        "permissions": {
            "owner": str,
            "owner_access": int,
            "group": str,
            "group_access": int,
            "other_access": int,
        },
        "uuid": {"uuid_mslong": int, "uuid_lslong": int},
        "enable": bool,
        "created": str,
        "last_modified": str,
        "description": str,
        "user_visible": bool,
        "creator": str,
    },
    "perms2": {
        "owner": str,
        "owner_access": int,
        "global_access": int,
        "share": [{"tenant": str, "tenant_access": int}],
    },
}

QUOTA = {
    "defaults": int,
    "virtual_machine_interface": int,
    "virtual_network": int,
    "virtual_port_group": int,
}

DEFINED = (
    Type("global-system-config"),
    Type("domain"),
    Type("device-chassis", props={"device_chassis_type": str}),
    Type("project", ("domain",), {"quota": QUOTA}),
    Type(
        "fabric",
        ("global-system-config",),
        {"fabric_enterprise_style": bool, "disable_vlan_vn_uniqueness_check": bool},
    ),
    Type(
        "physical-router",
        ("global-system-config",),
        {
            "physical_router_hostname": str,
            "physical_router_management_ip": str,
            "physical_router_role": str,
            "physical_router_vendor_name": str,
            "physical_router_product_name": str,
        },
        {
            "device_chassis_refs": Reference("device-chassis"),
            "fabric_refs": Reference("fabric"),
        },
    ),
    Type(
        "physical-interface",
        ("physical-router",),
        {
            "physical_interface_port_id": str,
            "physical_interface_mac_addresses": {"mac_address": [str]},
            "physical_interface_type": str,
        },
    ),
    Type(
        "virtual-network",
        ("project",),
        {
            "provider_properties": {"segmentation_id": int, "physical_network": str},
            "is_provider_network": bool,
            "virtual_network_network_id": int,
        },
    ),
    Type(
        "virtual-port-group",
        ("fabric", "project"),
        {
            "virtual_port_group_lacp_enabled": bool,
            "virtual_port_group_user_created": bool,
            "virtual_port_group_type": OneOf(("access", "routed")),
            "virtual_port_group_trunk_port_id": str,
        },
        {
            "physical_interface_refs": Reference("physical-interface", attr=True),
            "virtual_machine_interface_refs": Reference("virtual-machine-interface"),
        },
    ),
    Type(
        "virtual-machine-interface",
        ("project", "virtual-machine", "virtual-router"),
        {
            "virtual_machine_interface_properties": {
                "sub_interface_vlan_tag": int,
                "service_interface_type": str,
                "interface_mirror": {},
                "local_preference": int,
                "max_flows": int,
            },
            "virtual_machine_interface_bindings": PAIRS,
            "virtual_machine_interface_mac_addresses": {"mac_address": [str]},
            "virtual_machine_interface_device_owner": str,
            "virtual_machine_interface_disable_policy": bool,
            "port_security_enabled": bool,
        },
        {
            "virtual_network_refs": Reference("virtual-network"),
            "routing_instance_refs": Reference("routing-instance", attr=True),
            "security_group_refs": Reference("security-group"),
        },
    ),
)


def types(flavour: Flavour) -> dict[str, Type]:
    """Every type by its name. The reference of an interface to its port group came with R21.3."""
    found = {one.name: one for one in DEFINED}
    if flavour is Flavour.MASTER:
        vmi = found["virtual-machine-interface"]
        refs = {**vmi.refs, "virtual_port_group_refs": Reference("virtual-port-group", attr=True)}
        found[vmi.name] = Type(vmi.name, vmi.parents, vmi.props, refs)
    return {
        name: Type(one.name, one.parents, {**COMMON, **one.props}, one.refs)
        for name, one in found.items()
    }


def back_refs(known: Mapping[str, Type], name: str) -> dict[str, tuple[str, str]]:
    """Field of a back reference to the type that refers and the field in which it does."""
    return {
        f"{one.field}_back_refs": (one.name, at)
        for one in known.values()
        for at, reference in one.refs.items()
        if reference.to == name
    }


def children(known: Mapping[str, Type], name: str) -> dict[str, str]:
    """Field of the children to their type."""
    return {f"{one.field}s": one.name for one in known.values() if name in one.parents}


def checked(kind: Any, name: str, value: Any) -> Any:
    """The value as it is stored. What is false in any way is not looked at.

    :raises ValueError: where it does not fit
    """
    if not value:
        return value
    if isinstance(kind, dict):
        return _structure(kind, name, value)
    if isinstance(kind, list):
        if not isinstance(value, list):
            raise ValueError(f"Field {name} must be a list. Received value: {value}")
        return [checked(kind[0], name, item) for item in value]
    return _simple(kind, name, value)


def _structure(kind: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"Error in property {name} value of {value}")
    for key in value:
        if key not in kind:
            raise ValueError(f"class {name} does not have field {key}")
    return {key: checked(kind[key], key, item) for key, item in value.items()}


def _simple(kind: Any, name: str, value: Any) -> Any:
    if kind is int:
        try:
            return value if isinstance(value, int) else int(value)
        except (TypeError, ValueError):
            raise ValueError(f"{name}: integer value expected instead of {value}") from None
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{name}: true/false expected instead of {value}")
        return value
    if not isinstance(value, str):
        raise ValueError(f"{name}: string value expected instead of {value}")
    if isinstance(kind, OneOf) and value not in kind.values:
        raise ValueError(f"{name}: value must be one of {kind.values}")
    return value
