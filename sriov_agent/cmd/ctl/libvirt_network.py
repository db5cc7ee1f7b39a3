# SPDX-License-Identifier: Apache-2.0
"""``sriovctl libvirt network``: libvirt's networks of VFs, written, defined and read."""

import argparse
from collections.abc import Iterable

from sriov_agent.cmd.ctl.base import clean, sriovctl
from sriov_agent.cmd.ctl.command import Command, Lister
from sriov_agent.cmd.ctl.guest import opened
from sriov_agent.exceptions import InvalidField
from sriov_agent.libvirt import network
from sriov_agent.libvirt.network import MODES, Pool, Portgroup
from sriov_agent.libvirt.nic import Network, Nic, Rate, Vlans, text

_LIST = ("name", "mode", "pool", "vlans", "portgroups")
_SHOW = ("portgroup", "default", "vlans", "inbound", "outbound")


class NetworkXml(Command):
    """Print the XML of a libvirt network whose guests get a VF each, or a port of a bridge.

    Example: sriovctl libvirt network xml fast --pf enp59s0f0 --portgroup web,vlan=15,default
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_arguments(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        sriovctl(self).stdout.write(text(network.element(_pool(parsed_args))))


class NetworkDefine(Command):
    """Define a libvirt network whose guests get a VF each, or a port of a bridge.

    Example: sriovctl libvirt network define fast --pf enp59s0f0 --vlan 15 --start
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_arguments(parser)
        parser.add_argument("--start", action="store_true", help="now, and when libvirt starts")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        pool = _pool(parsed_args)
        written = text(network.element(pool))
        opened(sriovctl(self)).define_network(pool.name, written, start=parsed_args.start)


class NetworkList(Lister):
    """List libvirt's networks of VFs or of Open vSwitch, with what their guests get.

    Example: sriovctl libvirt network list
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        known = opened(sriovctl(self)).networks()
        pools = [pool for _, said in sorted(known.items()) if (pool := network.pool(said))]
        return _LIST, [
            (
                clean(pool.name),
                pool.mode,
                ", ".join(filter(None, [pool.pf, pool.bridge, *pool.addresses, *pool.netdevs])),
                _shown(pool.vlans),
                ", ".join(portgroup.name for portgroup in pool.portgroups),
            )
            for pool in pools
        ]


class NetworkShow(Lister):
    """Show what a guest gets in a libvirt network, by portgroup, and without one.

    Example: sriovctl libvirt network show fast
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", help="the network's name")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
        known = opened(sriovctl(self)).networks()
        if parsed_args.name not in known:
            raise InvalidField("network", parsed_args.name, "libvirt has none of this name")
        pool = network.pool(known[parsed_args.name])
        if pool is None:
            raise InvalidField("network", parsed_args.name, "not one of VFs or of Open vSwitch")
        return _SHOW, [
            (name, default, *_settled(pool, name))
            for name, default in [("", False), *((p.name, p.default) for p in pool.portgroups)]
        ]


def _settled(pool: Pool, portgroup: str) -> Iterable[object]:
    vlans, inbound, outbound = pool.settled(Nic(source=Network(pool.name, portgroup)))
    return _shown(vlans), _rate(inbound), _rate(outbound)


def _shown(vlans: Vlans) -> str:
    tags = [f"{tag}{' untagged' if tag == vlans.native else ''}" for tag in vlans.tags]
    return ", ".join(tags) + (" (trunk)" if vlans.trunk else "")


def _rate(rate: Rate | None) -> str:
    return f"{rate.average}/{rate.peak}/{rate.burst}" if rate else ""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", help="the network's name")
    add("--mode", choices=MODES, default="hostdev", help="default: %(default)s")
    add("--pf", default="", metavar="NETDEV", help="the PF whose VFs guests get")
    add("--address", action="append", default=[], metavar="PCI", help="a VF; for hostdev")
    add("--dev", action="append", default=[], metavar="NETDEV", help="a netdev; for passthrough")
    add("--bridge", default="", help="an Open vSwitch; for bridge")
    add("--vlan", type=int, default=0, help="VLAN id of guests whose portgroup has none")
    add("--trunk", default="", metavar="VLAN+...", help="VLANs that guests tag; for bridge")
    add("--native", type=int, default=0, metavar="VLAN", help="the one of the trunk untagged")
    add(
        "--portgroup",
        action="append",
        default=[],
        metavar="NAME[,default][,vlan=VLAN][,trunk=VLAN+...][,native=VLAN][,in=RATE][,out=RATE]",
        help="RATE is AVERAGE[/PEAK[/BURST]] in kilobytes a second, and kilobytes",
    )


def _pool(given: argparse.Namespace) -> Pool:
    return Pool(
        name=given.name,
        mode=given.mode,
        pf=given.pf,
        addresses=tuple(given.address),
        netdevs=tuple(given.dev),
        bridge=given.bridge,
        vlans=_vlans(str(given.vlan or ""), given.trunk, given.native),
        portgroups=tuple(map(_portgroup, given.portgroup)),
    )


def _portgroup(given: str) -> Portgroup:
    """``NAME,default,vlan=15,in=1000/5000/5120``.

    :raises InvalidField: if it is not like that
    """
    name, *words = given.split(",")
    said = dict(word.partition("=")[::2] for word in words)
    if extra := said.keys() - {"default", "vlan", "trunk", "native", "in", "out"}:
        raise InvalidField("portgroup", given, f"unknown in it: {', '.join(sorted(extra))}")
    if said.get("default"):
        raise InvalidField("portgroup", given, "default has no value")
    native = _number(said.get("native", "0"), "native")
    return Portgroup(
        name=name,
        default="default" in said,
        vlans=_vlans(said.get("vlan", ""), said.get("trunk", ""), native),
        inbound=_given_rate(said.get("in", "")),
        outbound=_given_rate(said.get("out", "")),
    )


def _vlans(vlan: str, trunk: str, native: int) -> Vlans:
    if vlan and trunk:
        raise InvalidField("trunk", trunk, "a trunk has no VLAN of its own")
    tags = tuple(_number(tag, "vlan") for tag in (trunk or vlan).split("+") if tag)
    return Vlans(tags, bool(trunk), native)


def _given_rate(given: str) -> Rate | None:
    if not given:
        return None
    numbers = [_number(number, "rate") for number in given.split("/")]
    if len(numbers) > 3:
        raise InvalidField("rate", given, "expected AVERAGE/PEAK/BURST")
    average, peak, burst = (*numbers, 0, 0)[:3]
    return Rate(average=average, peak=peak, burst=burst)


def _number(given: str, field: str) -> int:
    if not (given.isascii() and given.isdigit()):
        raise InvalidField(field, given, "expected a whole number")
    return int(given)
