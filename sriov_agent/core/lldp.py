# SPDX-License-Identifier: Apache-2.0
"""Which switch port is this PF cabled to? A pure choice over what was heard.

Whoever can send a frame can claim to be a switch, so the answer is exactly one neighbor or
none at all, each with its reason.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from msgspec import Struct, to_builtins

from sriov_agent.core.model import (
    Cabling,
    Heard,
    KnownCabling,
    LldpId,
    Neighbor,
    Pf,
    SwitchPort,
    Uplink,
)
from sriov_agent.exceptions import printable

#: What an interface is called on a switch: letters, digits, and the separators in between.
_INTERFACE_NAME = re.compile(r"[A-Za-z][A-Za-z-]*[0-9][0-9/:._-]*")

#: In this time a switch is heard, which sends a frame every 30 s (IEEE 802.1AB msgTxInterval).
LISTEN_SECONDS = 35.0

#: Enabled capabilities that no switch is without when it announces any (IEEE 802.1AB 8.5.8).
FORWARDING = frozenset({"Bridge", "Router"})


def cabled(
    uplinks: Iterable[Uplink],
    heard: Heard,
    local_macs: frozenset[str] = frozenset(),
    allowed: frozenset[str] = frozenset(),
) -> dict[str, Cabling]:
    """Where each uplink is cabled, by address; why it cannot be told, with what mends it.

    :param local_macs: see :func:`cabling`, as for ``allowed``
    """
    found: dict[str, Cabling] = {}
    for uplink in uplinks:
        name, neighbors = uplink.netdev, heard.neighbors.get(uplink.address, ())
        if not uplink.up:
            why = f"{name} is down: ip link set {name} up"
        elif not uplink.carrier:
            why = f"{name} has no carrier: look at the cable and at the switch port"
        else:
            why = heard.deaf.get(uplink.address, "")
        if why:
            found[uplink.address] = Cabling(reason=why, neighbors=neighbors)
            continue
        answer = cabling(uplink.address, neighbors, heard.local, local_macs, allowed)
        if not neighbors and uplink.firmware_lldp:
            why = f"{answer.reason}: the NIC's firmware keeps the frames; {uplink.firmware_lldp}"
            answer = Cabling(reason=why)
        found[uplink.address] = answer
    return found


def cabling(
    uplink: str,
    neighbors: Iterable[Neighbor],
    local: frozenset[tuple[LldpId, LldpId]],
    local_macs: frozenset[str] = frozenset(),
    allowed: frozenset[str] = frozenset(),
) -> Cabling:
    """The switch port behind ``uplink``, or why it cannot be told.

    :param uplink: its PCI address
    :param neighbors: everything heard on it
    :param local: (chassis id, port id) pairs this host itself announces: a PF hears its own
        frames back from its VF switch
    :param local_macs: MAC addresses of this host's PFs and VFs: what they send is no switch's
    :param allowed: chassis ids and system names of the fabric's switches, lower case; empty for
        every switch
    """
    heard = tuple(neighbors)
    left: dict[tuple[LldpId, LldpId], Neighbor] = {}
    refused: list[str] = []
    for neighbor in heard:
        why = _refusal(neighbor, local, local_macs, allowed)
        if why:
            refused.append(f"{describe(neighbor)}: {why}")
        else:
            left.setdefault(neighbor.ids, neighbor)
    if len(left) == 1:
        (neighbor,) = left.values()
        return Cabling(switch_port=_switch_port(uplink, neighbor), neighbors=heard)
    if left:
        listed = ", ".join(sorted(map(describe, left.values())))
        return Cabling(reason=f"ambiguous LLDP neighbors: {listed}", neighbors=heard)
    reason = "no LLDP neighbor"
    if refused:
        reason += f" that is a switch (refused: {'; '.join(sorted(refused))})"
    return Cabling(reason=reason, neighbors=heard)


def attributed(
    neighbors: Iterable[Neighbor], frames: Iterable[Neighbor], local_macs: frozenset[str]
) -> tuple[Neighbor, ...]:
    """``neighbors`` with who sent them, as far as the uplink's own ``frames`` tell.

    A neighbor is only said to be from this host, or tagged, if every frame with its ids was:
    a switch that a guest imitates to the letter stays a switch.
    """
    by_ids: dict[tuple[LldpId, LldpId], list[Neighbor]] = {}
    for frame in frames:
        by_ids.setdefault(frame.ids, []).append(frame)
    found: list[Neighbor] = []
    for neighbor in neighbors:
        seen = by_ids.get(neighbor.ids, [])
        foreign = [f for f in seen if not f.tagged and f.source_mac not in local_macs]
        sent = next(iter(foreign or seen), neighbor)
        found.append(replace(neighbor, source_mac=sent.source_mac, tagged=sent.tagged))
    return tuple(found)


class Links(Struct, frozen=True, kw_only=True):
    """Every switch port behind a PF, through its bond too.

    ``unknown`` says of which uplinks the switch port cannot be told, and why. ``whole``: these
    are all. A bond's other member without a link carries nothing, so it is not told of; what is
    open for it stays.
    """

    switch_ports: tuple[SwitchPort, ...] = ()
    unknown: tuple[str, ...] = ()
    whole: bool = False


def links(pf: Pf | None, cabling: Mapping[str, Cabling]) -> Links:
    """The links of a PF, ``None`` for one that is not seen now."""
    found: list[SwitchPort] = []
    unknown: list[str] = []
    uplinks = pf.uplinks() if pf else ()
    for uplink in uplinks:
        answer = cabling.get(uplink.address)
        if pf and answer and (at := answer.switch_port):
            found.append(at if at.pf == pf.address else replace(at, pf=pf.address))
        elif uplink is pf or uplink.carrier:
            reason = f": {answer.reason}" if answer else " unknown"
            unknown.append(f"switch port of {uplink.netdev} ({uplink.address}){reason}")
    return Links(
        switch_ports=tuple(found),
        unknown=tuple(unknown),
        whole=bool(found) and len(found) == len(uplinks),
    )


def believed(
    found: Cabling, known: KnownCabling | None, carrier_changes: int, *, follow: bool = False
) -> Cabling:
    """``found``, unless it moves the uplink to another switch port while its link stayed up.

    Nobody moves a cable without the link going down: such a change is held until it is confirmed.

    :param known: what was believed last
    :param carrier_changes: how often the uplink's link came or went until now
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


def as_json(neighbor: Neighbor) -> dict[str, object]:
    """Everything that is known of a neighbor, for JSON."""
    said: dict[str, object] = to_builtins(neighbor)
    return said | {"capabilities": sorted(neighbor.capabilities)}


def describe_port(port: SwitchPort) -> str:
    """A switch port for people, escaped: ``switch 'leaf1' port 'swp1'``."""
    return f"switch {printable(port.name)} port {printable(port.port_id.value)}"


def describe(neighbor: Neighbor) -> str:
    """A neighbor for people, escaped: ``'leaf1' port 'swp1'``."""
    return f"{printable(neighbor.name)} port {printable(neighbor.port_id.value)}"


def _refusal(
    neighbor: Neighbor,
    local: frozenset[tuple[LldpId, LldpId]],
    local_macs: frozenset[str],
    allowed: frozenset[str],
) -> str:
    names = {neighbor.chassis_id.value.lower(), neighbor.system_name.lower()}
    capabilities = neighbor.capabilities
    rules = (
        (neighbor.ids in local, "this host's own frame, reflected by the NIC"),
        (
            neighbor.source_mac in local_macs,
            f"sent from {neighbor.source_mac}, a PF or VF of this host",
        ),
        (neighbor.tagged, "in a VLAN, while a switch port announces itself without a tag"),
        (neighbor.ttl is not None and neighbor.ttl <= 0, "expired"),
        (capabilities and not capabilities & FORWARDING, "neither a bridge nor a router"),
        (allowed and not names & allowed, "not among the allowed switches"),
    )
    return next((reason for broken, reason in rules if broken), "")


def _switch_port(uplink: str, neighbor: Neighbor) -> SwitchPort:
    return SwitchPort(
        pf=uplink,
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
