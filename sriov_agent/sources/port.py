# SPDX-License-Identifier: Apache-2.0
"""What was last said of a port, and what that makes it want of this host: pure."""

from collections.abc import Mapping

from msgspec import Struct, structs

from sriov_agent.core import fields
from sriov_agent.core.model import LinkState, Segment
from sriov_agent.core.state import PortBinding
from sriov_agent.exceptions import InvalidField
from sriov_agent.sources import trunk
from sriov_agent.sources.trunk import Network, SubPort

Json = object


class Port(Struct, frozen=True, kw_only=True):
    """One row: what was last said of a port.

    ``document`` holds the fields of a :class:`PortBinding`; VLAN and physical network may be
    absent there when they come from the network. ``profile`` is Neutron's own. A
    ``qos_policy_id`` gives the rates, and ``propagate_uplink_status`` tells ``auto`` from
    ``enable``. ``error`` is why the last word was refused.

    ``binding_revision`` is the revision that told of the ``binding:*`` fields, ``None``: the same
    as of the rest. A tenant's word may be newer than what is known of those.
    """

    port_id: str
    revision_number: int
    bound: bool
    binding_revision: int | None = None
    network_id: str = ""
    document: Mapping[str, Json]
    error: str = ""

    def __post_init__(self) -> None:
        if self.binding_revision == self.revision_number:
            structs.force_setattr(self, "binding_revision", None)

    @property
    def whole(self) -> bool:
        """Whether nothing else has to be known to tell what it wants."""
        if self.document.keys() & {"qos_policy_id", "sub_ports", "trunk_vlans"}:
            return False
        return None not in (self.document.get("vlan"), self.document.get("physical_network"))

    @property
    def in_doubt(self) -> bool:
        """Whether there is a newer word on the port than on its binding."""
        return self.binding_revision is not None

    @property
    def told_binding(self) -> int:
        """The revision that told of the ``binding:*`` fields."""
        return self.revision_number if self.binding_revision is None else self.binding_revision


def binding(
    port: Port,
    networks: Mapping[str, Network],
    of_sub_port: Mapping[str, str],
    policies: Mapping[str, tuple[int, int]],
) -> PortBinding:
    """What the port wants of this host.

    :param networks: by id
    :param of_sub_port: the network id of each subport that is known
    :param policies: (max_tx_rate, min_tx_rate) in Mbit/s by QoS policy
    :raises InvalidField: for what is wrong, or not known yet
    """
    document = dict(port.document)
    document.pop("profile", None)
    policy_id = document.pop("qos_policy_id", None)
    if policy_id is not None:
        if policy_id not in policies:
            raise InvalidField("qos_policy_id", policy_id, "its rules are not known yet")
        document["max_tx_rate"], document["min_tx_rate"] = policies[str(policy_id)]
    propagated = document.pop("propagate_uplink_status", True)
    if not propagated and document.get("link_state") == LinkState.AUTO:
        document["link_state"] = LinkState.ENABLE
    sub_ports = document.pop("sub_ports", None)
    trunk_vlans = document.pop("trunk_vlans", None)
    _place(port, document, networks.get(port.network_id))
    if sub_ports is not None or trunk_vlans is not None:
        native = Segment(fields.vlan(document["vlan"]), port.network_id)
        carried = trunk.segments(
            native,
            fields.physical_network(document["physical_network"]),
            [SubPort(id_, vlan, of_sub_port.get(id_, "")) for id_, vlan in trunk_sub_ports(port)],
            networks,
        )
        by_number = trunk_vlans if isinstance(trunk_vlans, list) and sub_ports is None else []
        document["trunk"] = (*carried, *map(Segment, by_number))
        document["vlan"] = 0
    try:
        return PortBinding(
            port_id=port.port_id,
            revision_number=port.revision_number,
            **{"network_id": port.network_id, **document},  # type: ignore[arg-type]
        )
    except TypeError as error:
        raise InvalidField("port", port.port_id, f"incomplete: {error}") from error


def _place(port: Port, document: dict[str, Json], network: Network | None) -> None:
    """Complete VLAN and physical network from the port's network.

    :raises InvalidField: if they are not known, or there are none
    """
    name = document.get("physical_network")
    vlan = document.get("vlan")
    if name is not None and vlan is not None:
        return
    lacks = "provider:segmentation_id" if vlan is None else "provider:physical_network"
    if network is None:
        raise InvalidField(
            "network_id", port.network_id, f"its {lacks} is not known to this agent yet"
        )
    if name is None and len(network.segments) > 1:
        raise InvalidField(
            "provider:physical_network", None, f"network {port.network_id} is in several"
        )
    if name is None:
        name = network.segments[0][1] if network.segments else network.physical_network
    if vlan is None:
        vlan = network.vlan_on(str(name)) if network.segments else network.vlan
    document |= {"physical_network": name, "vlan": vlan}
    for lacks, found in (
        ("provider:segmentation_id", vlan),
        ("provider:physical_network", name),
    ):
        if found is None:
            raise InvalidField(lacks, None, f"network {port.network_id} has none")


def trunk_sub_ports(port: Port) -> list[tuple[str, int]]:
    """The subports of its trunk, as (port id, VLAN)."""
    listed = port.document.get("sub_ports")
    return [(id_, vlan) for id_, vlan in listed] if isinstance(listed, list) else []
