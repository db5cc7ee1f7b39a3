# SPDX-License-Identifier: Apache-2.0
"""``sriovctl lldp``."""

import argparse
from collections.abc import Iterator

from cliff.command import Command
from cliff.lister import Lister

from sriov_agent.cmd.ctl.base import clean, lldpd, pfs, sriovctl
from sriov_agent.core.lldp import port_name
from sriov_agent.core.model import Neighbor, Pf
from sriov_agent.exceptions import InvalidField

_COLUMNS = ("pf", "netdev", "switch", "port", "chassis_id", "port_id", "ttl", "answer")


class LldpNeighbors(Lister):
    """List every LLDP neighbor heard on the configured PFs, and what is made of them.

    Example: sriovctl lldp neighbors -f json
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
        app = sriovctl(self)
        found = pfs(app)
        cabling = lldpd(app).cabling(found)
        return _COLUMNS, (
            row
            for address, answer in cabling.items()
            for row in _rows(found[address], answer.neighbors, answer.reason or "ok")
        )


class LldpAccept(Command):
    """Believe what LLDP says of a PF now, after a move that was held.

    Example: sriovctl lldp accept 0000:3b:00.0
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("pf", help="interface name or PCI address")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        app, wanted = sriovctl(self), parsed_args.pf
        named = [pf.address for pf in pfs(app).values() if wanted in (pf.netdev, pf.address)]
        if not named:
            raise InvalidField("pf", wanted, "not one of the configured PFs; see: sriovctl pf list")
        if not app.store().forget_cabling(named[0]):
            raise InvalidField("pf", wanted, "nothing is held for it")


def _rows(pf: Pf, neighbors: tuple[Neighbor, ...], answer: str) -> Iterator[tuple[object, ...]]:
    for neighbor in neighbors:
        chassis_id, port_id = neighbor.chassis_id, neighbor.port_id
        yield tuple(
            map(
                clean,
                (
                    pf.address,
                    pf.netdev,
                    neighbor.system_name,
                    port_name(port_id, neighbor.port_description),
                    f"{chassis_id.subtype} {chassis_id.value}",
                    f"{port_id.subtype} {port_id.value}",
                    neighbor.ttl,
                    answer,
                ),
            )
        )
    if not neighbors:
        yield (pf.address, pf.netdev, *[""] * 4, None, clean(answer))
