# SPDX-License-Identifier: Apache-2.0
"""``sriovctl tap`` and ``sriovctl mirror``: the host's own legs in its VLANs."""

import argparse
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import TYPE_CHECKING

from sriov_agent.cmd.ctl.base import (
    POLL_SECONDS,
    add_wait,
    clean,
    require_local,
    sriovctl,
    vlan_or_alias,
    wait_until_met,
    why_unmet,
)
from sriov_agent.cmd.ctl.command import Command, Lister, ShowOne
from sriov_agent.core.taps import Mirror, Tap, Taps
from sriov_agent.exceptions import ConfigError, InvalidField, Unavailable

if TYPE_CHECKING:
    from sriov_agent.cmd.ctl.app import Sriovctl

_TAP = ("name", "bridge", "vlan", "alias", "ip", "state")
_MIRROR = ("name", "source", "tap", "state")

Row = tuple[tuple[str, ...], tuple[object, ...]]
Rows = tuple[tuple[str, ...], list[tuple[object, ...]]]
Facts = Mapping[str, object]


class TapCreate(ShowOne):
    """Create a host tap: an interface of this host's in a VLAN of a bridge.

    VLAN is a number, or an alias that takes a VLAN when it is first used; see sriovctl vlan list.
    The bridge is one of the kernel's that filters VLANs, or one of Open vSwitch.

    Example: sriovctl tap create DMZ --ip 10.0.0.1/24 --wait 30
    Example: sriovctl tap create 100 --bridge br-ex --name probe
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add = parser.add_argument
        add("vlan", help="VLAN id 1..4094, or an alias")
        add("--bridge", default="", help="default: [local] bridge")
        add("--name", default="", help="of the interface, at most 15; default: tap and the VLAN")
        add(
            "--ip",
            action="append",
            default=[],
            metavar="ADDRESS/PREFIX",
            help="IPv4 or IPv6; may be given several times",
        )
        add_wait(parser, "the tap is met")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Row:
        app, given = sriovctl(self), parsed_args
        require_local(app)
        bridge = given.bridge or app.conf.local.bridge
        if not bridge:
            raise ConfigError("[local] bridge is empty: set it, or give --bridge")
        tap = app.taps().create(
            str(uuid.uuid4()),
            bridge,
            vlan_or_alias(given.vlan),
            name=given.name,
            addresses=given.ip,
            taken=[name for _, name in socket.if_nameindex()],
        )
        _wait_until_met(app, tap.tap_id, f"tap {tap.name}", given.wait)
        return _shown_tap(app, tap.name)


class TapDelete(Command):
    """Delete host taps that no mirror has to do with, all or none.

    Example: sriovctl tap delete --wait 30 tap101
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("tap", nargs="+", help="name")
        add_wait(parser, "their interfaces are gone")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        names = parsed_args.tap
        _delete(sriovctl(self), "tap", names, Taps.without_tap, parsed_args.wait)


class TapList(Lister):
    """List the host taps.

    Example: sriovctl tap list
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        app = sriovctl(self)
        facts = [_tap(app, tap) for tap in app.taps().taps().taps.values()]
        return _rows(_TAP, facts + _releasing(app, "tap"))


class TapShow(ShowOne):
    """Show a host tap, and what of it is not met.

    Example: sriovctl tap show tap101
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("tap", help="name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Row:
        return _shown_tap(sriovctl(self), parsed_args.tap)


class MirrorCreate(ShowOne):
    """Show on a host tap what passes a port of its bridge, in both directions.

    SOURCE is the interface that is a port of the bridge, such as a guest's or an uplink, or
    another tap. The port of a VF is none: its frames pass the NIC alone.

    Example: sriovctl mirror create watch --source vnet3 --tap tap101 --wait 30
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add = parser.add_argument
        add("name", help="a letter, then letters, digits, '_', '.' or '-', at most 32")
        add("--source", required=True, help="a port of the tap's bridge, or another tap")
        add("--tap", required=True, help="name of the tap that shows it")
        add_wait(parser, "the mirror is met")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Row:
        app, given = sriovctl(self), parsed_args
        require_local(app)
        mirror = app.taps().create_mirror(
            str(uuid.uuid4()), given.name, source=given.source, tap=given.tap
        )
        _wait_until_met(app, mirror.mirror_id, f"mirror {mirror.name}", given.wait)
        return _shown_mirror(app, mirror.name)


class MirrorDelete(Command):
    """Delete mirrors, all or none.

    Example: sriovctl mirror delete --wait 30 watch
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("mirror", nargs="+", help="name")
        add_wait(parser, "they are gone")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        names = parsed_args.mirror
        _delete(sriovctl(self), "mirror", names, Taps.without_mirror, parsed_args.wait)


class MirrorList(Lister):
    """List the mirrors to host taps.

    Example: sriovctl mirror list
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        app = sriovctl(self)
        facts = [_mirror(app, mirror) for mirror in app.taps().taps().mirrors.values()]
        return _rows(_MIRROR, facts + _releasing(app, "mirror"))


class MirrorShow(ShowOne):
    """Show a mirror, and what of it is not met.

    Example: sriovctl mirror show watch
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("mirror", help="name")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Row:
        return _shown_mirror(sriovctl(self), parsed_args.mirror)


def _delete(
    app: "Sriovctl",
    noun: str,
    names: Iterable[str],
    without: Callable[[Taps, str], Taps],
    seconds: float,
) -> None:
    """Have none of these wanted, and wait until they are gone."""
    require_local(app)
    names = list(dict.fromkeys(names))
    ids = {each.name: each.key for each in app.store().taps() if each.noun == noun}
    app.taps().change(lambda wanted: reduce(without, names, wanted))
    deadline = time.monotonic() + seconds
    waiting = {ids[name] for name in names if name in ids} if seconds else set()
    while waiting := waiting & {each.key for each in app.store().taps()}:
        if time.monotonic() > deadline:
            left = [each for each in app.store().taps() if each.key in waiting]
            why = "; ".join(why_unmet(each.unmet) for each in left)
            raise Unavailable(f"not gone after {seconds:g} s: {why}")
        time.sleep(POLL_SECONDS)


def _wait_until_met(app: "Sriovctl", key: str, what: str, seconds: float) -> None:
    def seen() -> tuple[str, Iterable[str]]:
        found = [(each.state, each.unmet) for each in app.store().taps() if each.key == key]
        return found[0] if found else ("", ())

    if seconds:
        wait_until_met(what, seen, seconds, time.monotonic() + seconds)


def _shown_tap(app: "Sriovctl", name: str) -> Row:
    tap = app.taps().taps().taps.get(name)
    if tap is None:
        raise InvalidField("tap", name, "no such tap; see sriovctl tap list")
    return _row((*_TAP, "unmet"), _tap(app, tap))


def _shown_mirror(app: "Sriovctl", name: str) -> Row:
    mirror = app.taps().taps().mirrors.get(name)
    if mirror is None:
        raise InvalidField("mirror", name, "no such mirror; see sriovctl mirror list")
    return _row((*_MIRROR, "unmet"), _mirror(app, mirror))


def _tap(app: "Sriovctl", tap: Tap) -> Facts:
    return {
        "name": tap.name,
        "bridge": tap.bridge,
        "vlan": tap.vlan,
        "alias": app.registry().vlans().alias_of(tap.vlan),
        "ip": ", ".join(tap.addresses),
        **_status(app, tap.tap_id),
    }


def _mirror(app: "Sriovctl", mirror: Mirror) -> Facts:
    return {
        "name": mirror.name,
        "source": mirror.source,
        "tap": mirror.tap,
        **_status(app, mirror.mirror_id),
    }


def _status(app: "Sriovctl", key: str) -> Facts:
    found = [each for each in app.store().taps() if each.key == key]
    return {
        "state": found[0].state if found else "new",
        "unmet": "; ".join(found[0].unmet) if found else "",
    }


def _releasing(app: "Sriovctl", noun: str) -> list[Facts]:
    """What is not wanted any more and not known to be gone."""
    wanted = app.taps().taps()
    known = {tap.tap_id for tap in wanted.taps.values()}
    known |= {mirror.mirror_id for mirror in wanted.mirrors.values()}
    return [
        {"name": each.name, "state": "releasing"}
        for each in app.store().taps()
        if each.noun == noun and each.key not in known
    ]


def _row(columns: tuple[str, ...], facts: Facts) -> Row:
    return columns, tuple(clean(facts.get(column)) for column in columns)


def _rows(columns: tuple[str, ...], facts: Iterable[Facts]) -> Rows:
    return columns, [_row(columns, each)[1] for each in facts]
