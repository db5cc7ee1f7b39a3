# SPDX-License-Identifier: Apache-2.0
"""Which VLANs a trunk VF carries: pure, for every source that has Neutron's trunks.

The guest tags its frames itself, and nothing between it and the network translates: the VLAN that
a subport is tagged with must be that of its network. A tenant chooses the first and only an
administrator the second, so this is also what keeps a tenant out of the VLANs of others.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from sriov_agent.core.model import Segment
from sriov_agent.exceptions import InvalidField


class Network(Struct, frozen=True):
    """Where a network is. ``vlan`` is 0 where it is flat, ``None`` where it has none.

    One of several segments has them in ``segments`` instead, as (VLAN, physical network).
    """

    network_id: str
    revision_number: int = 0
    vlan: int | None = None
    physical_network: str | None = None
    segments: tuple[tuple[int, str], ...] = ()

    def vlan_on(self, physical_network: str) -> int | None:
        """Its VLAN on a physical network; ``None`` if it is not there."""
        if self.physical_network == physical_network:
            return self.vlan
        found = [vlan for vlan, name in self.segments if name == physical_network]
        return found[0] if len(found) == 1 else None


class SubPort(Struct, frozen=True):
    """A subport of a trunk: the guest tags its frames with ``vlan``.

    ``network_id`` is that of its port, "" where it is not known.
    """

    port_id: str
    vlan: int
    network_id: str = ""


def segments(
    native: Segment,
    physical_network: str,
    sub_ports: Iterable[SubPort],
    networks: Mapping[str, Network],
) -> tuple[Segment, ...]:
    """What the link of a trunk's parent port carries.

    :param native: the parent's own network, untagged; VLAN 0: what the guest does not tag has no
        network
    :param physical_network: the parent's
    :param networks: by network id
    :raises InvalidField: for a subport whose VLAN is not its network's, or not known
    """
    own = [Segment(native.vlan, native.network_id, tagged=False)] if native.vlan else []
    return (*own, *_tagged(physical_network, sub_ports, networks))


def _tagged(
    physical_network: str, sub_ports: Iterable[SubPort], networks: Mapping[str, Network]
) -> Iterator[Segment]:
    for sub_port in sub_ports:
        network = networks.get(sub_port.network_id)
        if network is None:
            raise InvalidField(
                "trunk_details.sub_ports",
                sub_port.port_id,
                "the VLAN of this subport's network is not known to this agent yet",
            )
        vlan = network.vlan_on(physical_network)
        if vlan is None:
            raise InvalidField(
                "trunk_details.sub_ports",
                sub_port.port_id,
                f"its network {network.network_id} has no VLAN on {physical_network}, where the "
                "trunk is",
            )
        if vlan != sub_port.vlan:
            raise InvalidField(
                "trunk_details.sub_ports.segmentation_id",
                sub_port.vlan,
                f"network {network.network_id} of subport {sub_port.port_id} has VLAN {vlan}, and "
                "on a VF nothing translates: they must be equal",
            )
        yield Segment(vlan, network.network_id)
