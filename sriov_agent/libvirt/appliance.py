# SPDX-License-Identifier: Apache-2.0
"""A router of two guests, one that controls (VCP) and one that forwards (VFP), for libvirt: pure.

Source: libvirt "Domain XML format" and "Network XML format"; ``schemas/domain.rng``,
``schemas/network.rng``.
"""

import hashlib
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping

from msgspec import Struct

from sriov_agent.core.state import Interface
from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import nic, xml
from sriov_agent.libvirt.nic import Bridge, Macvtap, Network, Nic, Vf, Vlans

#: What runs the guests: the kernel, or QEMU alone.
TYPES = ("kvm", "qemu")

#: Slots of the guest's PCI bus: 0 to 2 are the board's; the last ones are left to libvirt.
_FIRST_SLOT = 3
MAX_DATA_INTERFACES = 24

#: What UUIDs are computed from, with a name: the same in each definition.
_NAMESPACE = uuid.UUID("5d3f4f0e-52a7-4c0b-9d38-3b1c1a7e6f20")


class Port(Struct, frozen=True):
    """A port of this host, by id or name, whose VF the agent gives."""

    name: str


class Data(Struct, frozen=True, kw_only=True):
    """``ge-0/0/<number>`` of the VFP. Of a ``Port``, "" as MAC is the port's own."""

    number: int
    source: Port | Vf | Bridge | Network
    mac: str = ""
    vlan: int = 0
    description: str = ""

    @property
    def name(self) -> str:
        """As the appliance calls it."""
        return f"ge-0/0/{self.number}"


class Guest(Struct, frozen=True, kw_only=True):
    """One of the two. ``memory`` is in MiB; ``mac`` is of its management interface.

    ``console_port`` is the TCP port of its serial console on the loopback. ``cpus`` are the host's
    for its vCPUs: none, one for all, or one each.
    """

    vcpus: int
    memory: int
    console_port: int
    mac: str
    cpus: tuple[int, ...] = ()


class Appliance(Struct, frozen=True, kw_only=True):
    """Both, and what they hang on; ``data`` in the order of their numbers, from 0.

    Images are absolute paths on the host. ``numa_node`` is where the VFP's memory is.
    """

    identifier: str
    external_bridge: str
    routing_engine_image: str
    routing_engine_hdd: str
    forwarding_engine_image: str
    vcp: Guest
    vfp: Guest
    numa_node: int = 0
    data: tuple[Data, ...] = ()

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two domains: the VCP's, the VFP's."""
        return f"vcp-{self.identifier}", f"vfp-{self.identifier}"

    @property
    def internal_bridge(self) -> str:
        """The bridge between the two, and libvirt's network that makes it."""
        return f"br-int-{self.identifier}"


def computed_uuid(name: str) -> str:
    """The UUID of a domain or network that is defined here: what has another is not ours."""
    return str(uuid.uuid5(_NAMESPACE, name))


def internal_network(appliance: Appliance) -> str:
    """The XML of libvirt's network that makes the internal bridge: nothing else is on it."""
    root = ET.Element("network")
    ET.SubElement(root, "name").text = appliance.internal_bridge
    ET.SubElement(root, "uuid").text = computed_uuid(appliance.internal_bridge)
    ET.SubElement(root, "bridge", name=appliance.internal_bridge, stp="on", delay="0")
    return nic.text(root)


def domains(appliance: Appliance, data: list[Nic], kind: str) -> dict[str, str]:
    """The XML of the two domains by name, the VCP first.

    :param data: the devices of the data interfaces, by :func:`data_nics`
    :param kind: one of ``TYPES``
    """
    vcp, vfp = appliance.names
    return {
        vcp: nic.text(_vcp(appliance, vcp, kind)),
        vfp: nic.text(_vfp(appliance, vfp, kind, data)),
    }


def data_nics(appliance: Appliance, ports: Mapping[str, Interface]) -> list[Nic]:
    """The network devices of the data interfaces, in their order.

    :param ports: what the agent wrote for each port that the appliance names
    :raises InvalidField: if a port has another MAC, or a VF or a MAC is there twice
    """
    nics = [_data_nic(data, ports, appliance.identifier) for data in appliance.data]
    seen: set[object] = {appliance.vcp.mac, appliance.vfp.mac}
    for data, device in zip(appliance.data, nics, strict=True):
        alone = [device.source] if isinstance(device.source, Vf | Macvtap) else []
        for value in (device.mac, *alone):
            if value in seen:
                raise InvalidField(data.name, value, "the appliance has it twice")
            seen.add(value)
    return nics


def _data_nic(data: Data, ports: Mapping[str, Interface], identifier: str) -> Nic:
    match data.source:
        case Port(name):
            device = xml.device(ports[name])
            if data.mac and data.mac != device.mac:
                raise InvalidField(data.name, data.mac, f"port {name} has the MAC {device.mac}")
            return device
        case Vf():
            return Nic(
                source=data.source, mac=data.mac, vlans=Vlans((data.vlan,) if data.vlan else ())
            )
        case _:
            return Nic(
                source=data.source,
                mac=data.mac,
                model="virtio",
                target=f"ge-0.0.{data.number}-{identifier}",
            )


def _vcp(appliance: Appliance, name: str, kind: str) -> ET.Element:
    guest = appliance.vcp
    root = _domain(name, kind, guest)
    _append_pins(root, guest)
    sysinfo = ET.SubElement(root, "sysinfo", type="smbios")
    _entries(ET.SubElement(sysinfo, "bios"), vendor="Juniper")
    _entries(
        ET.SubElement(sysinfo, "system"),
        manufacturer="Juniper",
        product=f"VM-vcp_{appliance.identifier}-161-re-0",
        version="0.1.0",
    )
    ET.SubElement(_append_os(root), "smbios", mode="sysinfo")
    _append_board(root, guest, "acpi", "apic", "pae")
    devices = ET.SubElement(root, "devices")
    _append_disk(devices, "qcow2", appliance.routing_engine_image, "hda")
    _append_disk(devices, "qcow2", appliance.routing_engine_hdd, "hdb")
    _append_nics(devices, _host_nics(appliance, "vcp", guest.mac, "e1000"))
    _append_console(devices, guest.console_port)
    return root


def _vfp(appliance: Appliance, name: str, kind: str, data: list[Nic]) -> ET.Element:
    guest = appliance.vfp
    root = _domain(name, kind, guest)
    described = [
        f"{entry.name}: {entry.description}" for entry in appliance.data if entry.description
    ]
    if described:
        ET.SubElement(root, "description").text = "\n".join(described)
    backing = ET.SubElement(root, "memoryBacking")
    ET.SubElement(backing, "hugepages")
    ET.SubElement(backing, "nosharepages")
    _append_pins(root, guest)
    numatune = ET.SubElement(root, "numatune")
    ET.SubElement(numatune, "memory", mode="strict", nodeset=str(appliance.numa_node))
    _append_os(root)
    _append_board(root, guest, "acpi")
    devices = ET.SubElement(root, "devices")
    _append_disk(devices, "raw", appliance.forwarding_engine_image, "hda")
    _append_nics(devices, [*_host_nics(appliance, "vfp", guest.mac, "virtio"), *data])
    _append_console(devices, guest.console_port)
    return root


def _domain(name: str, kind: str, guest: Guest) -> ET.Element:
    root = ET.Element("domain", type=kind)
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "uuid").text = computed_uuid(name)
    ET.SubElement(root, "memory", unit="MiB").text = str(guest.memory)
    ET.SubElement(root, "vcpu", placement="static").text = str(guest.vcpus)
    return root


def _append_pins(root: ET.Element, guest: Guest) -> None:
    if not guest.cpus:
        return
    cputune = ET.SubElement(root, "cputune")
    cpus = guest.cpus * guest.vcpus if len(guest.cpus) == 1 else guest.cpus
    for vcpu, cpu in enumerate(cpus):
        ET.SubElement(cputune, "vcpupin", vcpu=str(vcpu), cpuset=str(cpu))


def _append_os(root: ET.Element) -> ET.Element:
    os = ET.SubElement(root, "os")
    ET.SubElement(os, "type", arch="x86_64", machine="pc").text = "hvm"
    ET.SubElement(os, "boot", dev="hd")
    return os


def _append_board(root: ET.Element, guest: Guest, *features: str) -> None:
    has = ET.SubElement(root, "features")
    for feature in features:
        ET.SubElement(has, feature)
    cpu = ET.SubElement(root, "cpu", mode="host-model")
    ET.SubElement(cpu, "model", fallback="forbid")
    ET.SubElement(cpu, "topology", sockets="1", cores=str(guest.vcpus), threads="1")
    ET.SubElement(root, "clock", offset="utc")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "restart")):
        ET.SubElement(root, f"on_{event}").text = action


def _append_disk(devices: ET.Element, form: str, path: str, target: str) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type=form, cache="directsync")
    ET.SubElement(disk, "source", file=path)
    ET.SubElement(disk, "target", dev=target, bus="ide")


def _host_nics(appliance: Appliance, role: str, mac: str, model: str) -> list[Nic]:
    """The management interface and the internal one, in the order that the guests expect."""
    internal, identifier = Bridge(appliance.internal_bridge), appliance.identifier
    external = Bridge(appliance.external_bridge)
    target = f"{role}_int-{identifier}"
    return [
        Nic(source=external, mac=mac, model=model, target=f"{role}_ext-{identifier}"),
        Nic(source=internal, mac=_mac(target), model="virtio", target=target),
    ]


def _append_nics(devices: ET.Element, nics: list[Nic]) -> None:
    """The guest counts its interfaces by slot, and libvirt would give VFs the last ones."""
    for slot, device in enumerate(nics, _FIRST_SLOT):
        element = nic.element(device)
        nic.append_address(element, f"0000:00:{slot:02x}.0", type="pci")
        devices.append(element)


def _append_console(devices: ET.Element, port: int) -> None:
    serial = ET.SubElement(devices, "serial", type="tcp")
    ET.SubElement(serial, "source", mode="bind", host="127.0.0.1", service=str(port))
    ET.SubElement(serial, "protocol", type="telnet")
    ET.SubElement(serial, "target", port="0")
    ET.SubElement(devices, "graphics", type="vnc", autoport="yes", listen="127.0.0.1")
    ET.SubElement(ET.SubElement(devices, "video"), "model", type="cirrus")


def _entries(parent: ET.Element, **texts: str) -> None:
    for name, text in texts.items():
        ET.SubElement(parent, "entry", name=name).text = text


def _mac(target: str) -> str:
    """A MAC of QEMU's range for an interface of which the file has none, always the same."""
    octets = [0x52, 0x54, 0x00, *hashlib.sha256(target.encode()).digest()[:3]]
    return ":".join(f"{octet:02x}" for octet in octets)
