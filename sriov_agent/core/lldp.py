# SPDX-License-Identifier: Apache-2.0
"""Which switch port is this PF cabled to? A pure choice over what was heard.

Whoever can send a frame can claim to be a switch, so the answer is exactly one neighbor or
none at all, each with its reason.
"""

from collections.abc import Iterable

from sriov_agent.core.model import Cabling, LldpId, Neighbor, SwitchPort
from sriov_agent.exceptions import printable

#: Enabled capabilities that no switch is without when it announces any (IEEE 802.1AB 8.5.8).
FORWARDING = frozenset({"Bridge", "Router"})


def cabling(
    pf: str, neighbors: Iterable[Neighbor], local: frozenset[tuple[LldpId, LldpId]]
) -> Cabling:
    """The switch port behind ``pf``, or why it cannot be told.

    :param pf: PCI address of the PF
    :param neighbors: everything heard on it
    :param local: (chassis id, port id) pairs this host itself announces: a PF hears its own
        frames back from its VF switch
    """
    heard = tuple(neighbors)
    left: list[Neighbor] = []
    refused: list[str] = []
    for neighbor in heard:
        why = _refusal(neighbor, local)
        if why:
            refused.append(f"{describe(neighbor)}: {why}")
        elif not any(_same_port(neighbor, other) for other in left):
            left.append(neighbor)
    if len(left) == 1:
        return Cabling(switch_port=_switch_port(pf, left[0]), neighbors=heard)
    if left:
        listed = ", ".join(sorted(describe(neighbor) for neighbor in left))
        return Cabling(reason=f"ambiguous LLDP neighbors: {listed}", neighbors=heard)
    reason = "no LLDP neighbor"
    if refused:
        reason += f" that is a switch (refused: {'; '.join(sorted(refused))})"
    return Cabling(reason=reason, neighbors=heard)


def describe(neighbor: Neighbor) -> str:
    """A neighbor for people, escaped: ``'leaf1' port 'swp1'``."""
    name = neighbor.system_name or neighbor.chassis_id.value
    return f"{printable(name)} port {printable(neighbor.port_id.value)}"


def _refusal(neighbor: Neighbor, local: frozenset[tuple[LldpId, LldpId]]) -> str:
    if (neighbor.chassis_id, neighbor.port_id) in local:
        return "this host's own frame, reflected by the NIC"
    if neighbor.ttl <= 0:
        return "expired"
    if neighbor.capabilities and not neighbor.capabilities & FORWARDING:
        return "neither a bridge nor a router"
    return ""


def _same_port(one: Neighbor, other: Neighbor) -> bool:
    return (one.chassis_id, one.port_id) == (other.chassis_id, other.port_id)


def _switch_port(pf: str, neighbor: Neighbor) -> SwitchPort:
    return SwitchPort(
        pf=pf,
        chassis_id=neighbor.chassis_id,
        port_id=neighbor.port_id,
        system_name=neighbor.system_name,
        port_description=neighbor.port_description,
    )
