# SPDX-License-Identifier: Apache-2.0
"""What VPP is to have, in the commands of its own command line, for one that has nothing yet.

Source: VPP's "CLI reference", and how VPP 26.06 reads it: ``create vhost-user``, ``create loopback
interface``, ``create sub-interfaces``, ``set interface l2 bridge``, ``set interface l2
tag-rewrite``, ``set interface ip table``.
"""

from sriov_agent.core import fields
from sriov_agent.vpp.model import Desired, Port, Vlan, version

_MAX_NUMBER = 2**16 - 1
_IP = {4: "ip", 6: "ip6"}


def commands(desired: Desired, first: int = 0) -> list[str]:
    """What VPP is to be told, in this order.

    :param first: the number of the first port's interface; the others follow
    :raises InvalidField: for a number that is none
    """
    fields.integer(first, "first", 0, _MAX_NUMBER)
    table = desired.table
    versions = {version(each) for vlan in desired.vlans for each in vlan.addresses}
    found = [f"{_IP[each]} table add {table}" for each in sorted(versions) if table]
    for vlan in desired.vlans:
        found += _gateway(vlan, table)
    for number, port in enumerate(desired.ports, first):
        found += _port(port, number, desired.server)
    return found


def _gateway(vlan: Vlan, table: int) -> list[str]:
    """The BVI of a VLAN; its table comes before its addresses, which stay where they are."""
    if not vlan.addresses:
        return []
    loopback = f"loop{vlan.vlan}"
    versions = {version(address) for address in vlan.addresses}
    return [
        f"create loopback interface instance {vlan.vlan}",
        f"set interface l2 bridge {loopback} {vlan.vlan} bvi",
        *(
            f"set interface {_IP[each]} table {loopback} {table}"
            for each in sorted(versions)
            if table
        ),
        *(f"set interface ip address {loopback} {address}" for address in vlan.addresses),
        f"set interface state {loopback} up",
    ]


def _port(port: Port, number: int, server: bool) -> list[str]:
    name = f"VirtualEthernet0/0/{number}"
    found = [
        f"create vhost-user socket {port.socket}{' server' if server else ''} renumber {number}",
        f"set interface state {name} up",
    ]
    for vlan in port.vlans:
        found += [
            f"create sub-interfaces {name} {vlan}",
            f"set interface l2 bridge {name}.{vlan} {vlan}",
            f"set interface l2 tag-rewrite {name}.{vlan} pop 1",
            f"set interface state {name}.{vlan} up",
        ]
    return found
