# SPDX-License-Identifier: Apache-2.0
"""Which switch port is this PF cabled to? A pure choice over what was heard.

Whoever can send a frame can claim to be a switch, so the answer is exactly one neighbor or
none at all, each with its reason.
"""

import re
from collections.abc import Iterable

from sriov_agent.core.model import Cabling, KnownCabling, LldpId, Neighbor, SwitchPort
from sriov_agent.exceptions import printable

#: What an interface is called on a switch: letters, digits, and the separators in between.
_INTERFACE_NAME = re.compile(r"[A-Za-z][A-Za-z-]*[0-9][0-9/:._-]*")

#: Enabled capabilities that no switch is without when it announces any (IEEE 802.1AB 8.5.8).
FORWARDING = frozenset({"Bridge", "Router"})


def cabling(
    pf: str,
    neighbors: Iterable[Neighbor],
    local: frozenset[tuple[LldpId, LldpId]],
    local_macs: frozenset[str] = frozenset(),
    allowed: frozenset[str] = frozenset(),
) -> Cabling:
    """The switch port behind ``pf``, or why it cannot be told.

    :param pf: PCI address of the PF
    :param neighbors: everything heard on it
    :param local: (chassis id, port id) pairs this host itself announces: a PF hears its own
        frames back from its VF switch
    :param local_macs: MAC addresses of this host's PFs and VFs: what they send is no switch's
    :param allowed: chassis ids and system names of the fabric's switches, lower case; empty for
        every switch
    """
    heard = tuple(neighbors)
    left: list[Neighbor] = []
    refused: list[str] = []
    for neighbor in heard:
        why = _refusal(neighbor, local, local_macs, allowed)
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


def believed(
    found: Cabling, known: KnownCabling | None, carrier_changes: int, *, follow: bool = False
) -> Cabling:
    """``found``, unless it moves the PF to another switch port while its link stayed up.

    Nobody moves a cable without the link going down: such a change is held until it is confirmed.

    :param known: what was believed last
    :param carrier_changes: how often the PF's link came or went until now
    :param follow: believe every change
    """
    port = found.switch_port
    if port is None or known is None or follow or port == known.switch_port:
        return found
    if carrier_changes != known.carrier_changes:
        return found
    return Cabling(
        reason=f"moved from {describe_port(known.switch_port)} to {describe_port(port)} while the "
        f"link stayed up; if that is right: sriovctl lldp accept {port.pf}",
        neighbors=found.neighbors,
    )


def describe_port(port: SwitchPort) -> str:
    """A switch port for people, escaped: ``switch 'leaf1' port 'swp1'``."""
    name = port.system_name or port.chassis_id.value
    return f"switch {printable(name)} port {printable(port.port_id.value)}"


def describe(neighbor: Neighbor) -> str:
    """A neighbor for people, escaped: ``'leaf1' port 'swp1'``."""
    name = neighbor.system_name or neighbor.chassis_id.value
    return f"{printable(name)} port {printable(neighbor.port_id.value)}"


def _refusal(
    neighbor: Neighbor,
    local: frozenset[tuple[LldpId, LldpId]],
    local_macs: frozenset[str],
    allowed: frozenset[str],
) -> str:
    names = {neighbor.chassis_id.value.lower(), neighbor.system_name.lower()}
    capabilities = neighbor.capabilities
    rules = (
        (
            (neighbor.chassis_id, neighbor.port_id) in local,
            "this host's own frame, reflected by the NIC",
        ),
        (
            neighbor.source_mac in local_macs,
            f"sent from {neighbor.source_mac}, a PF or VF of this host",
        ),
        (neighbor.tagged, "in a VLAN, while a switch port announces itself without a tag"),
        (neighbor.ttl <= 0, "expired"),
        (capabilities and not capabilities & FORWARDING, "neither a bridge nor a router"),
        (allowed and not names & allowed, "not among the allowed switches"),
    )
    return next((reason for broken, reason in rules if broken), "")


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


def port_name(port_id: LldpId, description: str) -> str:
    """The port's name as a person knows it, from the id or, where that has none, the description.

    Some switches announce an ifIndex or a MAC as id and the name as description. Id, subtype
    and description all stay with the switch port: who configures the switch has the last word.
    """
    nameless = port_id.subtype == "mac" or (port_id.subtype == "local" and port_id.value.isdigit())
    return description if nameless and _INTERFACE_NAME.fullmatch(description) else port_id.value
