# SPDX-License-Identifier: Apache-2.0
"""Junos switches with ELS (QFX, EX) over NETCONF, by Junos' own configuration."""

import copy
from collections.abc import Iterable, Mapping

from lxml import etree

from sriov_agent.exceptions import Refused, printable
from sriov_agent.fabric import ranges
from sriov_agent.fabric.model import Change, PortVlans
from sriov_agent.fabric.ranges import Range
from sriov_agent.fabric.switch.netconf import OPERATION, NetconfSwitch, child, entry

JUNOS = "http://xml.juniper.net/xnm/1.1/xnm"
CONFIGURATION = f"{{{JUNOS}}}configuration"
#: Where a port may say which aggregate it is a member of, by series.
MEMBER = ("ether-options", "gigether-options")
SWITCHING = "{*}unit[{*}name='0']/{*}family/{*}ethernet-switching"
#: What a VLAN is called that is defined here because no one else did.
DEFINED = "sriov-{}"


def subtree(names: Iterable[str]) -> etree._Element:
    """A filter for the definitions of VLANs, and the VLANs and aggregates of these ports."""
    top = etree.Element(CONFIGURATION)
    vlan = child(child(top, "vlans"), "vlan")
    for tag in ("name", "vlan-id", "vlan-id-list"):
        child(vlan, tag)
    interfaces = child(top, "interfaces")
    for name in names:
        interface = child(interfaces, "interface")
        child(interface, "name", name)
        child(interface, "native-vlan-id")
        for tag in MEMBER:
            child(child(interface, tag), "ieee-802.3ad")
        child(_unit(interface), "ethernet-switching")
    return top


def ports(data: etree._Element, names: Iterable[str]) -> dict[str, PortVlans]:
    """What the ports carry. What is deactivated is not there."""
    found = _Configuration(data)
    return {name: found.port(name) for name in names if name in found.interfaces}


def edit(data: etree._Element, changes: Mapping[str, Change]) -> tuple[etree._Element, str]:
    """The edit that opens and closes VLANs on trunks, and its default operation.

    :raises Refused: if a VLAN goes that a definition lists with others, or the name for one that
        comes is taken
    """
    found = _Configuration(data)
    top = etree.Element(CONFIGURATION)
    vlans = etree.SubElement(top, f"{{{JUNOS}}}vlans")
    interfaces = child(top, "interfaces")
    comes = frozenset[int]()
    for port, change in changes.items():
        listed = found.listed(port)
        for text, several in listed.items():
            if len(several) > 1 and change.remove & _covered(several):
                raise Refused(f"{port}: VLAN list {printable(text)} is not taken apart")
        single = {text: several[0] for text, several in listed.items() if len(several) == 1}
        out, put = ranges.edit(single.values(), change.add, change.remove)
        interface = child(interfaces, "interface")
        child(interface, "name", port)
        members = child(child(_unit(interface), "ethernet-switching"), "vlan")
        for text, covered in single.items():
            if covered in out:
                child(members, "members", text).set(OPERATION, "delete")
        for low, high in put:
            text = found.name(low, define=low in change.add) if low == high else f"{low}-{high}"
            child(members, "members", text)
        comes |= change.add
    for vlan in sorted(comes.difference(found.names)):
        definition = child(vlans, "vlan")
        child(definition, "name", found.name(vlan, define=True))
        child(definition, "vlan-id", str(vlan))
    if not len(vlans):
        top.remove(vlans)
    added = any(OPERATION not in member.attrib for member in top.iter(f"{{{JUNOS}}}members"))
    return top, "merge" if added else "none"


class Junos(NetconfSwitch):
    """Trunks by ``unit 0 family ethernet-switching``, and the VLANs that they name.

    A port that is a member of an aggregate is read and changed on the aggregate. A VLAN that comes
    goes by the name that it has on the switch, or is defined as ``sriov-V``; that definition stays
    when it goes, since other ports may name it. A trunk without VLANs is no valid configuration,
    so the last one stays. What a port has from a group or an ``interface-range`` is not seen.
    """

    subtree = staticmethod(subtree)
    ports = staticmethod(ports)
    edit = staticmethod(edit)


class _Configuration:
    """What was read, by name.

    :ivar names: of the VLANs that have a definition of their own, by number
    """

    def __init__(self, data: etree._Element) -> None:
        data = copy.deepcopy(data)
        for element in list(data.iter()):
            parent = element.getparent()
            if parent is not None and element.get("inactive") == "inactive":
                parent.remove(element)
        top = data.find("{*}configuration")
        path = "{*}interfaces/{*}interface"
        self.interfaces = {_text(each, "name"): each for each in _all(top, path)}
        #: what each definition stands for
        self._defined = {
            _text(each, "name"): _entries(
                text.text or ""
                for tag in ("vlan-id", "vlan-id-list")
                for text in _all(each, f"{{*}}{tag}")
            )
            for each in _all(top, "{*}vlans/{*}vlan")
        }
        self.names: dict[int, str] = {}
        for name, several in sorted(self._defined.items(), reverse=True):
            if len(several) == 1 and several[0][0] == several[0][1]:
                self.names[several[0][0]] = name

    def port(self, name: str) -> PortVlans:
        """What a port carries."""
        interface = self.interfaces[name]
        bundles = [_text(interface, f"{tag}/{{*}}ieee-802.3ad/{{*}}bundle") for tag in MEMBER]
        lag = "".join(bundles)
        target = self.interfaces.get(lag or name)
        switching = None if target is None else target.find(SWITCHING)
        if target is None or switching is None:
            return PortVlans(trunk=False, lag=lag)
        listed = self.listed(lag or name)
        vlans = frozenset[int]().union(*map(_covered, listed.values()))
        if _text(switching, "interface-mode") != "trunk":
            return PortVlans(trunk=False, native=min(vlans, default=None), lag=lag)
        native = self._stands_for(_text(target, "native-vlan-id"))
        return PortVlans(
            vlans=vlans, every="all" in listed, native=native[0][0] if native else None, lag=lag
        )

    def listed(self, port: str) -> dict[str, list[Range]]:
        """The members of a port, as they are written, and what each stands for."""
        path = f"{SWITCHING}/{{*}}vlan/{{*}}members"
        texts = [element.text or "" for element in _all(self.interfaces[port], path)]
        return {text: self._stands_for(text) for text in texts}

    def name(self, vlan: int, define: bool) -> str:
        """What a port calls a VLAN.

        :param define: whether it is to be defined if it is not
        :raises Refused: if the name for it is another's
        """
        if vlan in self.names or not define:
            return self.names.get(vlan, str(vlan))
        name = DEFINED.format(vlan)
        if name in self._defined:
            raise Refused(f"VLAN {vlan} cannot be defined: {name} is another")
        return name

    def _stands_for(self, text: str) -> list[Range]:
        return self._defined.get(text, _entries([text]))


def _unit(interface: etree._Element) -> etree._Element:
    """``family`` of unit 0."""
    unit = child(interface, "unit")
    child(unit, "name", "0")
    return child(unit, "family")


def _all(element: etree._Element | None, path: str) -> list[etree._Element]:
    return [] if element is None else element.findall(path)


def _text(element: etree._Element, path: str) -> str:
    return (element.findtext(f"{{*}}{path}") or "").strip()


def _entries(texts: Iterable[str]) -> list[Range]:
    return [found for text in texts if (found := entry(text.strip()))]


def _covered(several: Iterable[Range]) -> frozenset[int]:
    return frozenset(vlan for low, high in several for vlan in range(low, high + 1))
