# SPDX-License-Identifier: Apache-2.0
"""``vmx.conf``, the file that describes an :class:`Appliance`, read: pure.

YAML in several documents, a section each: ``HOST``, ``BRIDGES``, ``CONTROL_PLANE``,
``FORWARDING_PLANE``, ``JUNOS_DEVICES``. Scalars are read as they are written: of an unquoted MAC,
YAML would make a number.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField, printable
from sriov_agent.libvirt import nic
from sriov_agent.libvirt.appliance import MAX_DATA_INTERFACES, Appliance, Data, Guest, Port
from sriov_agent.libvirt.nic import Bridge, Network, Vf

_IDENTIFIER = re.compile(r"[A-Za-z0-9]{1,4}")
_INTERFACE = re.compile(r"ge-0/0/(0|[1-9][0-9]?)")
_NUMBER = re.compile(r"[0-9]{1,9}")
_SECTIONS = ("HOST", "BRIDGES", "CONTROL_PLANE", "FORWARDING_PLANE", "JUNOS_DEVICES")
_SOURCES = ("port", "vf", "bridge", "network")
#: Where an interface is that says nothing: libvirt's own network.
_DEFAULT = Network("default")

Node = Any
Check = Callable[[str, str], Any]


def parse(text: str, name: str = "vmx.conf") -> Appliance:
    """What the file says.

    :param name: the file's, for the error
    :raises InvalidField: with every line that cannot be used
    """
    file = _File()
    appliance = None
    try:
        sections = file.sections(list(yaml.compose_all(text, Loader=yaml.SafeLoader)))
        appliance = file.appliance(sections)
    except yaml.MarkedYAMLError as error:
        file.problems.append((error.problem_mark.line + 1, str(error.problem)))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        file.problems.append((line, f"character {error.character:#x} is not allowed"))
    except RecursionError:
        file.problems.append((1, "nested too deeply"))
    if appliance is None:
        said = "; ".join(f"line {line}: {problem}" for line, problem in sorted(file.problems))
        raise InvalidField("file", name, said)
    return appliance


class _File:
    """What is wrong with the file, as it is read: line and sentence of each problem."""

    def __init__(self) -> None:
        self.problems: list[tuple[int, str]] = []
        self._lines: dict[tuple[str, object], int] = {}

    def _say(self, node: Node, problem: str) -> None:
        self.problems.append((node.start_mark.line + 1 if node else 1, problem))

    def sections(self, documents: list[Node]) -> dict[str, Node]:
        """The sections of all documents by name."""
        found: dict[str, Node] = {}
        for document in documents:
            for key, node in self._pairs(document, "document"):
                if key in found:
                    self._say(node, f"section {key} is there twice")
                elif key not in _SECTIONS:
                    expected = ", ".join(_SECTIONS)
                    self._say(node, f"section {printable(key)}: expected one of {expected}")
                found[key] = node
        for section in _SECTIONS[:4]:
            if section not in found:
                self._say(None, f"section {section} is missing")
        return found

    def appliance(self, sections: Mapping[str, Node]) -> Appliance | None:
        """The appliance; ``None`` if there is any problem."""
        host = self._mapping(
            sections.get("HOST"),
            "HOST",
            {
                "identifier": _identifier,
                "host-management-interface": _device,
                "routing-engine-image": _path,
                "routing-engine-hdd": _path,
                "forwarding-engine-image": _path,
            },
        )
        bridge = self._only(
            sections.get("BRIDGES"), "BRIDGES", {"type": _external, "name": _bridge}
        )
        vcp = self._guest(sections.get("CONTROL_PLANE"), "CONTROL_PLANE", (0,), {})
        vfp = self._guest(
            sections.get("FORWARDING_PLANE"),
            "FORWARDING_PLANE",
            (),
            {"device-type": _device_type, "numa-node": _integer(0, 1023)},
        )
        data = self._data(sections.get("JUNOS_DEVICES"), vfp.get("device-type", "mixed"))
        if self.problems:
            return None
        return Appliance(
            identifier=host["identifier"],
            external_bridge=bridge["name"],
            routing_engine_image=host["routing-engine-image"],
            routing_engine_hdd=host["routing-engine-hdd"],
            forwarding_engine_image=host["forwarding-engine-image"],
            vcp=vcp["guest"],
            vfp=vfp["guest"],
            numa_node=vfp.get("numa-node", 0),
            data=data,
        )

    def _guest(
        self, node: Node, section: str, cpus: tuple[int, ...], optional: Mapping[str, Check]
    ) -> dict[str, Any]:
        """The section, and as ``guest`` what is made of it, if all of that is right.

        :param cpus: those of the host where the section names none
        """
        needed = {
            "vcpus": _integer(1, 255),
            "memory-mb": _integer(1, 2**24),
            "console_port": _integer(1, 65535),
        }
        optional = {**optional, "cpus": _cpus}
        found = self._mapping(node, section, needed, optional, nested=("interfaces",))
        management = self._only(
            found.get("interfaces"),
            f"{section} interfaces",
            {"type": _management, "macaddr": fields.mac},
            {"ipaddr": _ip_address},
        )
        pinned = found.get("cpus", cpus)
        if len(pinned) > 1 and len(pinned) != found.get("vcpus", len(pinned)):
            self._say(node, f"{section} cpus: expected one CPU, or one for each of its vcpus")
        if management.get("type") == "static" and "ipaddr" not in management:
            self._say(found["interfaces"], f"{section} ipaddr is missing")
        if not self.problems:
            found["guest"] = Guest(
                vcpus=found["vcpus"],
                memory=found["memory-mb"],
                console_port=found["console_port"],
                mac=management["macaddr"],
                cpus=pinned,
            )
        return found

    def _data(self, section: Node, device_type: str) -> tuple[Data, ...]:
        found: dict[int, Data] = {}
        nodes = self._items(section, "JUNOS_DEVICES") if section else []
        for node in nodes:
            read = self._mapping(
                node,
                "JUNOS_DEVICES",
                {"interface": _number},
                {
                    "mac-address": fields.mac,
                    "description": _label,
                    "port": _label,
                    "vf": fields.pci_address,
                    "bridge": _device,
                    "network": _text,
                    "vlan": _integer(1, fields.MAX_VLAN),
                },
            )
            data = self._interface(node, read, device_type)
            if data:
                found[data.number] = data
        if len(found) == len(nodes) and sorted(found) != list(range(len(found))):
            self._say(section, "ge-0/0/N: expected each N from 0 on, as the guest counts them")
        return tuple(found[number] for number in sorted(found))

    def _interface(self, node: Node, read: dict[str, Any], device_type: str) -> Data | None:
        if "interface" not in read:
            return None
        number = read["interface"]
        name = f"ge-0/0/{number}"
        sources = [source for source in _SOURCES if source in read]
        if len(sources) > 1:
            self._say(node, f"{name}: {' and '.join(sources)}: expected one of them")
        if "vlan" in read and sources != ["vf"]:
            self._say(node, f"{name} vlan: only a vf has one here")
        if "mac-address" not in read and sources != ["port"]:
            self._say(node, f"{name} mac-address is missing")
        on_vf = bool({"port", "vf"}.intersection(sources))
        if device_type != "mixed" and on_vf != (device_type == "sriov"):
            what = "a VF" if on_vf else "no VF"
            self._say(node, f"{name} is on {what}: expected device-type mixed, not {device_type}")
        made: Mapping[str, Callable[[str], Port | Vf | Bridge | Network]] = {
            "port": Port,
            "vf": Vf,
            "bridge": Bridge,
            "network": Network,
        }
        return Data(
            number=number,
            source=made[sources[0]](read[sources[0]]) if sources else _DEFAULT,
            mac=read.get("mac-address", ""),
            vlan=read.get("vlan", 0),
            description=read.get("description", ""),
        )

    def _only(
        self,
        node: Node,
        where: str,
        needed: Mapping[str, Check],
        optional: Mapping[str, Check] | None = None,
    ) -> dict[str, Any]:
        """The one item of a list."""
        if node is None:
            return {}
        items = self._items(node, where)
        if len(items) != 1:
            self._say(node, f"{where}: expected a list of one")
        return self._mapping(items[0], where, needed, optional) if items else {}

    def _items(self, node: Node, where: str) -> list[Node]:
        if not isinstance(node, yaml.SequenceNode):
            self._say(node, f"{where}: expected a list")
            return []
        items: list[Node] = node.value
        return items

    def _pairs(self, node: Node, where: str) -> list[tuple[str, Node]]:
        """Key and value of a mapping, of which each key is a word."""
        if not isinstance(node, yaml.MappingNode):
            self._say(node, f"{where}: expected 'name: value' pairs")
            return []
        words = [key for key, _ in node.value if not isinstance(key, yaml.ScalarNode)]
        for key in words:
            self._say(key, f"{where}: expected a name before the colon")
        return [(key.value, value) for key, value in node.value if key not in words]

    def _mapping(
        self,
        node: Node,
        where: str,
        needed: Mapping[str, Check],
        optional: Mapping[str, Check] | None = None,
        nested: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Those values of a mapping that are right, by key; ``nested`` as they are in the file."""
        if node is None:
            return {}
        checks = {**needed, **(optional or {})}
        found: dict[str, Any] = {}
        keys = set()
        for key, value in self._pairs(node, where):
            if key in keys:
                self._say(value, f"{where} {printable(key)} is there twice")
            elif key in nested:
                found[key] = value
            elif key not in checks:
                self._say(value, f"{where} {printable(key)}: expected one of {', '.join(checks)}")
            elif not isinstance(value, yaml.ScalarNode):
                self._say(value, f"{where} {key}: expected one value")
            else:
                self._check(value, key, checks[key], found)
            keys.add(key)
        for key in (*needed, *nested):
            if key not in keys:
                self._say(node, f"{where} {key} is missing")
        return found

    def _check(self, node: Node, key: str, check: Check, found: dict[str, Any]) -> None:
        try:
            value = check(node.value, key)
        except InvalidField as error:
            self._say(node, str(error))
            return
        found[key] = value
        kind = _ALONE.get(key)
        if kind and (kind, value) in self._lines:
            first = self._lines[kind, value]
            self._say(node, f"{key} {printable(node.value)}: line {first} has it already")
        elif kind:
            self._lines[kind, value] = node.start_mark.line + 1


#: Keys of which no two have the same value.
_ALONE = {
    "macaddr": "mac",
    "mac-address": "mac",
    "ipaddr": "ipaddr",
    "console_port": "console_port",
    "routing-engine-image": "image",
    "routing-engine-hdd": "image",
    "forwarding-engine-image": "image",
    "interface": "interface",
    "vf": "vf",
    "port": "port",
}


def _identifier(text: str, field: str) -> str:
    if not _IDENTIFIER.fullmatch(text):
        raise InvalidField(field, text, "expected letters and digits, at most 4 characters")
    return text


def _bridge(text: str, field: str) -> str:
    if len(text) > 10:
        raise InvalidField(field, text, "expected at most 10 characters")
    return _device(text, field)


def _device(text: str, field: str) -> str:
    """A network device of the host's, of which Linux limits the name (``IFNAMSIZ``)."""
    nic.check_device(text, field)
    if len(text) > 15 or "/" in text:
        raise InvalidField(field, text, "expected at most 15 characters without '/'")
    return text


def _path(text: str, field: str) -> str:
    nic.check_text(text, field)
    if not text.startswith("/"):
        raise InvalidField(field, text, "expected an absolute path")
    return text


def _text(text: str, field: str) -> str:
    nic.check_text(text, field)
    return text


def _label(text: str, field: str) -> str:
    return _text(fields.text(text, field), field)


def _number(text: str, field: str) -> int:
    found = _INTERFACE.fullmatch(text)
    if not found or int(found[1]) >= MAX_DATA_INTERFACES:
        limit = MAX_DATA_INTERFACES - 1
        raise InvalidField(field, text, f"expected ge-0/0/0 to ge-0/0/{limit}")
    return int(found[1])


def _ip_address(text: str, field: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidField(field, text, "expected an IP address") from None


def _integer(low: int, high: int) -> Check:
    def check(text: str, field: str) -> int:
        if not _NUMBER.fullmatch(text):
            raise InvalidField(field, text, f"expected a whole number {low}..{high}")
        return fields.integer(int(text), field, low, high)

    return check


def _cpus(text: str, field: str) -> tuple[int, ...]:
    """CPUs of the host, separated by commas."""
    return tuple(_integer(0, 4095)(cpu.strip(), field) for cpu in text.split(","))


def _one_of(*words: str) -> Check:
    def check(text: str, field: str) -> str:
        if text not in words:
            raise InvalidField(field, text, f"expected {', '.join(words)}")
        return text

    return check


_external = _one_of("external")
_management = _one_of("static", "dhcp")
_device_type = _one_of("virtio", "sriov", "mixed")
