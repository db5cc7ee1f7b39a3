# SPDX-License-Identifier: Apache-2.0
"""``sriovctl pf``."""

import argparse
from collections.abc import Iterator, Mapping

from cliff.lister import Lister

from sriov_agent.cmd.ctl.base import clean, counted, escaped, lldpd, pfs, sriovctl
from sriov_agent.core.model import Cabling, Pf
from sriov_agent.exceptions import Unavailable

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
        cabling = self._cabling(found)
        return _COLUMNS, (
            (
                pf.address,
                clean(pf.netdev),
                pf.physical_network,
                pf.carrier,
                counted(len(pf.vfs), pf.total_vfs),
                counted(sum(claim.pf == pf.address for claim in claims), len(pf.vfs)),
                *_switch(cabling.get(pf.address, Cabling(reason="unknown"))),
            )
            for pf in found.values()
        )

    def _cabling(self, found: Mapping[str, Pf]) -> dict[str, Cabling]:
        try:
            return lldpd(sriovctl(self)).cabling(found)
        except Unavailable as error:
            return {address: Cabling(reason=str(error)) for address in found}


def _switch(cabling: Cabling) -> tuple[str, str, str]:
    port = cabling.switch_port
    if port is None:
        return "", "", escaped(cabling.reason)
    return escaped(port.name), escaped(port.port_id.value), "ok"
