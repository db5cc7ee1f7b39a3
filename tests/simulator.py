# SPDX-License-Identifier: Apache-2.0
"""The host of :mod:`tests.topology` in memory: it carries actions out as the adapters would."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sriov_agent.core.actions import (
    Action,
    DropClaim,
    RecordClaim,
    RemoveInterface,
    SetFabric,
    SetVfs,
    WriteInterface,
)
from sriov_agent.core.fields import ZERO_MAC
from sriov_agent.core.intent import intent
from sriov_agent.core.model import (
    RELEASED,
    Cabling,
    Pf,
    Segment,
    SwitchPort,
    VfSettings,
)
from sriov_agent.core.plan import pending, plan, possible, unrecorded, untried
from sriov_agent.core.report import Report, report
from sriov_agent.core.state import (
    ALL,
    Bindings,
    Claim,
    Interface,
    Observed,
    Scope,
)
from sriov_agent.host.inventory import held_by
from sriov_agent.host.sysfs import Function
from sriov_agent.reconciler import MAX_ROUNDS
from tests import topology
from tests.frozen import replace

#: (what, of which port, PF or switch port, ...): whether it is refused now
Refuses = Callable[[tuple[object, ...]], bool]


@dataclass
class SimulatedVf:
    """``used``: what sysfs says of its netdev; ``net``: whether it has one; ``own_mac``: what its
    driver announces while the VF has no administrative MAC."""

    pf: str
    index: int
    settings: VfSettings = RELEASED
    used: str = ""
    net: bool = True
    own_mac: str = ZERO_MAC

    def set(self, name: str, value: object) -> None:
        if (name, value) == ("mac", ZERO_MAC):
            value = self.own_mac
        self.settings = replace(self.settings, **{name: value})


@dataclass
class Simulator:
    """``lacking``: what the driver of a PF cannot set; ``hidden``: PFs that cannot be seen;
    ``dark``: switch ports that cannot be read."""

    vfs: dict[str, SimulatedVf] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    interfaces: dict[str, Interface | None] = field(default_factory=dict)
    cabling: dict[str, Cabling] = field(default_factory=dict)
    fabric: dict[SwitchPort, frozenset[Segment]] = field(default_factory=dict)
    lacking: Mapping[str, frozenset[str]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    dark: frozenset[SwitchPort] = frozenset()
    learnt: dict[str, frozenset[str]] = field(default_factory=dict)

    def observe(self) -> Observed:
        addresses = dict.fromkeys(vf.pf for vf in self.vfs.values() if vf.pf not in self.hidden)
        return Observed(
            pfs={address: self._pf(address) for address in addresses},
            claims=dict(self.claims),
            interfaces=dict(self.interfaces),
            cabling=dict(self.cabling),
            fabric={port: open_ for port, open_ in self.fabric.items() if port not in self.dark},
        )

    def settle(
        self,
        bindings: Bindings,
        scope: Scope = ALL,
        refuses: Refuses = lambda step: False,
        watch: Callable[[Action], None] = lambda action: None,
    ) -> tuple[Report, bool]:
        """One pass; the report, and whether nothing was left to do after it."""
        tried: dict[Action, str] = {}
        for _ in range(MAX_ROUNDS):
            seen = self.observe()
            desired = intent(bindings, seen)
            planned = plan(desired, seen, scope)
            tried = pending(planned, tried)
            lacking = unrecorded(tried)
            actions = possible(untried(planned, tried), lacking)
            if not actions:
                break
            for each in actions:
                for action in possible((each,), lacking):
                    watch(action)
                    outcome = self.apply(action, refuses)
                    tried |= outcome
                    lacking += unrecorded(outcome)
        failed = {action: reason for action, reason in tried.items() if reason}
        return report(desired, seen, failed), not actions

    def apply(self, action: Action, refuses: Refuses = lambda step: False) -> dict[Action, str]:
        """Do one action; what was tried, with why it failed or ""."""
        match action:
            case SetVfs(pf, changes):
                return {action: ""} | self._set_vfs(pf, changes, refuses)
            case RecordClaim(claim) | DropClaim(claim):
                step = (type(action).__name__, claim.port_id)
            case WriteInterface(port) | RemoveInterface(port):
                step = (type(action).__name__, port)
            case SetFabric(switch_port):
                step = ("SetFabric", switch_port)
        if refuses(step):
            if isinstance(action, SetFabric):
                self.dark |= {action.switch_port}
            return {action: "refused"}
        self._do(action)
        return {action: ""}

    def _do(self, action: Action) -> None:
        match action:
            case RecordClaim(claim):
                kept = {port: other for port, other in self.claims.items() if other.vf != claim.vf}
                self.claims = kept | {claim.port_id: claim}
            case DropClaim(claim):
                if self.claims.get(claim.port_id) == claim:
                    del self.claims[claim.port_id]
            case WriteInterface(port, interface):
                self.interfaces[port] = interface
            case RemoveInterface(port):
                self.interfaces.pop(port, None)
            case SetFabric(switch_port, segments):
                self.fabric[switch_port] = segments

    def _set_vfs(
        self, pf: str, changes: tuple[tuple[int, VfSettings], ...], refuses: Refuses
    ) -> dict[Action, str]:
        failed: dict[Action, str] = {}
        for index, change in changes:
            vf = self.vfs[topology.vf_address(pf, index)]
            for name, value in change.items().items():
                alone = SetVfs(pf, ((index, VfSettings(**{name: value})),))
                if name in self.lacking.get(pf, ()) and (name != "min_tx_rate" or value):
                    self.learnt[pf] = self.learnt.get(pf, frozenset()) | {name}
                    failed[alone] = "unsupported"
                elif refuses(("SetVfs", pf, index, name)):
                    failed[alone] = "refused"
                else:
                    vf.set(name, value)
        return failed

    def _pf(self, address: str) -> Pf:
        shown = [
            replace(
                topology.vf(address, vf.index, vf.settings),
                held_by=held_by(_function(vf), vf.settings),
                passed_through=_function(vf).passed_through,
            )
            for vf in self.vfs.values()
            if vf.pf == address
        ]
        return topology.pf(
            address,
            *shown,
            count=len(shown),
            unsupported=self.learnt.get(address, frozenset()),
        )


def _function(vf: SimulatedVf) -> Function:
    return Function(
        address=topology.vf_address(vf.pf, vf.index),
        index=vf.index,
        driver="igbvf" if vf.net else "vfio-pci",
        netdev="v0" if vf.net else None,
        net=vf.net,
        used=vf.used,
    )
