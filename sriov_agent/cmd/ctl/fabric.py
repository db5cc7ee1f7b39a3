# SPDX-License-Identifier: Apache-2.0
"""``sriovctl fabric``."""

import argparse
import time
from typing import cast

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.base import clean, coloured, doing, seconds, sriovctl
from sriov_agent.cmd.ctl.command import Lister
from sriov_agent.cmd.ctl.terminal import Coloured
from sriov_agent.control import ask
from sriov_agent.core.model import Segment, SwitchPort
from sriov_agent.hook.loader import loaded

_COLUMNS = ("pf", "switch", "port", "vlan", "tagged", "network", "wanted", "open")

_POLL_SECONDS = 0.5

Row = tuple[object, ...]


class FabricShow(Lister):
    """List what the agent wants open on the switches, and what the device manager says is.

    Example: sriovctl fabric show -f json
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Row]]:
        app = sriovctl(self)
        wanted = app.store().fabric()
        links = sorted(wanted.keys() | set(app.store().switch_ports()), key=repr)
        with loaded(app.conf) as hook:
            seen = hook.read(links)
        return _COLUMNS, [
            self._row(link, segment, wanted.get(link, frozenset()), seen.get(link))
            for link in links
            for segment in sorted(wanted.get(link, frozenset()) | seen.get(link, frozenset()))
        ]

    def _row(
        self,
        link: SwitchPort,
        segment: Segment,
        wanted: frozenset[Segment],
        seen: frozenset[Segment] | None,
    ) -> Row:
        """One line; ``open`` is "unknown" where the device manager cannot tell."""
        as_wanted = seen is not None and (segment in wanted) == (segment in seen)
        return (
            link.pf,
            clean(link.name),
            clean(link.port_id.value),
            segment.vlan,
            segment.tagged,
            segment.network_id,
            segment in wanted,
            coloured(self, "unknown")
            if seen is None
            else coloured(self, segment in seen, "green" if as_wanted else "red"),
        )


class FabricDiff(FabricShow):
    """List what would be opened and closed: what is wanted and not open, and the other way.

    Example: sriovctl fabric diff
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Row]]:
        columns, rows = super().take_action(parsed_args)
        return columns, [row for row in rows if row[-2] != _open(row)]


class FabricSync(FabricDiff):
    """Have the agent make the switches what it wants, and wait until they are seen to be.

    Lists what differs still, with exit status 1 if that is anything. With --dry-run nothing is
    done, and what would be is listed.

    Example: sriovctl fabric sync --dry-run
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
        parser.add_argument(
            "--wait",
            type=seconds,
            default=60.0,
            metavar="SECONDS",
            help="wait at most this long (default: %(default)g)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Row]]:
        if not parsed_args.dry_run:
            path = options.socket_path(sriovctl(self).conf)
            deadline = time.monotonic() + parsed_args.wait
            with doing(self, "waiting until the switches are as wanted"):
                ask(path, "reconcile", parsed_args.wait)
                while (left := super().take_action(parsed_args)[1]) and time.monotonic() < deadline:
                    time.sleep(_POLL_SECONDS)
            self._left = bool(left)
        columns, rows = super().take_action(parsed_args)
        return ("action", *columns), [(coloured(self, _action(row)), *row) for row in rows]

    def run(self, parsed_args: argparse.Namespace) -> int:
        status = int(super().run(parsed_args) or 0)
        return 1 if self._left else status

    _left = False


def _action(row: Row) -> str:
    """What is to be done about a line of the difference."""
    if _open(row) == "unknown":
        return "ask"
    return "open" if row[-2] else "close"


def _open(row: Row) -> object:
    """Whether it is open, as the device manager says."""
    return cast(Coloured, row[-1]).machine_readable()
