# SPDX-License-Identifier: Apache-2.0
"""The PFs and VFs of one host, as sysfs and rtnetlink show them and as drivers refuse them."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sriov_agent.core.fields import ZERO_MAC
from sriov_agent.core.model import (
    RELEASED,
    LinkState,
    Pf,
    Uplink,
    VfSettings,
)
from sriov_agent.exceptions import Refused, SriovAgentError, Unavailable, Unsupported
from sriov_agent.host.inventory import held_by
from sriov_agent.host.sysfs import Function
from tests import topology
from tests.frozen import replace

#: What the igb driver cannot set: any link state, and a rate that is guaranteed.
IGB = frozenset({"link_state", "min_tx_rate"})


@dataclass
class KernelVf:
    """``used``: what its netdev is used for; ``deaf``: settings it takes but does not change."""

    settings: VfSettings = RELEASED
    driver: str = "igbvf"
    used: str = ""
    own_mac: str = ZERO_MAC
    deaf: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


class Kernel:
    """``sriov_agent.reconciler.Host``.

    :param lacking: settings that the driver of every PF lacks

    ``bonded``: its PFs are one bond. ``dark``: PFs without a link.
    """

    def __init__(self, *pfs: str, lacking: frozenset[str] = frozenset(), num_vfs: int = 4) -> None:
        self.lacking = lacking
        self.absent: dict[str, str] = {}
        self.carrier_changes = dict.fromkeys(pfs, 1)
        self.messages: list[tuple[str, tuple[tuple[int, VfSettings], ...]]] = []
        self._vfs = {pf: [KernelVf() for _ in range(num_vfs)] for pf in pfs}
        self._learnt: dict[str, frozenset[str]] = {}
        self._shown: dict[str, Pf] = {}
        self.looked_at: frozenset[str] = frozenset()
        self.bonded = False
        self.dark: set[str] = set()

    def flap(self, pf: str) -> None:
        """The PF's link goes down and comes up again."""
        self.carrier_changes[pf] += 2

    def vf(self, pf: str, index: int) -> KernelVf:
        return self._vfs[pf][index]

    def settings(self) -> dict[str, VfSettings]:
        """Every VF's settings by address."""
        return {
            topology.vf_address(pf, index): vf.settings
            for pf, vfs in self._vfs.items()
            for index, vf in enumerate(vfs)
        }

    def restart_agent(self) -> None:
        """What was learnt of the drivers is the process's own."""
        self._learnt, self._shown = {}, {}

    def pfs(self, again: Collection[str] | None = None) -> tuple[dict[str, Pf], dict[str, str]]:
        """The PFs as they are, those that are not in ``again`` as they were shown last."""
        kept = self._shown if again is not None else {}
        shown = {
            pf: kept[pf] if pf in kept and pf not in again else now
            for pf, now in self._pfs().items()
            if pf not in self.absent
        }
        self.looked_at = frozenset(pf for pf, now in shown.items() if now is not kept.get(pf))
        self._shown = shown
        return dict(shown), {f"pf {pf}": why for pf, why in self.absent.items()}

    def _pfs(self) -> dict[str, Pf]:
        return {
            pf: topology.pf(
                pf,
                *(
                    replace(
                        topology.vf(pf, index, vf.settings),
                        driver=vf.driver,
                        passed_through=_function(pf, index, vf).passed_through,
                        held_by=held_by(_function(pf, index, vf), vf.settings),
                    )
                    for index, vf in enumerate(vfs)
                ),
                count=len(vfs),
                carrier=pf not in self.dark,
                carrier_changes=self.carrier_changes[pf],
                bonded_with=tuple(
                    Uplink(
                        address=other,
                        netdev=topology.NETDEVS[other],
                        carrier=other not in self.dark,
                        carrier_changes=self.carrier_changes[other],
                    )
                    for other in self._vfs
                    if self.bonded and other != pf
                ),
                unsupported=self._learnt.get(pf, frozenset()),
            )
            for pf, vfs in self._vfs.items()
        }

    def set_vfs(
        self, pf: str, changes: Iterable[tuple[int, VfSettings]]
    ) -> dict[tuple[int, str], SriovAgentError]:
        if pf not in self._vfs or pf in self.absent:
            raise Unavailable(f"PF {pf} was not seen")
        changes = tuple(changes)
        self.messages.append((pf, changes))
        refused = {}
        for index, change in changes:
            for name, value in change.items().items():
                error = self._refusal(pf, index, name, value, change)
                if error:
                    refused[index, name] = error
                else:
                    self._set(self._vfs[pf][index], name, value)
        return refused

    def _refusal(
        self, pf: str, index: int, name: str, value: object, change: VfSettings
    ) -> SriovAgentError | None:
        if index >= len(self._vfs[pf]):
            return Refused(f"VF {index}: EINVAL")
        if name in self.lacking and (name != "min_tx_rate" or value):
            self._learnt[pf] = self._learnt.get(pf, frozenset()) | {name}
            return Unsupported(f"VF {index}: {name}: EOPNOTSUPP")
        too_much = {
            "mac": lambda: int(str(value)[:2], 16) & 1,
            "vlan": lambda: not 0 <= value <= 4095,
            "qos": lambda: not 0 <= value <= 7 or (value and not change.vlan),
            "min_tx_rate": lambda: change.max_tx_rate and value > change.max_tx_rate,
            "link_state": lambda: value not in list(LinkState),
        }
        if too_much.get(name, bool)():
            return Refused(f"VF {index}: {name}: EINVAL")
        if name in self._vfs[pf][index].refused:
            return Refused(f"VF {index}: {name}: EBUSY")
        return None

    @staticmethod
    def _set(vf: KernelVf, name: str, value: object) -> None:
        if name in vf.deaf:
            return
        if (name, value) == ("mac", ZERO_MAC):
            value = vf.own_mac
        vf.settings = replace(vf.settings, **{name: value})


def _function(pf: str, index: int, vf: KernelVf) -> Function:
    net = vf.driver != "vfio-pci"
    return Function(
        address=topology.vf_address(pf, index),
        index=index,
        driver=vf.driver,
        netdev=f"v{index}" if net else None,
        net=net,
        used=vf.used,
    )
