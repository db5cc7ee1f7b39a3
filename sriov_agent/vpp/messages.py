# SPDX-License-Identifier: Apache-2.0
"""A change as the message of VPP's API that asks for it: pure.

Source: VPP 26.06, ``vnet/interface.api``, ``vnet/l2/l2.api``, ``vnet/ip/ip.api``,
``plugins/vhost/vhost_user.api``.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sriov_agent.vpp.changes import Change, Domain, Gateway, Guest, Sub, Table, Target, Verb
from sriov_agent.vpp.model import OURS

UP = 1  # IF_STATUS_API_FLAG_ADMIN_UP
TYPE_HARDWARE, TYPE_SUB = 0, 1  # IF_API_TYPE_*
NORMAL, BVI = 0, 1  # L2_API_PORT_TYPE_*
POP_1 = 3  # L2_VTR_POP_1

Request = tuple[str, Mapping[str, Any]]
Index = Callable[[Target], int]


def request(change: Change, index: Index) -> Request:
    """The name of a message, and its fields.

    :param index: the ``sw_if_index`` of a gateway, guest or sub-interface that is there
    """
    match change.verb:
        case Verb.ADD:
            return _add(change, index)
        case Verb.REMOVE:
            return _remove(change, index)
        case Verb.MODE:
            given = {"sock_filename": str(change.on), "is_server": change.value}
            return "modify_vhost_user_if_v2", {"sw_if_index": index(change.on), **given}
        case _:
            return _set(change, index(change.on))


def _add(change: Change, index: Index) -> Request:
    match change.on:
        case Table():
            return "ip_table_add_del", {"is_add": True, "table": _table(change.on)}
        case Domain(vlan):
            features = dict.fromkeys(("flood", "uu_flood", "forward", "learn"), True)
            given = {"is_add": True, "bd_id": vlan, "bd_tag": OURS, **features}
            return "bridge_domain_add_del_v2", given
        case Gateway(vlan):
            return "create_loopback_instance", {"is_specified": True, "user_instance": vlan}
        case Guest(socket):
            return (
                "create_vhost_user_if_v2",
                {"sock_filename": socket, "is_server": change.value, "tag": OURS},
            )
        case Sub(socket, vlan):
            return "create_vlan_subif", {"sw_if_index": index(Guest(socket)), "vlan_id": vlan}


def _remove(change: Change, index: Index) -> Request:
    match change.on:
        case Table():
            return "ip_table_add_del", {"is_add": False, "table": _table(change.on)}
        case Domain(vlan):
            return "bridge_domain_add_del_v2", {"is_add": False, "bd_id": vlan}
        case Gateway():
            return "delete_loopback", {"sw_if_index": index(change.on)}
        case Guest():
            return "delete_vhost_user_if", {"sw_if_index": index(change.on)}
        case Sub():
            return "delete_subif", {"sw_if_index": index(change.on)}


def _set(change: Change, index: int) -> Request:
    """Of an interface that is there."""
    given = {"sw_if_index": index}
    match change.verb, change.value:
        case Verb.TAG, _:
            return "sw_interface_tag_add_del", {**given, "is_add": True, "tag": OURS}
        case Verb.UP, _:
            return "sw_interface_set_flags", {**given, "flags": UP}
        case Verb.POP, _:
            return "l2_interface_vlan_tag_rewrite", {**given, "vtr_op": POP_1, "push_dot1q": 1}
        case Verb.JOIN, Domain(vlan):
            port_type = BVI if isinstance(change.on, Gateway) else NORMAL
            joined = {"bd_id": vlan, "port_type": port_type, "enable": True}
            return "sw_interface_set_l2_bridge", {"rx_sw_if_index": index, **joined}
        case Verb.BIND, Table(version, number):
            bound = {"is_ipv6": version == 6, "vrf_id": number}
            return "sw_interface_set_table", {**given, **bound}
        case ((Verb.ADD_ADDRESS | Verb.REMOVE_ADDRESS), address):
            added = {"is_add": change.verb == Verb.ADD_ADDRESS, "prefix": address}
            return "sw_interface_add_del_address", {**given, **added}
    raise ValueError(f"no message does this: {change}")


def _table(table: Table) -> Mapping[str, Any]:
    return {"table_id": table.number, "is_ip6": table.version == 6, "name": OURS}
