# SPDX-License-Identifier: Apache-2.0
"""Switches with OpenConfig's models over NETCONF: openconfig-interfaces, -vlan, -if-aggregate."""

from collections.abc import Iterable, Mapping

from lxml import etree

from sriov_agent.exceptions import Refused, printable
from sriov_agent.fabric import ranges
from sriov_agent.fabric.model import Change, PortVlans
from sriov_agent.fabric.ranges import Range
from sriov_agent.fabric.switch.netconf import OPERATION, NetconfSwitch, child, entry

INTERFACES = "http://openconfig.net/yang/interfaces"
ETHERNET = "http://openconfig.net/yang/interfaces/ethernet"
AGGREGATE = "http://openconfig.net/yang/interfaces/aggregate"
VLAN = "http://openconfig.net/yang/vlan"
#: Where an interface may have ``switched-vlan``.
CONTAINERS = (f"{{{ETHERNET}}}ethernet", f"{{{AGGREGATE}}}aggregation")
AGGREGATE_ID = f"{{{AGGREGATE}}}aggregate-id"
SWITCHED = f"{{{VLAN}}}switched-vlan"
CONFIG = f"{{{VLAN}}}config"
TRUNK_VLANS = f"{{{VLAN}}}trunk-vlans"


def subtree(names: Iterable[str]) -> etree._Element:
    """A filter for the VLANs and the aggregates of these ports."""
    top = etree.Element(f"{{{INTERFACES}}}interfaces")
    for name in names:
        interface = child(top, "interface")
        child(interface, "name", name)
        ethernet, aggregation = (child(interface, tag) for tag in CONTAINERS)
        child(child(ethernet, "config"), AGGREGATE_ID)
        for container in (ethernet, aggregation):
            child(child(container, SWITCHED), CONFIG)
    return top


def ports(data: etree._Element, names: Iterable[str]) -> dict[str, PortVlans]:
    """What the ports carry.

    :raises Refused: if something cannot be understood
    """
    interfaces = _interfaces(data)
    return {name: _port(name, interfaces) for name in names if name in interfaces}


def edit(data: etree._Element, changes: Mapping[str, Change]) -> tuple[etree._Element, str]:
    """The edit that opens and closes VLANs on trunks, and its default operation.

    That is none: nothing but entries is written, so an account needs a right to nothing else.

    :raises Refused: if something cannot be understood
    """
    interfaces = _interfaces(data)
    top = etree.Element(f"{{{INTERFACES}}}interfaces")
    for port, change in changes.items():
        old = _switched(interfaces[port])
        if old is None:
            raise Refused(f"{port} is no trunk")
        listed = _listed(port, old)
        out, put = ranges.edit(listed.values(), change.add, change.remove)
        interface = child(top, "interface")
        child(interface, "name", port)
        (container,) = (each for each in old.iterancestors(*CONTAINERS))
        config = child(child(child(interface, container.tag), SWITCHED), CONFIG)
        for text, found in listed.items():
            if found in out:
                child(config, TRUNK_VLANS, text).set(OPERATION, "remove")
        for low, high in put:
            text = str(low) if low == high else f"{low}..{high}"
            child(config, TRUNK_VLANS, text).set(OPERATION, "merge")
    return top, "none"


class OpenConfig(NetconfSwitch):
    """Trunks by ``switched-vlan`` of OpenConfig.

    A port that is a member of an aggregate is read and changed on the aggregate. A trunk without
    a list carries every VLAN (openconfig-vlan 3.2.2), so the last one stays. An operator made the
    port a trunk and, where the switch needs that, the VLAN itself: both are left alone.
    """

    subtree = staticmethod(subtree)
    ports = staticmethod(ports)
    edit = staticmethod(edit)


def _interfaces(data: etree._Element) -> dict[str, etree._Element]:
    tag, name = (f"{{{INTERFACES}}}{each}" for each in ("interface", "name"))
    return {each.findtext(name) or "": each for each in data.iter(tag)}


def _switched(interface: etree._Element) -> etree._Element | None:
    found = (interface.find(f"{tag}/{SWITCHED}/{CONFIG}") for tag in reversed(CONTAINERS))
    return next((config for config in found if config is not None), None)


def _port(port: str, interfaces: Mapping[str, etree._Element]) -> PortVlans:
    lag = interfaces[port].findtext(f"{CONTAINERS[0]}/{{{ETHERNET}}}config/{AGGREGATE_ID}") or ""
    target = interfaces.get(lag or port)
    config = None if target is None else _switched(target)
    if config is None:
        return PortVlans(trunk=False, lag=lag)
    trunk = config.findtext(f"{{{VLAN}}}interface-mode") == "TRUNK"
    native = config.findtext(f"{{{VLAN}}}{'native' if trunk else 'access'}-vlan")
    listed = _listed(port, config) if trunk else {}
    return PortVlans(
        trunk=trunk,
        vlans=frozenset(vlan for low, high in listed.values() for vlan in range(low, high + 1)),
        every=trunk and not listed,
        native=int(native) if native else None,
        lag=lag,
    )


def _listed(port: str, config: etree._Element) -> dict[str, Range]:
    """The entries of ``trunk-vlans``, as they are written.

    :raises Refused: if one is neither a VLAN nor a range
    """
    listed: dict[str, Range] = {}
    for element in config.iterfind(TRUNK_VLANS):
        text = element.text or ""
        found = entry(text)
        if found is None:
            raise Refused(f"{port}: trunk-vlans has {printable(text)}, not VLANs or ranges")
        listed[text] = found
    return listed
