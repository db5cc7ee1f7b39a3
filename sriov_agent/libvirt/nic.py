# SPDX-License-Identifier: Apache-2.0
"""A guest's network devices as libvirt writes them, of every kind that is met here: pure.

Source: libvirt "Domain XML format", sections Network interfaces and Host device assignment;
``schemas/domaincommon.rng``, defines ``interface`` and ``hostdev``.
"""

import re
import xml.etree.ElementTree as ET

from msgspec import Struct, structs

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField

_PCI_PARTS = ("domain", "bus", "slot", "function")
_DEVICE = re.compile(r"[a-zA-Z0-9_.\\:/-]{1,64}")
_ALIAS = re.compile(r"ua-[a-zA-Z0-9_.-]{1,61}")
_MODEL = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_UNSIGNED = 2**32 - 1


class Vf(Struct, frozen=True):
    """A VF by PCI address: ``<interface type='hostdev'>``; libvirt sets its MAC and VLAN."""

    address: str


class WholePf(Struct, frozen=True):
    """A PF, or any PCI function, by address: ``<hostdev>``, of which libvirt sets nothing."""

    address: str


class Macvtap(Struct, frozen=True):
    """A macvtap in passthrough mode on a netdev, which the guest has for itself."""

    netdev: str


class VhostUser(Struct, frozen=True):
    """A socket shared with a switch in user space. ``mode`` is QEMU's end of it."""

    path: str
    mode: str = "server"


class Bridge(Struct, frozen=True):
    """A port of a bridge; of Open vSwitch where there is an ``interface_id``, a UUID."""

    name: str
    interface_id: str = ""


class Network(Struct, frozen=True):
    """A port of a libvirt network, in one of its portgroups or its default one."""

    name: str
    portgroup: str = ""


Source = Vf | WholePf | Macvtap | VhostUser | Bridge | Network


class Rate(Struct, frozen=True, kw_only=True):
    """Of one direction: ``average`` and ``peak`` in kilobytes a second, ``burst`` in kilobytes.

    0 is none.

    :raises InvalidField: for a number that libvirt cannot take
    """

    average: int
    peak: int = 0
    burst: int = 0

    def __post_init__(self) -> None:
        fields.integer(self.average, "average", 1, _UNSIGNED)
        fields.integer(self.peak, "peak", 0, _UNSIGNED)
        fields.integer(self.burst, "burst", 0, _UNSIGNED)


class Vlans(Struct, frozen=True):
    """The VLAN that the host sets and the guest does not see, or a trunk of those it tags itself.

    ``native`` is the VLAN of a trunk that is untagged, 0 for none. Trunks are Open vSwitch's alone:
    to an SR-IOV NIC libvirt sets one VLAN.

    :raises InvalidField: for what libvirt would refuse
    """

    tags: tuple[int, ...] = ()
    trunk: bool = False
    native: int = 0

    def __post_init__(self) -> None:
        for tag in self.tags:
            fields.integer(tag, "vlan", 1, fields.MAX_VLAN)
        if len(self.tags) > 1 and not self.trunk:
            raise InvalidField("vlan", self.tags, "several VLANs are a trunk")
        if self.native and not (self.trunk and self.native in self.tags):
            raise InvalidField("native", self.native, "expected a VLAN of the trunk")

    def __bool__(self) -> bool:
        return bool(self.tags)


NO_VLANS = Vlans()


class Nic(Struct, frozen=True, kw_only=True):
    """One network device; what is "", 0, ``None`` or empty is left to libvirt.

    ``model`` is the device's in the guest, ``target`` the tap's name on the host, and
    ``queues`` are vhost's. ``alias`` begins with ``ua-``. ``mtu`` is in bytes. ``inbound`` is
    towards the guest; libvirt shapes taps alone.

    :raises InvalidField: for what libvirt would refuse
    """

    source: Source
    mac: str = ""
    vlans: Vlans = NO_VLANS
    model: str = ""
    queues: int = 0
    target: str = ""
    alias: str = ""
    boot_order: int = 0
    mtu: int = 0
    inbound: Rate | None = None
    outbound: Rate | None = None

    def __post_init__(self) -> None:
        _check_source(self.source)
        if self.mac:
            structs.force_setattr(self, "mac", fields.mac(self.mac))
        tagging = isinstance(self.source, Vf | Macvtap | Network) or (
            isinstance(self.source, Bridge) and bool(self.source.interface_id)
        )
        if self.vlans and not tagging:
            reason = "this kind of interface has no VLAN in libvirt"
            raise InvalidField("vlan", self.vlans.tags, reason)
        if self.vlans.trunk and isinstance(self.source, Vf | Macvtap):
            raise InvalidField("trunk", self.vlans.tags, "an SR-IOV NIC's guest tags by itself")
        _match(self.model, "model", _MODEL)
        _match(self.target, "target", _DEVICE)
        _match(self.alias, "alias", _ALIAS)
        fields.integer(self.queues, "queues", 0, 256)
        fields.integer(self.boot_order, "boot_order", 0, _UNSIGNED)
        fields.integer(self.mtu, "mtu", 0, 65535)
        rate = self.inbound or self.outbound
        if rate and not isinstance(self.source, Bridge | Network | Macvtap):
            raise InvalidField("bandwidth", rate.average, "libvirt shapes taps alone")
        if isinstance(self.source, WholePf):
            for name in ("mac", "model", "queues", "target", "mtu"):
                if getattr(self, name):
                    raise InvalidField(name, getattr(self, name), "a <hostdev> has none")


def _check_source(source: Source) -> None:
    match source:
        case Vf(address) | WholePf(address):
            fields.pci_address(address)
        case Macvtap(netdev):
            _match(netdev, "netdev", _DEVICE, needed=True)
        case VhostUser(path, mode):
            check_text(path, "path")
            if not path.startswith("/"):
                raise InvalidField("path", path, "expected an absolute path")
            if mode not in ("server", "client"):
                raise InvalidField("mode", mode, "expected server or client")
        case Bridge(name, interface_id):
            _match(name, "bridge", _DEVICE, needed=True)
            if interface_id:
                fields.port_id(interface_id, "interface_id")
        case Network(name, portgroup):
            check_text(name, "network")
            _match(portgroup, "portgroup", _DEVICE)


def _match(value: str, field: str, pattern: re.Pattern[str], *, needed: bool = False) -> None:
    if (value or needed) and not pattern.fullmatch(value):
        raise InvalidField(field, value, f"expected {pattern.pattern}")


def check_device(value: str, field: str) -> None:
    """A device's name, by libvirt's rule.

    :raises InvalidField: if it is none
    """
    _match(value, field, _DEVICE, needed=True)


def check_text(value: str, field: str) -> None:
    """Markup in it stays text; what XML cannot have at all is refused."""
    if not value or _NOT_IN_XML.search(value):
        raise InvalidField(field, value, "expected text of characters that XML can have")


def element(nic: Nic) -> ET.Element:
    """The device's element: ``interface``, or ``hostdev`` for a whole PF."""
    if isinstance(nic.source, WholePf):
        root = ET.Element("hostdev", mode="subsystem", type="pci", managed="yes")
        _append_driver(root, "vfio")
    else:
        root = ET.Element("interface", type=_TYPES[type(nic.source)])
        if isinstance(nic.source, Vf):
            root.set("managed", "yes")
        if nic.mac:
            ET.SubElement(root, "mac", address=nic.mac)
        if isinstance(nic.source, Vf):
            _append_driver(root, "vfio")
    _append_source(root, nic.source)
    _append_options(root, nic)
    append_vlans(root, nic.vlans)
    return root


def _append_options(root: ET.Element, nic: Nic) -> None:
    if nic.target:
        ET.SubElement(root, "target", dev=nic.target)
    if nic.model:
        ET.SubElement(root, "model", type=nic.model)
    if nic.queues:
        ET.SubElement(root, "driver", name="vhost", queues=str(nic.queues))
    if nic.mtu:
        ET.SubElement(root, "mtu", size=str(nic.mtu))
    append_bandwidth(root, nic.inbound, nic.outbound)
    if nic.boot_order:
        ET.SubElement(root, "boot", order=str(nic.boot_order))
    if nic.alias:
        ET.SubElement(root, "alias", name=nic.alias)


_TYPES: dict[type, str] = {
    Vf: "hostdev",
    Macvtap: "direct",
    VhostUser: "vhostuser",
    Bridge: "bridge",
    Network: "network",
}


def _append_driver(root: ET.Element, name: str) -> None:
    ET.SubElement(root, "driver", name=name)


def _append_source(root: ET.Element, source: Source) -> None:
    match source:
        case Vf(address) | WholePf(address):
            kind = {"type": "pci"} if isinstance(source, Vf) else {}
            append_address(ET.SubElement(root, "source"), address, **kind)
        case Macvtap(netdev):
            ET.SubElement(root, "source", dev=netdev, mode="passthrough")
        case VhostUser(path, mode):
            ET.SubElement(root, "source", type="unix", path=path, mode=mode)
        case Bridge(name, interface_id):
            ET.SubElement(root, "source", bridge=name)
            if interface_id:
                port = ET.SubElement(root, "virtualport", type="openvswitch")
                ET.SubElement(port, "parameters", interfaceid=interface_id)
        case Network(name, portgroup):
            at = {"network": name, "portgroup": portgroup}
            ET.SubElement(root, "source", {k: v for k, v in at.items() if v})


def append_address(root: ET.Element, address: str, **kind: str) -> None:
    """A PCI address as libvirt writes it."""
    parts = zip(_PCI_PARTS, re.split("[:.]", address), strict=True)
    ET.SubElement(root, "address", {**kind, **{name: f"0x{part}" for name, part in parts}})


def append_bandwidth(root: ET.Element, inbound: Rate | None, outbound: Rate | None) -> None:
    """The rates, if there are any."""
    if not (inbound or outbound):
        return
    bandwidth = ET.SubElement(root, "bandwidth")
    for direction, rate in (("inbound", inbound), ("outbound", outbound)):
        if rate:
            given = {"average": rate.average, "peak": rate.peak, "burst": rate.burst}
            ET.SubElement(bandwidth, direction, {k: str(v) for k, v in given.items() if v})


def append_vlans(root: ET.Element, vlans: Vlans) -> None:
    """The VLANs, if there are any."""
    if not vlans:
        return
    vlan = ET.SubElement(root, "vlan", {"trunk": "yes"} if vlans.trunk else {})
    for tag in vlans.tags:
        mode = {"nativeMode": "untagged"} if tag == vlans.native else {}
        ET.SubElement(vlan, "tag", {"id": str(tag), **mode})


def nic(root: ET.Element) -> Nic | None:
    """What an element of a domain says; ``None`` if it is of no kind that is known here.

    What libvirt adds of its own is left aside: its alias, where in the guest the device is.
    """
    try:
        attached_to = source(root)
        if attached_to is None:
            return None
        alias = get(root, "alias", "name")
        return Nic(
            source=attached_to,
            mac=get(root, "mac", "address"),
            vlans=vlans(root),
            model="" if isinstance(attached_to, Vf | WholePf) else get(root, "model", "type"),
            queues=int(get(root, "driver", "queues") or 0),
            target="" if isinstance(attached_to, Vf) else get(root, "target", "dev"),
            alias=alias if alias.startswith("ua-") else "",
            boot_order=int(get(root, "boot", "order") or 0),
            mtu=int(get(root, "mtu", "size") or 0),
            inbound=rate(root.find("bandwidth/inbound")),
            outbound=rate(root.find("bandwidth/outbound")),
        )
    except (ValueError, InvalidField):
        return None


def devices(domain: str) -> list[ET.Element]:
    """The elements of a domain that :func:`source` and :func:`nic` read, in libvirt's order.

    :param domain: its XML, as libvirt gives it
    :raises InvalidField: if it is no domain
    """
    try:
        root = ET.fromstring(domain)  # noqa: S314 - libvirtd's own
    except (ET.ParseError, ValueError) as error:
        raise InvalidField("domain", domain, str(error)) from error
    return [*root.iterfind("devices/interface"), *root.iterfind("devices/hostdev")]


def text(root: ET.Element) -> str:
    """An element, indented, with a newline at its end."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def get(root: ET.Element, path: str, name: str) -> str:
    """An attribute of the element at ``path``, "" if there is none."""
    found = root.find(path)
    return found.get(name, "") if found is not None else ""


def source(root: ET.Element) -> Source | None:
    """What a device of a domain is attached to; ``None`` if it is of no kind that is known here.

    :raises InvalidField: if that cannot be read
    """
    found: Source | None = None
    at = root.find("source")
    if at is None:
        return None
    match root.tag, root.get("type"):
        case "interface", "hostdev":
            found = Vf(_address(at))
        case "hostdev", "pci":
            found = WholePf(_address(at))
        case "interface", "direct" if at.get("mode") == "passthrough":
            found = Macvtap(at.get("dev", ""))
        case "interface", "vhostuser":
            found = VhostUser(at.get("path", ""), at.get("mode", "server"))
        case "interface", "bridge":
            interface_id = get(root, "virtualport/parameters", "interfaceid")
            found = Bridge(at.get("bridge", ""), interface_id)
        case "interface", "network":
            found = Network(at.get("network", ""), at.get("portgroup", ""))
    return found


def _address(at: ET.Element) -> str:
    found = at.find("address")
    if found is None:
        raise InvalidField("interface", None, "its source has no PCI address")
    return read_address(found)


def read_address(found: ET.Element) -> str:
    """A PCI address as libvirt writes it.

    :raises InvalidField: if it is none
    """
    try:
        domain, bus, slot, function = (int(found.get(part, ""), 16) for part in _PCI_PARTS)
    except ValueError:
        raise InvalidField("address", None, "expected domain, bus, slot and function") from None
    return fields.pci_address(f"{domain:04x}:{bus:02x}:{slot:02x}.{function}")


def vlans(root: ET.Element) -> Vlans:
    """The VLANs of an interface, a network or a portgroup.

    :raises ValueError, InvalidField: if they cannot be read
    """
    found = root.find("vlan")
    if found is None:
        return NO_VLANS
    tags = [(int(tag.get("id", "")), tag.get("nativeMode")) for tag in found]
    return Vlans(
        tags=tuple(tag for tag, _ in tags if tag),
        trunk=found.get("trunk") == "yes" or len(tags) > 1,
        native=next((tag for tag, mode in tags if mode == "untagged"), 0),
    )


def rate(found: ET.Element | None) -> Rate | None:
    """What an ``inbound`` or ``outbound`` says; ``None`` if it is not there."""
    if found is None:
        return None
    return Rate(**{name: int(found.get(name, "0")) for name in ("average", "peak", "burst")})
