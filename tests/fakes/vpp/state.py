# SPDX-License-Identifier: Apache-2.0
"""What the fake VPP has, and its answers: one method for each message, by its name."""

import contextlib
import ipaddress
import itertools
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

NONE = 0xFFFFFFFF

# vnet/error.h
INVALID_SW_IF_INDEX = -2
NO_SUCH_FIB = -3
NO_SUCH_ENTRY = -6
INVALID_VALUE = -7
SYSCALL_ERROR_2 = -12
INVALID_REGISTRATION = -31
INVALID_VLAN = -55
VLAN_ALREADY_EXISTS = -56
ADDRESS_NOT_FOUND_FOR_INTERFACE = -60
INVALID_VLAN_TAG_COUNT = -72
INVALID_ARGUMENT = -73
IF_ALREADY_EXISTS = -79
INVALID_SUB_SW_IF_INDEX = -98
ADDRESS_IN_USE = -105
ADDRESS_FOUND_FOR_INTERFACE = -114
BD_ALREADY_EXISTS = -119
BD_IN_USE = -120
BD_NOT_MODIFIABLE = -121
BD_ID_EXCEED_MAX = -122
BD_ALREADY_HAS_BVI = -152


class Error(Exception):
    """An answer that is no: its number."""


@dataclass
class Interface:
    name: str
    kind: str = ""
    tag: str = ""
    up: bool = False
    parent: int | None = None
    sub_id: int = 0
    rewrite: int = 0
    path: str = ""
    server: bool = False
    listener: socket.socket | None = None
    tables: dict = field(default_factory=lambda: {4: 0, 6: 0})
    addresses: list = field(default_factory=list)


@dataclass
class Domain:
    tag: str = ""
    features: dict = field(default_factory=dict)
    bvi: int = NONE
    members: list = field(default_factory=list)


class State:
    """A VPP that has just been started."""

    def __init__(self):
        self.interfaces = {0: Interface("local0", "local")}
        self.domains = {}
        self.tables = {(4, 0): "ipv4-VRF:0", (6, 0): "ipv6-VRF:0"}

    def answer(self, name, given):
        """What is answered to a request: a list of fields for each message."""
        try:
            found = getattr(self, name)(given)
        except Error as error:
            return [{"retval": error.args[0], "sw_if_index": NONE}]
        return found if isinstance(found, list) else [{"retval": 0, **(found or {})}]

    def control_ping(self, given):
        return {"vpe_pid": os.getpid()}

    def sw_interface_dump(self, given):
        return [
            {
                "sw_if_index": index,
                "sup_sw_if_index": index if each.parent is None else each.parent,
                "l2_address": bytes(6),
                "flags": 1 if each.up else 0,
                "type": 0 if each.parent is None else 1,
                "mtu": [0, 0, 0, 0],
                "sub_id": each.sub_id,
                "sub_number_of_tags": 0 if each.parent is None else 1,
                "sub_outer_vlan_id": each.sub_id,
                "vtr_op": each.rewrite,
                "interface_name": each.name,
                "interface_dev_type": each.kind,
                "tag": each.tag,
            }
            for index, each in sorted(self.interfaces.items())
        ]

    def sw_interface_vhost_user_dump(self, given):
        return [
            {
                "sw_if_index": index,
                "interface_name": each.name,
                "is_server": each.server,
                "sock_filename": each.path,
            }
            for index, each in sorted(self.interfaces.items())
            if each.path
        ]

    def bridge_domain_dump(self, given):
        return [
            {
                "bd_id": number,
                "bd_tag": each.tag,
                **each.features,
                "bvi_sw_if_index": each.bvi,
                "uu_fwd_sw_if_index": NONE,
                "n_sw_ifs": len(each.members),
                "sw_if_details": [{"sw_if_index": member} for member in each.members],
            }
            for number, each in sorted(self.domains.items())
        ]

    def ip_table_dump(self, given):
        return [
            {"table": {"table_id": number, "is_ip6": version == 6, "name": name}}
            for (version, number), name in sorted(self.tables.items())
        ]

    def ip_address_dump(self, given):
        version = 6 if given.is_ipv6 else 4
        return [
            {"sw_if_index": given.sw_if_index, "prefix": address}
            for address in self._interface(given).addresses
            if address.version == version
        ]

    def sw_interface_get_table(self, given):
        return {"vrf_id": self._interface(given).tables[6 if given.is_ipv6 else 4]}

    def ip_table_add_del(self, given):
        key = (6 if given.table.is_ip6 else 4, given.table.table_id)
        if given.is_add:
            self.tables.setdefault(key, given.table.name or "")
        elif key[1] and not any(each.tables[key[0]] == key[1] for each in self.interfaces.values()):
            self.tables.pop(key, None)

    def bridge_domain_add_del_v2(self, given):
        if not given.is_add:
            if given.bd_id == 0:
                raise Error(BD_NOT_MODIFIABLE)
            if given.bd_id not in self.domains:
                raise Error(NO_SUCH_ENTRY)
            if self.domains[given.bd_id].members:
                raise Error(BD_IN_USE)
            del self.domains[given.bd_id]
        elif given.bd_id in {0, *self.domains}:
            raise Error(BD_ALREADY_EXISTS)
        elif given.bd_id > 0xFFFFFF:
            raise Error(BD_ID_EXCEED_MAX)
        else:
            names = ("flood", "uu_flood", "forward", "learn", "arp_term", "arp_ufwd", "mac_age")
            features = {name: getattr(given, name) for name in names}
            self.domains[given.bd_id] = Domain(given.bd_tag, features)
        return {"bd_id": given.bd_id}

    def create_loopback_instance(self, given):
        name = f"loop{given.user_instance}"
        if not given.is_specified:
            name = next(name for n in itertools.count() if not self._named(name := f"loop{n}"))
        if self._named(name):
            raise Error(INVALID_REGISTRATION)
        return self._add(Interface(name, "Loopback"))

    def delete_loopback(self, given):
        if self._interface(given).kind != "Loopback":
            raise Error(INVALID_SW_IF_INDEX)
        self._delete(given.sw_if_index)

    def create_vhost_user_if_v2(self, given):
        if not given.sock_filename:
            raise Error(INVALID_ARGUMENT)
        for each in self.interfaces.values():
            if each.path == given.sock_filename:
                raise Error(IF_ALREADY_EXISTS)
        number = next(n for n in itertools.count() if not self._named(f"VirtualEthernet0/0/{n}"))
        if given.renumber:
            number = given.custom_dev_instance
        interface = Interface(f"VirtualEthernet0/0/{number}", "vhost-user", given.tag)
        self._listen(interface, given)
        return self._add(interface)

    def modify_vhost_user_if_v2(self, given):
        interface = self._interface(given)
        if not interface.path:
            raise Error(INVALID_SW_IF_INDEX)
        self._hang_up(interface)
        self._listen(interface, given)

    def delete_vhost_user_if(self, given):
        if not self._interface(given).path:
            raise Error(INVALID_SW_IF_INDEX)
        self._hang_up(self.interfaces[given.sw_if_index])
        self._delete(given.sw_if_index)

    def create_vlan_subif(self, given):
        parent = self._interface(given)
        if not 0 < given.vlan_id <= 4095:
            raise Error(INVALID_VLAN)
        name = f"{parent.name}.{given.vlan_id}"
        if self._named(name):
            raise Error(VLAN_ALREADY_EXISTS)
        sub = Interface(name, parent.kind, parent=given.sw_if_index, sub_id=given.vlan_id)
        return self._add(sub)

    def delete_subif(self, given):
        if self._interface(given).parent is None:
            raise Error(INVALID_SUB_SW_IF_INDEX)
        self._delete(given.sw_if_index)

    def sw_interface_tag_add_del(self, given):
        if given.is_add and not given.tag:
            raise Error(INVALID_VALUE)
        self._interface(given).tag = given.tag if given.is_add else ""

    def sw_interface_set_flags(self, given):
        self._interface(given).up = bool(given.flags & 1)

    def sw_interface_set_l2_bridge(self, given):
        index = given.rx_sw_if_index
        if index not in self.interfaces:
            raise Error(INVALID_SW_IF_INDEX)
        self._leave(index)
        if given.enable:
            domain = self.domains.setdefault(given.bd_id, Domain())
            if given.port_type == 1:
                if domain.bvi != NONE:
                    raise Error(BD_ALREADY_HAS_BVI)
                domain.bvi = index
            domain.members.append(index)
        else:
            self.interfaces[index].rewrite = 0

    def l2_interface_vlan_tag_rewrite(self, given):
        interface = self._interface(given)
        if interface.parent is None and given.vtr_op:
            raise Error(INVALID_VLAN_TAG_COUNT)
        interface.rewrite = given.vtr_op

    def sw_interface_set_table(self, given):
        interface, version = self._interface(given), 6 if given.is_ipv6 else 4
        if (version, given.vrf_id) not in self.tables:
            raise Error(NO_SUCH_FIB)
        if any(address.version == version for address in interface.addresses):
            raise Error(ADDRESS_FOUND_FOR_INTERFACE)
        interface.tables[version] = given.vrf_id

    def sw_interface_add_del_address(self, given):
        interface, prefix = self._interface(given), ipaddress.ip_interface(str(given.prefix))
        if not given.is_add:
            if prefix not in interface.addresses:
                raise Error(ADDRESS_NOT_FOUND_FOR_INTERFACE)
            interface.addresses.remove(prefix)
            return
        table = interface.tables[prefix.version]
        for other in self.interfaces.values():
            for address in other.addresses:
                same = address.version == prefix.version and other.tables[prefix.version] == table
                second = other is interface and address.network == prefix.network
                second = second and address != prefix
                if same and not second and address.network.overlaps(prefix.network):
                    raise Error(ADDRESS_IN_USE)
        interface.addresses.append(prefix)

    def _interface(self, given):
        if given.sw_if_index not in self.interfaces:
            raise Error(INVALID_SW_IF_INDEX)
        return self.interfaces[given.sw_if_index]

    def _named(self, name):
        return any(each.name == name for each in self.interfaces.values())

    def _add(self, interface):
        index = next(n for n in itertools.count(1) if n not in self.interfaces)
        self.interfaces[index] = interface
        return {"sw_if_index": index}

    def _delete(self, index):
        for sub in [n for n, each in self.interfaces.items() if each.parent == index]:
            self._delete(sub)
        self._leave(index)
        del self.interfaces[index]

    def _leave(self, index):
        for domain in self.domains.values():
            if index in domain.members:
                domain.members.remove(index)
            if domain.bvi == index:
                domain.bvi = NONE

    def _listen(self, interface, given):
        """Whoever makes the socket removes what is at its path."""
        if given.is_server:
            listener = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                Path(given.sock_filename).unlink()
            try:
                listener.bind(given.sock_filename)
            except OSError as error:
                listener.close()
                raise Error(SYSCALL_ERROR_2) from error
            interface.listener = listener
        interface.path, interface.server = given.sock_filename, given.is_server

    def _hang_up(self, interface):
        if interface.listener:
            interface.listener.close()
            interface.listener = None
            Path(interface.path).unlink(missing_ok=True)


def requests():
    """The messages that are answered."""
    return [name for name in vars(State) if re.fullmatch(r"[a-z0-9][a-z0-9_]+", name)]
