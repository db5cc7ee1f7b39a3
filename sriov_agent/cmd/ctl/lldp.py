# SPDX-License-Identifier: Apache-2.0
"""``sriovctl lldp``."""

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.base import UNHEARD, clean, coloured, doing, pfs, sriovctl
from sriov_agent.cmd.ctl.command import Command, Lister
from sriov_agent.control import ask
from sriov_agent.core.lldp import port_name
from sriov_agent.core.model import LldpId, Uplink
from sriov_agent.exceptions import InvalidField, Unavailable

#: How long a pass over everything may take.
_PATIENCE_SECONDS = 120.0

_COLUMNS = ("pf", "netdev", "switch", "port", "chassis_id", "port_id", "ttl", "source", "answer")


class LldpList(Lister):
    """List what the agent hears by LLDP on the configured PFs, and what it makes of it.

    Example: sriovctl lldp list -f json
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[object, ...]]]:
        app = sriovctl(self)
        heard = app.store().lldp()
        uplinks = {u.address: u for pf in pfs(app).values() for u in pf.uplinks()}
        return _COLUMNS, (
            (*row, coloured(self, said, "" if said == "ok" else "red"))
            for address, uplink in uplinks.items()
            for *row, said in _rows(
                uplink, heard.get(address, {"reason": UNHEARD, "neighbors": []})
            )
        )


class LldpNeighbors(LldpList):
    """The older name of: sriovctl lldp list.

    Example: sriovctl lldp neighbors -f json
    """


class LldpAccept(Command):
    """Believe what LLDP says of a PF now, after a move that was held.

    Example: sriovctl lldp accept 0000:3b:00.0
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("pf", help="PF, or member of its bond: interface name or PCI address")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        app, wanted = sriovctl(self), parsed_args.pf
        uplinks = [uplink for pf in pfs(app).values() for uplink in pf.uplinks()]
        named = [uplink.address for uplink in uplinks if wanted in (uplink.netdev, uplink.address)]
        if not named:
            raise InvalidField(
                "pf", wanted, "not one of the configured PFs; see: sriovctl lldp list"
            )
        if not app.store().forget_cabling(named[0]):
            raise InvalidField("pf", wanted, "nothing is held for it")
        try:
            with doing(self, "having the agent look"):
                ask(options.socket_path(app.conf), "reconcile", _PATIENCE_SECONDS)
        except Unavailable as error:
            app.LOG.warning("believed from the agent's next look at everything on: %s", error)


def _rows(uplink: Uplink, answer: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    said = clean(answer["reason"] or "ok")
    for neighbor in answer["neighbors"]:
        chassis_id, port_id = LldpId(**neighbor["chassis_id"]), LldpId(**neighbor["port_id"])
        yield (
            uplink.address,
            uplink.netdev,
            clean(neighbor["system_name"]),
            clean(port_name(port_id, neighbor["port_description"])),
            clean(f"{chassis_id.subtype} {chassis_id.value}"),
            clean(f"{port_id.subtype} {port_id.value}"),
            neighbor["ttl"],
            neighbor["source"],
            said,
        )
    if not answer["neighbors"]:
        yield (uplink.address, uplink.netdev, *[""] * 4, None, "", said)
