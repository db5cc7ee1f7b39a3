# SPDX-License-Identifier: Apache-2.0
"""``sriovctl vlan``: VLANs and their aliases, on a host without OpenStack."""

import argparse
from collections.abc import Collection, Iterable
from functools import reduce
from typing import TYPE_CHECKING

from sriov_agent.cmd.ctl.base import require_local, sriovctl
from sriov_agent.cmd.ctl.command import Command, Lister, ShowOne
from sriov_agent.core.netspec import alias
from sriov_agent.core.vlans import Vlans
from sriov_agent.exceptions import InvalidField, Refused
from sriov_agent.fabric import ranges

if TYPE_CHECKING:
    from sriov_agent.cmd.ctl.app import Sriovctl

Rows = tuple[tuple[str, ...], list[tuple[object, ...]]]


class VlanList(Lister):
    """List the aliases of VLANs, and how many ports and host taps are in each.

    Example: sriovctl vlan list
    """

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        vlans = sriovctl(self).registry().vlans()
        return ("alias", "vlan", "ports", "taps"), [
            (name, vlan, len(vlans.used.get(vlan, ())), len(vlans.taps.get(vlan, ())))
            for name, vlan in sorted(vlans.aliases.items())
        ]


class VlanCreate(ShowOne):
    """Give an alias a VLAN before a port does: a number, or one that is free.

    A number may be outside the ranges, and have ports already. Of a range, the lowest that is free
    is taken.

    Example: sriovctl vlan create FOO 1000
    Example: sriovctl vlan create BAR 300-399
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add = parser.add_argument
        add("alias", help="a letter, then letters, digits, '_', '.' or '-', at most 32")
        add("vlan", nargs="?", help="VLAN id, or a range; default: of sriovctl vlan range")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[object, ...]]:
        app, given = sriovctl(self), parsed_args.vlan
        require_local(app)
        name = alias(parsed_args.alias)
        within = None if given is None else _given(given, "vlan")
        if within is not None and given.isdigit():
            (number,) = within
            vlans = app.registry().change(lambda known: known.with_alias_of(name, number))
        else:
            listed = None if within is None else ranges.ranges(within)
            vlans = app.registry().change(lambda known: known.with_alias(name, listed))
        return ("alias", "vlan"), (name, vlans.aliases[name])


class VlanAdd(VlanCreate):
    """The older name of: sriovctl vlan create.

    Example: sriovctl vlan add FOO 1000
    """


class VlanShow(ShowOne):
    """Show a VLAN: its alias, its ports and host taps, and whether aliases are kept from it.

    Example: sriovctl vlan show DMZ
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("vlan", help="alias, or VLAN id")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[object, ...]]:
        known, wanted = sriovctl(self).registry().vlans(), parsed_args.vlan
        vlan = known.aliases.get(wanted)
        if vlan is None:
            given = _given(wanted, "vlan") if wanted[:1].isdigit() else ()
            if len(given) != 1:
                raise InvalidField("vlan", wanted, "no such alias; see: sriovctl vlan list")
            (vlan,) = given
        ports, taps = (", ".join(sorted(by.get(vlan, ()))) for by in (known.used, known.taps))
        shown = (known.alias_of(vlan), vlan, ports, taps, vlan in known.blacklist)
        return ("alias", "vlan", "ports", "taps", "blacklisted"), shown


class VlanDelete(Command):
    """Delete aliases that no port and no host tap uses, all or none; others may take their VLANs.

    Example: sriovctl vlan delete FOO
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("alias", nargs="+", help="as in sriovctl vlan list")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        app = sriovctl(self)
        require_local(app)

        def decide(known: Vlans) -> Vlans:
            left = reduce(Vlans.without_alias, dict.fromkeys(parsed_args.alias), known)
            _require_released(app)
            return left

        app.registry().change(decide)


class VlanRange(Lister):
    """Say where aliases take their VLANs from, or list that; aliases that are there keep theirs.

    Example: sriovctl vlan range 101-199,300-399
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("range", nargs="?", help="these instead of those that are listed")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        app, given = sriovctl(self), parsed_args.range
        if given is None:
            vlans = app.registry().vlans()
        else:
            require_local(app)
            wanted = ranges.ranges(_given(given, "range"))
            vlans = app.registry().change(lambda known: known.with_ranges(wanted))
        return ("first", "last", "free"), [
            (low, high, len(vlans.free([(low, high)]))) for low, high in vlans.ranges
        ]


class VlanBlacklist(Lister):
    """Keep VLANs from aliases, or list those that are kept.

    VLANs that a port was given by number are, from then on. Ports may still be given them by
    number.

    Example: sriovctl vlan blacklist 1000
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add = parser.add_argument
        add("vlans", nargs="?", metavar="VLANS", help="to add; as 1000,2000-2099")
        add("--remove", default="", metavar="VLANS", help="let aliases take these again")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Rows:
        app, given = sriovctl(self), parsed_args
        if given.vlans is None and not given.remove:
            return _ranges(app.registry().vlans().blacklist)
        require_local(app)
        kept = _given(given.vlans, "vlan") if given.vlans is not None else frozenset()
        freed = _given(given.remove, "vlan") if given.remove else frozenset()

        def decide(known: Vlans) -> Vlans:
            if freed:
                _require_released(app)
            return known.allowing(freed).blacklisting(kept)

        return _ranges(app.registry().change(decide).blacklist)


def _ranges(vlans: Iterable[int]) -> Rows:
    return ("first", "last"), list(ranges.ranges(vlans))


def _given(text: str, field: str) -> Collection[int]:
    vlans = ranges.vlans(text, field)
    if not vlans:
        raise InvalidField(field, text, "expected VLANs as 101-199,300")
    return vlans


def _require_released(app: "Sriovctl") -> None:
    """A VF that its guest has not left yet may still be in a VLAN that no port is in any more, and
    so may the interface of a tap.

    :raises Refused: if there could be one
    """
    known = {port.port_id for port in app.ports().all()}
    if releasing := sorted(app.store().claims().keys() - known):
        raise Refused(
            f"VFs of deleted ports are still in their VLANs: {', '.join(releasing)}; "
            "see sriovctl port list"
        )
    taps = {tap.tap_id for tap in app.taps().taps().taps.values()}
    recorded = [each for each in app.store().taps() if each.noun == "tap"]
    if releasing := sorted(each.name for each in recorded if each.key not in taps):
        raise Refused(
            f"deleted taps are still in their VLANs: {', '.join(releasing)}; see sriovctl tap list"
        )
