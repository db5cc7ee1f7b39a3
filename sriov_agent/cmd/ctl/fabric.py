# SPDX-License-Identifier: Apache-2.0
"""``sriovctl fabric``."""

import argparse

from cliff.lister import Lister

from sriov_agent.cmd.ctl.base import clean, sriovctl
from sriov_agent.core.model import Segment, SwitchPort
from sriov_agent.hook.loader import load

_COLUMNS = ("pf", "switch", "port", "vlan", "tagged", "network", "wanted", "open")

Row = tuple[object, ...]


class FabricShow(Lister):
    """List what the agent wants open on the switches, and what the device manager says is.

    Example: sriovctl fabric show -f json
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Row]]:
        app = sriovctl(self)
        wanted = app.store().fabric()
        links = sorted(wanted.keys() | set(app.store().switch_ports()), key=repr)
        hook = load(app.conf)
        seen = hook.read(links) if hook.required else {}
        return _COLUMNS, [
            _row(link, segment, wanted.get(link, frozenset()), seen.get(link))
            for link in links
            for segment in sorted(wanted.get(link, frozenset()) | seen.get(link, frozenset()))
        ]


class FabricDiff(FabricShow):
    """List what would be opened and closed: what is wanted and not open, and the other way.

    Example: sriovctl fabric diff
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], list[Row]]:
        columns, rows = super().take_action(parsed_args)
        return columns, [row for row in rows if row[-2] != row[-1]]


def _row(
    link: SwitchPort,
    segment: Segment,
    wanted: frozenset[Segment],
    seen: frozenset[Segment] | None,
) -> Row:
    """One line; ``open`` is "unknown" where the device manager cannot tell."""
    return (
        link.pf,
        clean(link.name),
        clean(link.port_id.value),
        segment.vlan,
        segment.tagged,
        segment.network_id,
        segment in wanted,
        "unknown" if seen is None else segment in seen,
    )
