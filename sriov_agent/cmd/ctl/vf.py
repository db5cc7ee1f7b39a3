# SPDX-License-Identifier: Apache-2.0
"""``sriovctl vf``."""

import argparse
from collections.abc import Iterator

from cliff.lister import Lister

from sriov_agent.cmd.ctl.base import clean, pfs, sriovctl
from sriov_agent.core.model import SETTINGS

_COLUMNS = ("vf", "pf", "netdev", "index", "port", "held_by", *SETTINGS)


class VfList(Lister):
    """List the VFs of the configured PFs, with what the kernel says of each.

    Example: sriovctl vf list --pf enp59s0f0 -c vf -c port -c vlan
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--pf", help="only this PF: interface name or PCI address")
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
        holder = {claim.vf: port for port, claim in sriovctl(self).store().claims().items()}
        return _COLUMNS, (
            (
                vf.address,
                pf.netdev,
                clean(vf.netdev),
                vf.index,
                holder.get(vf.address, ""),
                clean(vf.held_by),
                *(clean(getattr(vf.settings, name)) for name in SETTINGS),
            )
            for pf in pfs(sriovctl(self)).values()
            if parsed_args.pf in (None, pf.netdev, pf.address)
            for vf in pf.vfs
        )
