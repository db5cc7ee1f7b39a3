# SPDX-License-Identifier: Apache-2.0
"""libvirt's networks that have their guests on VFs, or on a bridge that tags: pure.

Source: libvirt "Network XML format", Connectivity, Setting VLAN tag, Portgroups;
``schemas/network.rng``.
"""

import xml.etree.ElementTree as ET

from msgspec import Struct

from sriov_agent.core import fields
from sriov_agent.core.guests import Reserved
from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import nic
from sriov_agent.libvirt.nic import Nic, Rate, Vlans

#: hostdev: a VF for each guest, by PCI; passthrough: by macvtap; bridge: one of Open vSwitch.
MODES = ("hostdev", "passthrough", "bridge")

#: Modes in which guests are on the devices that are listed: VFs by PCI, or macvtaps on netdevs.
_GIVING = frozenset({"hostdev", "passthrough", "private", "vepa", "bridge"})


class Portgroup(Struct, frozen=True, kw_only=True):
    """A class of a network's guests; ``default``: of those that name none."""

    name: str
    default: bool = False
    vlans: Vlans = nic.NO_VLANS
    inbound: Rate | None = None
    outbound: Rate | None = None


class Pool(Struct, frozen=True, kw_only=True):
    """A network. ``pf``, ``addresses`` and ``netdevs`` are what guests get one each of.

    Of ``hostdev`` these are the VFs of the PF with this netdev, or PCI addresses; of
    ``passthrough``, the netdevs of the PF's VFs, or netdevs; ``bridge`` is an Open vSwitch.

    :raises InvalidField: for what libvirt would refuse
    """

    name: str
    mode: str
    pf: str = ""
    addresses: tuple[str, ...] = ()
    netdevs: tuple[str, ...] = ()
    bridge: str = ""
    vlans: Vlans = nic.NO_VLANS
    portgroups: tuple[Portgroup, ...] = ()

    def __post_init__(self) -> None:
        nic.check_text(self.name, "name")
        if "/" in self.name or "\n" in self.name:
            raise InvalidField("name", self.name, "a network's name has neither '/' nor newline")
        given = {
            "hostdev": (self.pf, self.addresses),
            "passthrough": (self.pf, self.netdevs),
            "bridge": (self.bridge,),
        }
        if self.mode not in given:
            raise InvalidField("mode", self.mode, "expected " + ", ".join(MODES))
        named = [self.pf, self.addresses, self.netdevs, self.bridge]
        if sum(map(bool, given[self.mode])) != 1 or sum(map(bool, named)) != 1:
            wanted = {
                "hostdev": "a PF or PCI addresses",
                "passthrough": "a PF or netdevs",
                "bridge": "a bridge",
            }
            raise InvalidField("mode", self.mode, f"takes {wanted[self.mode]}, and nothing else")
        for netdev in filter(None, (self.pf, *self.netdevs, self.bridge)):
            nic.check_device(netdev, "netdev")
        for address in self.addresses:
            fields.pci_address(address)
        self._check_portgroups()

    def _check_portgroups(self) -> None:
        names = [portgroup.name for portgroup in self.portgroups]
        for vlans in (self.vlans, *(portgroup.vlans for portgroup in self.portgroups)):
            if vlans.trunk and self.mode != "bridge":
                raise InvalidField("trunk", vlans.tags, "an SR-IOV NIC's guest tags by itself")
        for portgroup in self.portgroups:
            nic.check_device(portgroup.name, "portgroup")
            if names.count(portgroup.name) > 1:
                raise InvalidField("portgroup", portgroup.name, "named twice")
            rates = [rate for rate in (portgroup.inbound, portgroup.outbound) if rate]
            if rates and self.mode == "hostdev":
                raise InvalidField("bandwidth", rates[0].average, "libvirt shapes taps alone")
        if sum(portgroup.default for portgroup in self.portgroups) > 1:
            raise InvalidField("default", names, "at most one portgroup is the default")

    def portgroup(self, name: str = "") -> Portgroup | None:
        """The portgroup of this name, or the default one; ``None`` if there is none.

        :raises InvalidField: if there is none of this name
        """
        found = [p for p in self.portgroups if (p.name == name if name else p.default)]
        if name and not found:
            raise InvalidField("portgroup", name, f"network {self.name} has none of this name")
        return found[0] if found else None

    def settled(self, device: Nic) -> tuple[Vlans, Rate | None, Rate | None]:
        """VLANs and rates that an interface in this network gets.

        The interface's own count first, then its portgroup's, then the network's.
        """
        source = device.source
        name = source.portgroup if isinstance(source, nic.Network) else ""
        portgroup = self.portgroup(name)
        vlans = device.vlans or (portgroup and portgroup.vlans) or self.vlans
        shaped = device if device.inbound or device.outbound or not portgroup else portgroup
        return vlans, shaped.inbound, shaped.outbound


def element(pool: Pool) -> ET.Element:
    """The ``network`` element."""
    root = ET.Element("network")
    ET.SubElement(root, "name").text = pool.name
    forward = ET.SubElement(root, "forward", mode=pool.mode)
    if pool.mode == "hostdev":
        forward.set("managed", "yes")
        ET.SubElement(forward, "driver", name="vfio")
    if pool.pf:
        ET.SubElement(forward, "pf", dev=pool.pf)
    for netdev in pool.netdevs:
        ET.SubElement(forward, "interface", dev=netdev)
    for address in pool.addresses:
        nic.append_address(forward, address, type="pci")
    if pool.bridge:
        ET.SubElement(root, "bridge", name=pool.bridge)
        ET.SubElement(root, "virtualport", type="openvswitch")
    nic.append_vlans(root, pool.vlans)
    for portgroup in pool.portgroups:
        default = {"default": "yes"} if portgroup.default else {}
        group = ET.SubElement(root, "portgroup", {"name": portgroup.name, **default})
        nic.append_bandwidth(group, portgroup.inbound, portgroup.outbound)
        nic.append_vlans(group, portgroup.vlans)
    return root


def reserved(text: str) -> Reserved | None:
    """What an active network gives its guests of the host's VFs, whoever defined it; ``None`` if
    it is of no such kind.

    :raises InvalidField: if it is no network
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 - libvirtd's own
        forward = root.find("forward")
        if forward is None or forward.get("mode") not in _GIVING:
            return None
        return Reserved(
            network=root.findtext("name", ""),
            pf=nic.get(forward, "pf", "dev"),
            addresses=frozenset(nic.read_address(each) for each in forward.iterfind("address")),
            netdevs=frozenset(each.get("dev", "") for each in forward.iterfind("interface")),
        )
    except (ET.ParseError, ValueError) as error:
        raise InvalidField("network", text, str(error)) from error


def pool(text: str) -> Pool | None:
    """What libvirt says of a network; ``None`` if it is of no kind that is known here.

    :raises InvalidField: if it is no network, or cannot be read
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 - libvirtd's own
        forward = root.find("forward")
        mode = forward.get("mode", "") if forward is not None else ""
        openvswitch = root.find("virtualport[@type='openvswitch']") is not None
        if forward is None or mode not in MODES or (mode == "bridge" and not openvswitch):
            return None
        if mode != "bridge" and forward.find("pf") is not None:
            members: list[ET.Element] = []  # of a live pool, libvirt lists the PF's VFs as well
        else:
            members = list(forward)
        return Pool(
            name=root.findtext("name", ""),
            mode=mode,
            pf=nic.get(forward, "pf", "dev"),
            addresses=tuple(nic.read_address(m) for m in members if m.tag == "address"),
            netdevs=tuple(m.get("dev", "") for m in members if m.tag == "interface"),
            bridge=nic.get(root, "bridge", "name") if mode == "bridge" else "",
            vlans=nic.vlans(root),
            portgroups=tuple(
                Portgroup(
                    name=group.get("name", ""),
                    default=group.get("default") == "yes",
                    vlans=nic.vlans(group),
                    inbound=nic.rate(group.find("bandwidth/inbound")),
                    outbound=nic.rate(group.find("bandwidth/outbound")),
                )
                for group in root.iterfind("portgroup")
            ),
        )
    except (ET.ParseError, ValueError) as error:
        raise InvalidField("network", text, str(error)) from error
