# SPDX-License-Identifier: Apache-2.0
"""Which physical router and physical interface LLDP speaks of: a pure choice, never a guess.

Source: section 1.9 of the contract. Contrail names an interface as the switch does, with ``_``
for each ``:``; its ``display_name`` keeps the colons.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, field

from sriov_agent.core.model import LldpId, SwitchPort
from sriov_agent.exceptions import ConfigError, InvalidField, Refused, printable

_MAC = re.compile(r"[0-9a-f]{12}")
_SHOWN = 8


class Unplaced(Refused):
    """LLDP and Contrail do not agree on exactly one switch port for a link."""


class Router(Struct, frozen=True):
    """A physical router: a switch. ``fabrics`` are names, ``chassis`` twelve hex digits each."""

    name: str
    hostname: str = ""
    management_ip: str = ""
    chassis: frozenset[str] = frozenset()
    fabrics: tuple[str, ...] = ()


class Interface(Struct, frozen=True):
    """A physical interface. ``port_id`` is its SNMP index, ``macs`` twelve hex digits each."""

    uuid: str
    name: str
    display_name: str = ""
    port_id: str = ""
    macs: frozenset[str] = frozenset()


class OperatorMap(Struct, frozen=True):
    """What the operator says of names that do not match by themselves; it comes first.

    ``switches``: LLDP system name or chassis id to physical router. ``ports``: physical router
    and LLDP port id or description to physical interface.
    """

    switches: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def parsed(cls, switches: Iterable[str], ports: Iterable[str]) -> "OperatorMap":
        """From ``LLDPNAME=PHYSICALROUTER`` and ``SWITCH/PORT=INTERFACE``.

        :raises ConfigError: for the first entry that is neither
        """
        by_port: dict[tuple[str, str], str] = {}
        for left, right in _pairs("port_map", "SWITCH/PORT=INTERFACE", ports):
            switch, _, port = left.partition("/")
            if not switch or not port:
                raise ConfigError(f"[hook_contrail] port_map: {left!r}: expected SWITCH/PORT")
            by_port[switch, port] = right
        form = "LLDPNAME=PHYSICALROUTER"
        return cls(dict(_pairs("switch_map", form, switches)), by_port)


def _pairs(option: str, form: str, entries: Iterable[str]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for entry in entries:
        left, _, right = (part.strip() for part in entry.rpartition("="))
        if not left or not right:
            raise ConfigError(f"[hook_contrail] {option}: {entry!r}: expected {form}")
        if left in seen:
            raise ConfigError(f"[hook_contrail] {option}: {left!r} appears twice")
        seen.add(left)
        yield left, right


def parsed_mac(text: str) -> str:
    """Twelve lower-case hex digits, "" if it is no MAC address in any usual notation."""
    digits = re.sub(r"[:._-]", "", text.lower())
    return digits if _MAC.fullmatch(digits) else ""


def chassis_mac(name: str) -> str:
    """The MAC in the name of a device-chassis, ``VENDOR_aa_bb_cc_dd_ee_ff``; "" without one."""
    return parsed_mac("".join(name.split("_")[-6:]))


def router(link: SwitchPort, routers: Sequence[Router], said: OperatorMap) -> Router:
    """The physical router at the other end of the link.

    :raises Unplaced: if there is none, or more than one; the message names the candidates
    """
    shown = printable(link.name)
    name, chassis = link.system_name, link.chassis_id
    for key in filter(None, (name, chassis.value)):
        if key in said.switches:
            mapped = said.switches[key]
            found = [one for one in routers if one.name == mapped]
            if found:
                return found[0]
            raise Unplaced(
                f"switch {shown}: [hook_contrail] switch_map names {mapped!r}, and Contrail has "
                "no such physical router"
            )
    mac = parsed_mac(chassis.value) if chassis.subtype == "mac" else ""
    label = name.partition(".")[0].lower()
    rules: list[Callable[[Router], bool]] = [
        lambda one: bool(name) and one.name == name,
        lambda one: bool(name) and one.hostname == name,
        lambda one: bool(label) and label in {_label(one.name), _label(one.hostname)},
        lambda one: bool(mac) and mac in one.chassis,
        lambda one: chassis.subtype == "ip" and chassis.value in {one.management_ip} - {""},
    ]
    mend = "name the right one in [hook_contrail] switch_map"
    for rule in rules:
        matching = [one for one in routers if rule(one)]
        if not matching:
            continue
        if len(matching) > 1:
            names = _listed(one.name for one in matching)
            raise Unplaced(f"switch {shown} may be any of the physical routers {names}; {mend}")
        others = [one for one in routers if mac and mac in one.chassis]
        if others and matching[0] not in others:
            names = _listed([matching[0].name, *(one.name for one in others)])
            raise Unplaced(
                f"switch {shown} has the name of one physical router and the chassis id "
                f"{printable(chassis.value)} of another ({names}); {mend}"
            )
        return matching[0]
    raise Unplaced(
        f"switch {shown} (chassis id {printable(chassis.value)}) is not onboarded in Contrail yet; "
        f"onboard it, or {mend}"
    )


def interface(
    link: SwitchPort, at: Router, interfaces: Sequence[Interface], said: OperatorMap
) -> Interface:
    """The physical interface of ``at`` at the other end of the link.

    :raises Unplaced: if there is none, or more than one; the message names the candidates
    """
    shown = f"port {printable(link.port_id.value)} of physical router {printable(at.name)}"
    for key in filter(None, (link.port_id.value, link.port_description)):
        if (at.name, key) in said.ports:
            mapped = said.ports[at.name, key]
            named = list(_named(mapped, interfaces))
            if len(named) == 1:
                return named[0]
            raise Unplaced(
                f"{shown}: [hook_contrail] port_map names {mapped!r}, and Contrail has no such "
                "physical interface there"
            )
    mend = "name the right one in [hook_contrail] port_map"
    for matching in (
        _by_port_id(link.port_id, interfaces),
        list(_named(link.port_description, interfaces)),
    ):
        if len(matching) > 1:
            names = _listed(one.display_name or one.name for one in matching)
            raise Unplaced(f"{shown} may be any of the physical interfaces {names}; {mend}")
        if matching:
            return matching[0]
    raise Unplaced(
        f"{shown} (description {printable(link.port_description)}) is not onboarded in Contrail "
        f"yet; have its interfaces imported, or {mend}"
    )


def fabric(at: Router) -> str:
    """The fabric of a physical router.

    :raises Unplaced: if it has none, or several
    """
    if len(at.fabrics) == 1:
        return at.fabrics[0]
    what = f"is in several fabrics: {_listed(at.fabrics)}" if at.fabrics else "is in no fabric yet"
    raise Unplaced(f"physical router {printable(at.name)} {what}; onboard it into one")


def bond_groups(entries: Iterable[str], address: Callable[[str], str]) -> dict[str, frozenset[str]]:
    """The PFs that are bonded with each PF, itself included, from ``PCI+PCI``.

    :param address: brings a PCI address to its canonical form, or raises InvalidField
    :raises ConfigError: for the first entry that is no group, or a PF in two groups
    """
    found: dict[str, frozenset[str]] = {}
    for entry in entries:
        try:
            members = frozenset(address(part) for part in entry.split("+"))
        except InvalidField as error:
            raise ConfigError(f"[hook_contrail] bonds: {entry!r}: {error}") from error
        if len(members) < 2:
            raise ConfigError(
                f"[hook_contrail] bonds: {entry!r}: expected PCI+PCI, two PFs or more"
            )
        for member in sorted(members):
            if member in found:
                raise ConfigError(f"[hook_contrail] bonds: {member} is in two bonds")
            found[member] = members
    return found


def _by_port_id(port: LldpId, interfaces: Sequence[Interface]) -> list[Interface]:
    if port.subtype == "ifname":
        return list(_named(port.value, interfaces))
    if port.subtype == "local":
        return [one for one in interfaces if one.port_id and one.port_id == port.value]
    if port.subtype == "mac":
        mac = parsed_mac(port.value)
        return [one for one in interfaces if mac and mac in one.macs]
    return []


def _named(text: str, interfaces: Iterable[Interface]) -> Iterator[Interface]:
    """Interfaces of this name; Junos may add the logical unit ``.0``."""
    name = text.removesuffix(".0")
    for one in interfaces:
        if name and (one.display_name == name or one.name == name.replace(":", "_")):
            yield one


def _label(name: str) -> str:
    return name.partition(".")[0].lower()


def _listed(names: Iterable[str]) -> str:
    ordered = sorted(names)
    more = [f"and {len(ordered) - _SHOWN} more"] if len(ordered) > _SHOWN else []
    return ", ".join([*map(printable, ordered[:_SHOWN]), *more])
