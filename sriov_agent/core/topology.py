# SPDX-License-Identifier: Apache-2.0
"""A host, its PFs and ports, and the switch ports they hang on, as one plain picture: pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, to_builtins

from sriov_agent.core.model import Pf
from sriov_agent.core.state import PortBinding

#: What a VF is that no port of the agent holds.
FREE, HELD = "free", "held"


class DrawnPort(Struct, frozen=True, kw_only=True):
    """A port. ``vlans``: those its frames have on the link, ``None`` where that is unknown.

    ``vf_index`` is ``None`` for one that has no VF.
    """

    id: str
    name: str
    state: str
    vlans: tuple[int, ...] | None
    vf_index: int | None
    unmet: tuple[str, ...]


class DrawnLink(Struct, frozen=True, kw_only=True):
    """A cable: the uplink's name, and the switch port, or why that cannot be told."""

    uplink: str
    switch: str
    switch_port: str
    reason: str


class DrawnPf(Struct, frozen=True, kw_only=True):
    """A PF. ``vfs`` holds for each VF the state of its port, ``held`` (by others) or ``free``."""

    address: str
    netdev: str
    physical_network: str
    carrier: bool
    vfs: tuple[str, ...]
    ports: tuple[DrawnPort, ...]
    links: tuple[DrawnLink, ...]

    @property
    def vlans(self) -> tuple[int, ...]:
        """What its ports have on its links."""
        return tuple(sorted({vlan for port in self.ports for vlan in port.vlans or () if vlan}))


class Topology(Struct, frozen=True, kw_only=True):
    """All of it; ``elsewhere`` are ports that are on none of the PFs."""

    host: str
    pfs: tuple[DrawnPf, ...]
    elsewhere: tuple[DrawnPort, ...]

    def ports(self) -> tuple[DrawnPort, ...]:
        """Every port."""
        return tuple(port for pf in self.pfs for port in pf.ports) + self.elsewhere

    def as_json(self) -> dict[str, Any]:
        """The same for JSON."""
        document: dict[str, Any] = to_builtins(self)
        return document


def pf_json(pf: Pf) -> dict[str, Any]:
    """What is kept of a PF to be drawn."""
    return {
        "netdev": pf.netdev,
        "physical_network": pf.physical_network,
        "carrier": pf.up and pf.carrier,
        "vfs": [bool(vf.held_by) for vf in pf.vfs],
        "uplinks": [[uplink.address, uplink.netdev] for uplink in pf.uplinks()],
    }


def topology(
    host: str,
    pfs: Mapping[str, Mapping[str, Any]],
    status: Mapping[str, Mapping[str, Any]],
    lldp: Mapping[str, Mapping[str, Any]],
    bindings: Mapping[str, PortBinding],
) -> Topology:
    """The picture of what the agent's record holds.

    :param pfs: what :func:`pf_json` made of each, by address
    :param status: the last report by port, see :meth:`sriov_agent.store.Store.status`
    :param lldp: what was made of LLDP by uplink, see :meth:`sriov_agent.store.Store.lldp`
    :param bindings: the ports that are bound here, by id
    """
    entries = {**{port: {} for port in bindings}, **status}
    at: dict[str | None, list[DrawnPort]] = {}
    for port_id, entry in entries.items():
        pf = entry.get("pf")
        drawn = _port(port_id, entry, bindings.get(port_id))
        at.setdefault(pf if pf in pfs else None, []).append(drawn)
    return Topology(
        host=host,
        pfs=tuple(_pf(address, pf, at.get(address, ()), lldp) for address, pf in pfs.items()),
        elsewhere=tuple(sorted(at.get(None, ()), key=_order)),
    )


def _order(port: DrawnPort) -> tuple[int, str, str]:
    return (-1 if port.vf_index is None else port.vf_index, port.name, port.id)


def _port(port_id: str, entry: Mapping[str, Any], binding: PortBinding | None) -> DrawnPort:
    vlans: tuple[int, ...] | None = None
    if binding:
        vlans = tuple(segment.vlan for segment in binding.trunk) or (binding.vlan,)
    return DrawnPort(
        id=port_id,
        name=binding.name if binding else "",
        state=entry.get("state", "new"),
        vlans=vlans,
        vf_index=entry.get("vf_index"),
        unmet=tuple(entry.get("unmet", ())),
    )


def _pf(
    address: str,
    pf: Mapping[str, Any],
    ports: Iterable[DrawnPort],
    lldp: Mapping[str, Mapping[str, Any]],
) -> DrawnPf:
    listed = tuple(sorted(ports, key=_order))
    states = {port.vf_index: port.state for port in listed}
    nothing = {"switch": None, "switch_port": None, "reason": "the agent has not looked yet"}
    return DrawnPf(
        address=address,
        netdev=pf["netdev"],
        physical_network=pf["physical_network"],
        carrier=pf["carrier"],
        vfs=tuple(
            states.get(index, HELD if held else FREE) for index, held in enumerate(pf["vfs"])
        ),
        ports=listed,
        links=tuple(
            DrawnLink(
                uplink=netdev,
                switch=lldp.get(uplink, nothing)["switch"] or "",
                switch_port=lldp.get(uplink, nothing)["switch_port"] or "",
                reason=lldp.get(uplink, nothing)["reason"],
            )
            for uplink, netdev in pf["uplinks"]
        ),
    )
