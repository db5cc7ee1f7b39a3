# SPDX-License-Identifier: Apache-2.0
"""Which switch port a link is: what LLDP says, as far as the operator's own list agrees. Pure.

LLDP is a hint: whoever owns the wire can forge it. A port is only ever written to if its switch is
configured, the port is one that hosts may have there, and, where there is an inventory, the host's
PF is listed on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from msgspec import Struct, field

from sriov_agent.core.lldp import port_name as announced_name
from sriov_agent.exceptions import ConfigError, InvalidField, Refused, printable
from sriov_agent.fabric.model import MANAGED_VLANS, Vlans, Want
from sriov_agent.fabric.switch.base import port_name

#: HOST PF SWITCH PORT, and LAG where the port is a member of one
_COLUMNS = (4, 5)


class Rules(Struct, frozen=True, kw_only=True):
    """What may be done on a switch.

    :param names: LLDP system names, lower case
    :param chassis_ids: LLDP chassis ids, lower case; where there are any, one must be announced
    :param ports: patterns of ports that hosts hang on, as of the shell
    :param uplinks: patterns of ports that are never touched
    :param port_map: names of ports by the LLDP port id, where that is another
    :param floor_vlan: what keeps a trunk from being empty, 0 for none
    :param max_vlans: how many a port may carry
    """

    name: str
    names: frozenset[str] = frozenset()
    chassis_ids: frozenset[str] = frozenset()
    ports: tuple[str, ...] = ("*",)
    uplinks: tuple[str, ...] = ()
    port_map: Mapping[str, str] = field(default_factory=dict)
    allowed_vlans: Vlans = MANAGED_VLANS
    protected_vlans: Vlans = frozenset()
    floor_vlan: int = 0
    max_vlans: int = 4094

    def refusal(self, vlan: int) -> str:
        """Why this VLAN is neither opened nor closed here; "" if it may be."""
        if vlan in self.protected_vlans:
            return f"VLAN {vlan} is among protected_vlans of switch {self.name}"
        if vlan == self.floor_vlan:
            return f"VLAN {vlan} is floor_vlan of switch {self.name}"
        if vlan not in self.allowed_vlans & MANAGED_VLANS:
            return f"VLAN {vlan} is not among allowed_vlans of switch {self.name}"
        return ""


class Place(Struct, frozen=True, order=True):
    """A port of a configured switch; the port is an aggregate where the inventory says so."""

    switch: str
    port: str


class Entry(Struct, frozen=True):
    """Where a PF may hang, and the aggregate of which that port is a member."""

    switch: str
    port: str
    lag: str = ""


#: Entries by host and PF; the PF is ``*`` for any.
Inventory = Mapping[tuple[str, str], tuple[Entry, ...]]


def parse(text: str, switches: Iterable[str], name: str = "inventory") -> Inventory:
    """The inventory from its file: lines ``HOST PF SWITCH PORT [LAG]``, comments after ``#``.

    :raises ConfigError: with every line that cannot be used
    """
    known = frozenset(switches)
    found: dict[tuple[str, str], tuple[Entry, ...]] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) not in _COLUMNS:
            wrong.append(f"line {number}: expected HOST PF SWITCH PORT [LAG]")
            continue
        host, pf, *place = words
        try:
            entry = Entry(place[0], *map(port_name, place[1:]))
        except InvalidField as error:
            wrong.append(f"line {number}: {error}")
            continue
        if entry.switch not in known:
            wrong.append(f"line {number}: switch {printable(entry.switch)} is not configured")
        found[host, pf.lower()] = (*found.get((host, pf.lower()), ()), entry)
    if wrong:
        raise ConfigError(f"{name}: " + "; ".join(wrong))
    return found


def place(want: Want, switches: Mapping[str, Rules], inventory: Inventory | None) -> Place:
    """Where the want's link is.

    :param inventory: ``None`` if there is none: then LLDP alone decides
    :raises Refused: if that cannot be told, or may not be
    """
    rules = _switch(want, switches)
    link = want.link
    announced = announced_name(link.port_id, want.port_description)
    named = rules.port_map.get(link.port_id.value, announced)
    try:
        port = port_name(named)
    except InvalidField as error:
        raise Refused(f"switch {rules.name}: LLDP {error}; see port_map") from error
    if _matches(port, rules.uplinks):
        raise Refused(f"port {port} of switch {rules.name} is an uplink: it is never touched")
    if not _matches(port, rules.ports):
        raise Refused(f"port {port} of switch {rules.name} is not among its ports for hosts")
    if inventory is None:
        return Place(rules.name, port)
    return _listed(want, Place(rules.name, port), inventory, rules)


def _listed(want: Want, at: Place, inventory: Inventory, rules: Rules) -> Place:
    host, pf = want.link.host, want.link.pf
    entries = inventory.get((host, pf), inventory.get((host, "*"), ()))
    for entry in entries:
        if (entry.switch, entry.port) == (at.switch, at.port):
            if _matches(entry.lag, rules.uplinks):
                raise Refused(f"{entry.lag} of switch {rules.name} is an uplink")
            return Place(at.switch, entry.lag or at.port)
    listed = ", ".join(f"{entry.switch} {entry.port}" for entry in entries) or "nowhere"
    raise Refused(
        f"conflict: LLDP sees PF {pf} of host {printable(host)} on {at.switch} {at.port}, the "
        f"inventory has it on {listed}"
    )


def _switch(want: Want, switches: Mapping[str, Rules]) -> Rules:
    chassis_id, name = want.link.chassis_id.value.lower(), want.system_name.lower()
    found = [
        rules
        for rules in switches.values()
        if (chassis_id in rules.chassis_ids if rules.chassis_ids else name in rules.names)
    ]
    said = f"{printable(want.system_name)} with chassis id {printable(chassis_id)}"
    if not found:
        raise Refused(f"no switch is configured that LLDP calls {said}")
    if len(found) > 1:
        names = ", ".join(rules.name for rules in found)
        raise Refused(f"LLDP's {said} may be {names}: give them chassis_ids")
    return found[0]


def _matches(port: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(port, pattern) for pattern in patterns)
