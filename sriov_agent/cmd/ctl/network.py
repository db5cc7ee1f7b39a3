# SPDX-License-Identifier: Apache-2.0
"""``sriovctl network``: VLAN and physical network of a network, in Neutron."""

import argparse
from typing import TYPE_CHECKING, Any

from sriov_agent.cmd.ctl.base import clean, sriovctl
from sriov_agent.cmd.ctl.command import ShowOne
from sriov_agent.core import fields
from sriov_agent.exceptions import InvalidField
from sriov_agent.hook.loader import loaded
from sriov_agent.sources.neutron import Neutron

if TYPE_CHECKING:
    from sriov_agent.cmd.ctl.app import Sriovctl

_SHOW = {
    "id": "id",
    "name": "name",
    "type": "provider:network_type",
    "physical_network": "provider:physical_network",
    "vlan": "provider:segmentation_id",
}

Row = tuple[tuple[str, ...], tuple[object, ...]]


class NetworkShow(ShowOne):
    """Show VLAN and physical network of a network, as Neutron has them.

    Example: sriovctl network show red -f json
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("network", help="name or id")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Row:
        return _shown(Neutron(sriovctl(self).conf.neutron).find_network(parsed_args.network))


class NetworkSet(NetworkShow):
    """Give a network its VLAN on a physical network, in Neutron.

    Without --vlan the VLAN is the number by which the device manager knows the network, such as
    Contrail's VN id.

    Example: sriovctl network set --vlan 15 --physical-network physnet2 red
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add = parser.add_argument
        add("--vlan", type=int, help="VLAN id 1..4094; default: the VN id in Contrail")
        add("--physical-network", required=True, help="as in physical_device_mappings")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Row:
        app = sriovctl(self)
        name = fields.physical_network(parsed_args.physical_network)
        vlan = parsed_args.vlan
        if vlan is not None:
            fields.integer(vlan, "vlan", 1, fields.MAX_VLAN)
        neutron = Neutron(app.conf.neutron)
        network = neutron.find_network(parsed_args.network)
        if vlan is None:
            vlan = _network_number(app, network["id"])
        return _shown(neutron.set_network(network, vlan, name))


def _network_number(app: "Sriovctl", network_id: str) -> int:
    """The VN id as VLAN.

    :raises Refused: if the device manager has none
    :raises InvalidField: if it can be no VLAN
    """
    with loaded(app.conf) as hook:
        number = hook.network_number(network_id)
    if not 1 <= number <= fields.MAX_VLAN:
        raise InvalidField(
            "vlan", number, f"the network's VN id is no VLAN 1..{fields.MAX_VLAN}: give --vlan"
        )
    return number


def _shown(network: dict[str, Any]) -> Row:
    return tuple(_SHOW), tuple(clean(network.get(key)) for key in _SHOW.values())
