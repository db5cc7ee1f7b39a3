# SPDX-License-Identifier: Apache-2.0
"""``sriovctl pf``."""

import argparse
from collections.abc import Iterator
from typing import Any

from sriov_agent.cmd.ctl.base import UNHEARD, clean, coloured, counted, pfs, sriovctl
from sriov_agent.cmd.ctl.command import Command, Lister, ShowOne
from sriov_agent.cmd.ctl.terminal import escaped
from sriov_agent.core.model import Pf
from sriov_agent.exceptions import InvalidField

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
_SHOW = (*_COLUMNS, "up", "mac", "bonded_with", "unsupported", "firmware_lldp")


class PfList(Lister):
    """List the configured PFs and the switch port each is cabled to.

    Example: sriovctl pf list -f json
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
        facts = _facts(self, pfs(sriovctl(self)))
        return _COLUMNS, (tuple(pf[name] for name in _COLUMNS) for pf in facts)


class PfShow(ShowOne):
    """Show a configured PF, where it is cabled, and what its NIC lacks.

    Example: sriovctl pf show enp59s0f0
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("pf", help="interface name or PCI address")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[object, ...]]:
        wanted = parsed_args.pf
        found = {a: pf for a, pf in pfs(sriovctl(self)).items() if wanted in (a, pf.netdev)}
        for facts in _facts(self, found):
            return _SHOW, tuple(facts[name] for name in _SHOW)
        raise InvalidField("pf", wanted, "not one of the configured PFs; see: sriovctl pf list")


def _facts(command: Command, found: dict[str, Pf]) -> Iterator[dict[str, object]]:
    store = sriovctl(command).store()
    claims, heard = list(store.claims().values()), store.lldp()
    for pf in found.values():
        links = [heard[u.address] for u in pf.uplinks() if u.address in heard]
        switch, switch_port, lldp = _links(links)
        yield {
            "pf": pf.address,
            "netdev": clean(pf.netdev),
            "physical_network": pf.physical_network,
            "carrier": coloured(command, pf.carrier, "" if pf.carrier else "red"),
            "vfs": counted(len(pf.vfs), pf.total_vfs),
            "claimed": counted(sum(claim.pf == pf.address for claim in claims), len(pf.vfs)),
            "switch": switch,
            "switch_port": switch_port,
            "lldp": coloured(command, lldp, "" if lldp == "ok" else "red" if links else "yellow"),
            "up": coloured(command, pf.up, "" if pf.up else "red"),
            "mac": pf.mac,
            "bonded_with": ", ".join(escaped(uplink.netdev) for uplink in pf.bonded_with),
            "unsupported": ", ".join(sorted(pf.unsupported)),
            "firmware_lldp": clean(pf.firmware_lldp),
        }


def _links(answers: list[dict[str, Any]]) -> tuple[str, str, str]:
    """Switches, switch ports and what is missing, those of a bond's members together."""
    found = [answer for answer in answers if answer["switch"]]
    reasons = [answer["reason"] for answer in answers if answer["reason"]]
    return (
        escaped(", ".join(answer["switch"] for answer in found)),
        escaped(", ".join(answer["switch_port"] for answer in found)),
        escaped("; ".join(reasons)) or ("ok" if answers else UNHEARD),
    )
