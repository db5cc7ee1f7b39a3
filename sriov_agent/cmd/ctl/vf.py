# SPDX-License-Identifier: Apache-2.0
"""``sriovctl vf``."""

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sriov_agent.cmd.ctl.base import clean, pfs, sriovctl
from sriov_agent.cmd.ctl.command import Lister, ShowOne
from sriov_agent.core.model import SETTINGS
from sriov_agent.exceptions import InvalidField

if TYPE_CHECKING:
    from sriov_agent.cmd.ctl.app import Sriovctl

_COLUMNS = ("vf", "pf", "netdev", "index", "port", "held_by", *SETTINGS)

Row = tuple[object, ...]


class VfList(Lister):
    """List the VFs of the configured PFs, with what the kernel says of each.

    Example: sriovctl vf list --pf enp59s0f0 -c vf -c port -c vlan
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--pf", help="only this PF: interface name or PCI address")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], Iterator[Row]]:
        return _COLUMNS, _rows(sriovctl(self), parsed_args.pf)


class VfShow(ShowOne):
    """Show a VF of a configured PF, with what the kernel says of it.

    Example: sriovctl vf show 0000:3b:00.2
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("vf", help="PCI address, or interface name if it has one")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[tuple[str, ...], Row]:
        for row in _rows(sriovctl(self)):
            if parsed_args.vf and parsed_args.vf in (row[0], row[2]):
                return _COLUMNS, row
        raise InvalidField("vf", parsed_args.vf, "no VF of a configured PF; see: sriovctl vf list")


def _rows(app: "Sriovctl", of: str | None = None) -> Iterator[Row]:
    holder = {claim.vf: port for port, claim in app.store().claims().items()}
    for pf in pfs(app).values():
        if of in (None, pf.netdev, pf.address):
            for vf in pf.vfs:
                yield (
                    vf.address,
                    clean(pf.netdev),
                    clean(vf.netdev),
                    vf.index,
                    holder.get(vf.address, ""),
                    clean(vf.held_by),
                    *(clean(getattr(vf.settings, name)) for name in SETTINGS),
                )
