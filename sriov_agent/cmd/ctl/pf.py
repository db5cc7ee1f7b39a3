# SPDX-License-Identifier: Apache-2.0
"""``sriovctl pf``."""

import argparse
from collections.abc import Iterator
from typing import Any

from cliff.lister import Lister

from sriov_agent.cmd.ctl.base import UNHEARD, clean, counted, escaped, pfs, sriovctl

_COLUMNS = (
    "pf",
    "netdev",
    "physical_network",
    "carrier",
    "vfs",
    "claimed",
    "switch",
    "switch_port",
    "lldp",
)


class PfList(Lister):
    """List the configured PFs and the switch port each is cabled to.

    Example: sriovctl pf list -f json
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
        found = pfs(sriovctl(self))
        claims = list(sriovctl(self).store().claims().values())
        heard = sriovctl(self).store().lldp()
        return _COLUMNS, (
            (
                pf.address,
                clean(pf.netdev),
                pf.physical_network,
                pf.carrier,
                counted(len(pf.vfs), pf.total_vfs),
                counted(sum(claim.pf == pf.address for claim in claims), len(pf.vfs)),
                *_links([heard[u.address] for u in pf.uplinks() if u.address in heard]),
            )
            for pf in found.values()
        )


def _links(answers: list[dict[str, Any]]) -> tuple[str, str, str]:
    """Switches, switch ports and what is missing, those of a bond's members together."""
    found = [answer for answer in answers if answer["switch"]]
    reasons = [answer["reason"] for answer in answers if answer["reason"]]
    return (
        escaped(", ".join(answer["switch"] for answer in found)),
        escaped(", ".join(answer["switch_port"] for answer in found)),
        escaped("; ".join(reasons)) or ("ok" if answers else UNHEARD),
    )
