# SPDX-License-Identifier: Apache-2.0
"""``sriovctl vpp``: what VPP and libvirt are to be told of vhost-user guests."""

import argparse

from cliff.command import Command

from sriov_agent import vpp
from sriov_agent.cmd.ctl.base import sriovctl
from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import nic
from sriov_agent.libvirt.nic import Nic, VhostUser
from sriov_agent.vpp import Port, Vlan


class VppScript(Command):
    """Print the commands that have VPP switch and route the VLANs of vhost-user guests.

    Example: sriovctl vpp script --port /run/vpp/vm00.sock=2+3 --vlan 2=192.168.2.1/24
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add = parser.add_argument
        add(
            "--port",
            action="append",
            required=True,
            metavar="SOCKET=VLAN[+VLAN]",
            help="a guest's socket, and the VLANs that it tags",
        )
        add(
            "--vlan",
            action="append",
            default=[],
            metavar="VLAN=ADDRESS/LENGTH[+ADDRESS/LENGTH]",
            help="a VLAN that VPP routes, and its gateway there",
        )
        add("--table", type=int, default=0, help="of the routes; default: %(default)s, VPP's own")
        add("--first", type=int, default=0, help="first port's number; default: %(default)s")
        _add_mode(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        commands = vpp.commands(
            [_port(given) for given in parsed_args.port],
            [_vlan(given) for given in parsed_args.vlan],
            table=parsed_args.table,
            first=parsed_args.first,
            server=parsed_args.mode == "server",
        )
        sriovctl(self).stdout.write("".join(f"{command}\n" for command in commands))


class VppXml(Command):
    """Print the libvirt interface XML of a vhost-user guest.

    Example: sriovctl vpp xml --mac 52:54:00:4c:47:f2 /run/vpp/vm00.sock
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("socket", help="its path")
        parser.add_argument("--mac", default="", help="default: libvirt chooses")
        _add_mode(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        mode = {"server": "client", "client": "server"}[parsed_args.mode]
        device = Nic(
            source=VhostUser(parsed_args.socket, mode), mac=parsed_args.mac, model="virtio"
        )
        sriovctl(self).stdout.write(nic.text(nic.element(device)))


def _add_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=("server", "client"),
        default="server",
        help="VPP's end of the socket, QEMU has the other one; default: %(default)s",
    )


def _port(given: str) -> Port:
    socket, _, vlans = given.rpartition("=")
    return Port(socket, tuple(map(_number, vlans.split("+"))))


def _vlan(given: str) -> Vlan:
    vlan, _, addresses = given.partition("=")
    return Vlan(_number(vlan), tuple(addresses.split("+")))


def _number(given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise InvalidField("vlan", given, "expected a VLAN id")
    return int(given)
