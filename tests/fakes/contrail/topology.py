# SPDX-License-Identifier: Apache-2.0
"""What an operator has onboarded: fabrics, switches with their interfaces, projects, networks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakes.contrail.config import Config
from tests.fakes.contrail.port_groups import GLOBAL


@dataclass(frozen=True)
class Fabric:
    """``unchecked``: its switch ``disable_vlan_vn_uniqueness_check``."""

    name: str
    enterprise: bool | None = None
    unchecked: bool | None = None


@dataclass(frozen=True)
class Interface:
    """``name`` as the switch has it; its fq_name has ``_`` for each ``:``."""

    name: str
    port_id: str | None = None
    macs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.name.replace(":", "_")


@dataclass(frozen=True)
class Switch:
    """A physical router. ``hostname`` is the name, unless it was renamed since."""

    name: str
    fabric: str | None = None
    interfaces: tuple[Interface, ...] = ()
    hostname: str | None = None
    management_ip: str | None = None
    chassis_mac: str | None = None
    vendor: str = "juniper"


@dataclass(frozen=True)
class Network:
    """A virtual network; with a VLAN of its own, where Neutron gave it one."""

    name: str
    project: str = "admin"
    uuid: str | None = None
    segmentation_id: int | None = None
    physical_network: str | None = None


@dataclass(frozen=True)
class Topology:
    """``projects``: a name, or a name and Keystone's id of it."""

    fabrics: tuple[Fabric, ...] = ()
    switches: tuple[Switch, ...] = ()
    projects: tuple[str | tuple[str, str], ...] = ("admin",)
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> "Topology":
        """From JSON: the same names, with objects for what is a class here."""

        def switch(given: Mapping[str, Any]) -> Switch:
            interfaces = (
                Interface(**{**one, "macs": tuple(one.get("macs", ()))})
                for one in given.get("interfaces", ())
            )
            return Switch(**{**given, "interfaces": tuple(interfaces)})

        return cls(
            tuple(Fabric(**one) for one in data.get("fabrics", ())),
            tuple(switch(one) for one in data.get("switches", ())),
            tuple(
                tuple(one) if isinstance(one, list) else one
                for one in data.get("projects", ("admin",))
            ),
            tuple(Network(**one) for one in data.get("networks", ())),
        )


#: two leaves, three networks: enough to look at
DEMO = Topology(
    fabrics=(Fabric("fab1"),),
    switches=tuple(
        Switch(
            f"leaf{n}",
            "fab1",
            tuple(
                Interface(f"xe-0/0/{at}", str(530 + at), (f"00:11:22:33:4{n}:0{at}",))
                for at in range(4)
            ),
            management_ip=f"192.0.2.{n}",
            chassis_mac=f"00:11:22:33:4{n}:ff",
        )
        for n in (1, 2)
    ),
    projects=("admin", "tenant1"),
    networks=(
        Network("netA", "tenant1", "23fd32db-375b-4e10-b059-5fc2f0a69be7", 100, "physnet1"),
        Network("netB", "tenant1", "4e2f7c1a-9d3b-4c58-8a6f-1b0d2e3f4a5b", 200, "physnet1"),
        Network("netC", "tenant1", "7a1b2c3d-4e5f-4061-8273-94a5b6c7d8e9", 300, "physnet1"),
    ),
)


def load(config: Config, topology: Topology) -> None:
    """Make all of it, by the same way as a request would."""

    def create(type_: str, fq_name: list[str], **fields: Any) -> None:
        given = {name: value for name, value in fields.items() if value is not None}
        config.create(config.type(type_), {"fq_name": fq_name, **given})

    for fabric in topology.fabrics:
        create(
            "fabric",
            [GLOBAL, fabric.name],
            fabric_enterprise_style=fabric.enterprise,
            disable_vlan_vn_uniqueness_check=fabric.unchecked,
        )
    for switch in topology.switches:
        chassis = None
        if switch.chassis_mac:
            chassis = [{"to": [f"{switch.vendor}_{switch.chassis_mac.replace(':', '_')}"]}]
            create("device-chassis", chassis[0]["to"])
        create(
            "physical-router",
            [GLOBAL, switch.name],
            physical_router_hostname=switch.hostname or switch.name,
            physical_router_management_ip=switch.management_ip,
            physical_router_role="leaf",
            physical_router_vendor_name=switch.vendor,
            device_chassis_refs=chassis,
            fabric_refs=[{"to": [GLOBAL, switch.fabric]}] if switch.fabric else None,
        )
        for interface in switch.interfaces:
            create(
                "physical-interface",
                [GLOBAL, switch.name, interface.key],
                display_name=interface.name,
                physical_interface_port_id=interface.port_id,
                physical_interface_mac_addresses=(
                    {"mac_address": list(interface.macs)} if interface.macs else None
                ),
            )
    for project in topology.projects:
        name, uuid = (project, None) if isinstance(project, str) else project
        create("project", ["default-domain", name], uuid=uuid)
    for network in topology.networks:
        provider = {
            "segmentation_id": network.segmentation_id,
            "physical_network": network.physical_network,
        }
        create(
            "virtual-network",
            ["default-domain", network.project, network.name],
            uuid=network.uuid,
            provider_properties=provider if network.segmentation_id else None,
            is_provider_network=True if network.segmentation_id else None,
        )
