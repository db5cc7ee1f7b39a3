# SPDX-License-Identifier: Apache-2.0
"""``sriovctl vpp``: VPP as the switch of vhost-user guests, and what libvirt is to be told."""

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from sriov_agent.cmd.ctl.base import clean, sriovctl
from sriov_agent.cmd.ctl.command import Command, Lister
from sriov_agent.exceptions import ConfigError, InvalidField, Refused
from sriov_agent.libvirt import nic
from sriov_agent.libvirt.nic import Nic, VhostUser
from sriov_agent.vpp import model, plan, script
from sriov_agent.vpp.changes import Change
from sriov_agent.vpp.model import Desired, Observed, Port, Vlan

if TYPE_CHECKING:
    from sriov_agent.vpp_api import Vpp

Rows = tuple[tuple[str, ...], list[tuple[object, ...]]]

_CHANGES = ("change", "on", "value")
_SHOW = ("vlan", "interface", "role", "socket", "addresses", "table", "state", "ours")


class VppScript(Command):
    """Print the commands that have VPP switch and route the VLANs of vhost-user guests.

    Example: sriovctl vpp script --port /run/vpp/vm00.sock=2+3 --vlan 2=192.168.2.1/24
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_desired(parser)
        parser.add_argument(
            "--first", type=int, default=0, help="first port's number; default: %(default)s"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        commands = script.commands(_desired(parsed_args), parsed_args.first)
        sriovctl(self).stdout.write("".join(f"{command}\n" for command in commands))


class VppApply(Lister):
    """Have VPP switch and route the VLANs of vhost-user guests, and list what was changed.

    Example: sriovctl vpp apply --port /run/vpp/vm00.sock=2+3 --vlan 2=192.168.2.1/24
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_desired(parser)
        parser.add_argument(
            "--prune", action="store_true", help="take back what is ours and not named here"
        )
        _add_changing(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        desired, prune = _desired(parsed_args), parsed_args.prune
        with _opened(parsed_args.socket) as vpp:
            changes = plan.plan(desired, vpp.observed(), prune=prune)
            if not parsed_args.dry_run and changes:
                _apply(vpp, changes)
                _seen(plan.plan(desired, vpp.observed(), prune=prune))
        return _CHANGES, _shown(changes)


class VppRemove(Lister):
    """Take back what ``vpp apply`` made, and list what was changed.

    Example: sriovctl vpp remove --port /run/vpp/vm00.sock --vlan 2
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add = parser.add_argument
        add("--port", action="append", default=[], metavar="SOCKET", help="a guest's socket")
        add(
            "--vlan",
            action="append",
            default=[],
            metavar="VLAN",
            help="a VLAN that VPP is to route no more",
        )
        add("--all", action="store_true", help="everything that is ours")
        _add_changing(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        sockets = [model.path(given) for given in parsed_args.port]
        vlans = [_number(given) for given in parsed_args.vlan]
        if bool(sockets or vlans) == parsed_args.all:
            raise InvalidField("port", parsed_args.port, "name a --port or --vlan, or --all of it")

        def remaining(observed: Observed) -> list[Change]:
            if parsed_args.all:
                return plan.everything(observed)
            return plan.removal(observed, sockets, vlans)

        with _opened(parsed_args.socket) as vpp:
            changes = remaining(vpp.observed())
            if not parsed_args.dry_run and changes:
                _apply(vpp, changes)
                _seen(remaining(vpp.observed()))
        return _CHANGES, _shown(changes)


class VppShow(Lister):
    """Show what VPP has of ours, and what others have put into our bridge domains.

    Example: sriovctl vpp show
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_socket(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        with _opened(parsed_args.socket) as vpp:
            return _SHOW, list(_rows(vpp.observed()))


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


def _opened(socket: str) -> "Vpp":
    """The VPP with this API socket.

    :raises ConfigError: if there is no vpp_papi
    """
    try:
        from sriov_agent.vpp_api import Vpp  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"VPP's API needs vpp_papi, which cannot be loaded ({error}): "
            "pip install 'sriov-agent[vpp]', or take sriovctl vpp script"
        ) from error
    return Vpp(socket)


def _apply(vpp: "Vpp", changes: list[Change]) -> None:
    """Make the changes.

    :raises Refused: if one was refused; one sentence for each
    """
    refused = [str(error) for _, error in vpp.apply(changes) if error]
    if refused:
        raise Refused("; ".join(refused))


def _seen(lacking: list[Change]) -> None:
    """What is still to be done after it was done.

    :raises Refused: if there is something
    """
    if lacking:
        listed = ", ".join(
            f"{change.verb} {change.on} {change.shown}".strip() for change in lacking
        )
        raise Refused(f"VPP said yes and does not show it: {listed}: see whether others change it")


def _shown(changes: Iterable[Change]) -> list[tuple[object, ...]]:
    return [(str(change.verb), str(change.on), change.shown) for change in changes]


def _rows(observed: Observed) -> Iterator[tuple[object, ...]]:
    told = set()
    for vlan, gateway in sorted(observed.loopbacks.items()):
        if gateway.ours:
            told.add(gateway.name)
            tables = dict.fromkeys(
                gateway.tables.get(model.version(address), 0) for address in gateway.addresses
            )
            listed = ", ".join(gateway.addresses), ", ".join(map(str, tables))
            yield vlan, gateway.name, "gateway", "", *listed, _state(gateway.up), True
    for path, socket in sorted(observed.sockets.items()):
        if socket.ours:
            told.add(socket.name)
            role = f"guest, {'server' if socket.server else 'client'}"
            state = f"{_state(socket.up)}, {'' if socket.connected else 'not '}connected"
            yield "", socket.name, role, clean(path), "", "", state, True
            for vlan, sub in sorted(socket.subs.items()):
                told.add(sub.name)
                state = _state(sub.up) + ("" if sub.pops else ", tag not popped")
                yield vlan, sub.name, "guest", clean(path), "", "", state, sub.ours
    for vlan, bridge in sorted(observed.bridges.items()):
        if bridge.ours:
            for name in sorted(bridge.members - told):
                yield vlan, name, "other", "", "", "", "", False


def _state(up: bool) -> str:
    return "up" if up else "down"


def _add_desired(parser: argparse.ArgumentParser) -> None:
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
    _add_mode(parser)


def _add_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode",
        choices=("server", "client"),
        default="server",
        help="VPP's end of the socket, QEMU has the other one; default: %(default)s",
    )


def _add_changing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="change nothing, list what would be")
    _add_socket(parser)


def _add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--socket",
        default="/run/vpp/api.sock",
        metavar="PATH",
        help="VPP's API socket; default: %(default)s",
    )


def _desired(given: argparse.Namespace) -> Desired:
    return Desired(
        ports=tuple(map(_port, given.port)),
        vlans=tuple(map(_vlan, given.vlan)),
        table=given.table,
        server=given.mode == "server",
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
