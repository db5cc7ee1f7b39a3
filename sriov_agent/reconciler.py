# SPDX-License-Identifier: Apache-2.0
"""One pass: observe, decide, apply, observe again, report. There is no other path.

Start, restart, event, resync and release are this same pass, and so is recovery: a pass goes on
from wherever the last one stopped.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from sriov_agent.core.actions import (
    Action,
    DropClaim,
    RecordClaim,
    RemoveInterface,
    SetFabric,
    SetVfs,
    WriteInterface,
)
from sriov_agent.core.intent import intent
from sriov_agent.core.lldp import believed, links
from sriov_agent.core.model import (
    Cabling,
    KnownCabling,
    Pf,
    Segment,
    SwitchPort,
    Uplink,
    VfSettings,
)
from sriov_agent.core.plan import pending, plan, segments_on, untried
from sriov_agent.core.report import Report, report
from sriov_agent.core.state import (
    ALL,
    Bindings,
    Claim,
    Desired,
    Interface,
    Observed,
    Scope,
)
from sriov_agent.exceptions import Refused, SriovAgentError

LOG = logging.getLogger(__name__)

#: Enough for five ports that each wait for a VF or MAC of the next; a longer chain goes on in the
#: next pass. A plan that is never empty is a fault, and is said to be.
MAX_ROUNDS = 20

#: How long a neighbor is remembered that is no longer there (IEEE 802.1AB, default TTL).
NEIGHBOR_SECONDS = 120.0


class Source(Protocol):
    """The desired side."""

    def bindings(self) -> Bindings: ...


class Host(Protocol):
    """PFs and VFs; see :class:`sriov_agent.host.inventory.Inventory`."""

    def pfs(self) -> tuple[dict[str, Pf], dict[str, str]]: ...

    def set_vfs(
        self, pf: str, changes: Iterable[tuple[int, VfSettings]]
    ) -> Mapping[tuple[int, str], SriovAgentError]: ...


class Lldp(Protocol):
    """Where PFs are cabled; see :class:`sriov_agent.host.lldp.lldpd.Lldpd`."""

    def cabling(self, pfs: Mapping[str, Pf]) -> dict[str, Cabling]: ...


class Interfaces(Protocol):
    """Interface XML; see :class:`sriov_agent.libvirt.files.InterfaceFiles`."""

    def read(self) -> dict[str, Interface | None]: ...

    def write(self, port_id: str, interface: Interface) -> None: ...

    def remove(self, port_id: str) -> None: ...


class Fabric(Protocol):
    """The device-manager hook; see :class:`sriov_agent.hook.base.Hook`."""

    required: bool
    networks: bool

    def read(self, links: Iterable[SwitchPort]) -> dict[SwitchPort, frozenset[Segment]]: ...

    def apply(
        self, link: SwitchPort, wanted: Mapping[SwitchPort, frozenset[Segment]]
    ) -> frozenset[Segment]: ...

    def owned(self) -> list[SwitchPort]: ...


class Record(Protocol):
    """The agent's own record; see :class:`sriov_agent.store.Store`."""

    def claims(self) -> dict[str, Claim]: ...

    def record(self, claim: Claim) -> None: ...

    def drop(self, claim: Claim) -> None: ...

    def switch_ports(self) -> list[SwitchPort]: ...

    def record_switch_port(self, switch_port: SwitchPort) -> None: ...

    def drop_switch_port(self, switch_port: SwitchPort) -> None: ...

    def cabling(self) -> dict[str, KnownCabling]: ...

    def record_cabling(self, known: KnownCabling) -> None: ...


class Reconciler:
    """The only caller of ``plan`` and of the adapters; used by one thread."""

    def __init__(
        self,
        *,
        source: Source,
        host: Host,
        lldp: Lldp,
        interfaces: Interfaces,
        fabric: Fabric,
        record: Record,
        follow_lldp: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.host = host
        self.lldp = lldp
        self.interfaces = interfaces
        self.fabric = fabric
        self.record = record
        self.follow_lldp = follow_lldp
        self.clock = clock
        self._flaps: dict[str, tuple[int, float]] = {}
        self._open: dict[SwitchPort, frozenset[Segment]] = {}
        self._wanted: dict[SwitchPort, frozenset[Segment]] = {}

    def reconcile(self, scope: Scope = ALL) -> Report:
        """Bring the ports in ``scope`` to what is desired, and say what was seen in the end.

        :raises Unavailable: if the source or the agent's own record cannot be read: then it is
            unknown what is desired or owned, and nothing was done
        """
        bindings = self.source.bindings()
        cabling, ends, lldp_errors = self._cabling()
        fabric_errors = self._read_fabric(ends, scope)
        tried: dict[Action, str] = {}
        for _ in range(MAX_ROUNDS):
            observed = self._observe(cabling, {**lldp_errors, **fabric_errors})
            desired = intent(bindings, observed, networks=self.fabric.networks)
            self._wanted = {
                link: segments_on(link, seen, desired, observed)
                for link, seen in observed.fabric.items()
            }
            planned = plan(desired, observed, scope)
            tried = pending(planned, tried)
            actions = untried(planned, tried)
            if not actions:
                break
            for action in actions:
                tried.update(self._apply(action))
        else:
            LOG.error("still changing after %d rounds: %s", MAX_ROUNDS, actions)
        self._forget_closed(desired)
        failed = {action: reason for action, reason in tried.items() if reason}
        return report(desired, observed, failed, fabric_required=self.fabric.required)

    def _cabling(self) -> tuple[dict[str, Cabling], frozenset[SwitchPort], dict[str, str]]:
        """Where each uplink is cabled, and the links of the PFs.

        A move is believed only if the link had gone down for it.
        """
        pfs, _ = self.host.pfs()
        known = self.record.cabling()
        try:
            found = self.lldp.cabling(pfs)
        except SriovAgentError as error:
            return {}, frozenset(), {"lldp": str(error)}
        cabling: dict[str, Cabling] = {}
        uplinks = {uplink.address: uplink for pf in pfs.values() for uplink in pf.uplinks()}
        for address, heard in found.items():
            uplink, last = uplinks[address], known.get(address)
            changes = uplink.carrier_changes
            answer = believed(heard, last, changes, follow=self.follow_lldp)
            cabling[address] = answer
            if answer.switch_port:
                now = KnownCabling(switch_port=answer.switch_port, carrier_changes=changes)
                stale = last is not None and now.switch_port == last.switch_port
                if now != last and not (stale and self._came_lately(uplink)):
                    self.record.record_cabling(now)
        ends = frozenset(at for pf in pfs.values() for at in links(pf, cabling).switch_ports)
        return cabling, ends, {}

    def _came_lately(self, uplink: Uplink) -> bool:
        """Whether what is heard may be from before the link last came or went.

        Who was heard before stays a neighbor until its time to live is over, if the flap was
        too short for lldpd. It is no confirmation: the new switch may still be silent.
        """
        seen = (uplink.carrier_changes, self.clock())
        count, since = self._flaps.get(uplink.address, seen)
        if count != uplink.carrier_changes:
            count, since = seen
        self._flaps[uplink.address] = count, since
        return self.clock() - since < NEIGHBOR_SECONDS

    def _read_fabric(self, ends: frozenset[SwitchPort], scope: Scope) -> dict[str, str]:
        """Ask what is open where; between full passes only for switch ports not yet known."""
        links = ends.union(self.record.switch_ports())
        if scope == ALL:
            self._open = {}
        unknown = links - self._open.keys()
        try:
            if scope == ALL:
                unknown |= set(self.fabric.owned())
            self._open |= self.fabric.read(sorted(unknown, key=str))
        except SriovAgentError as error:
            return {f"fabric {port.pf}": str(error) for port in unknown}
        return {}

    def _observe(self, cabling: Mapping[str, Cabling], errors: Mapping[str, str]) -> Observed:
        pfs, pf_errors = self.host.pfs()
        return Observed(
            pfs=pfs,
            claims=self.record.claims(),
            interfaces=self.interfaces.read(),
            cabling=cabling,
            fabric=dict(self._open),
            errors={**errors, **pf_errors},
        )

    def _apply(self, action: Action) -> dict[Action, str]:
        """What was tried, with why it failed or ""."""
        LOG.info("apply %s", action)
        try:
            match action:
                case RecordClaim(claim):
                    self.record.record(claim)
                case DropClaim(claim):
                    self.record.drop(claim)
                case WriteInterface(port_id, interface):
                    self.interfaces.write(port_id, interface)
                case RemoveInterface(port_id):
                    self.interfaces.remove(port_id)
                case SetFabric(switch_port, segments):
                    self._set_fabric(switch_port, segments)
                case SetVfs(pf, changes):
                    return {action: ""} | self._set_vfs(pf, changes)
        except SriovAgentError as error:
            LOG.warning("failed: %s: %s", action, error)
            return {action: str(error)}
        return {action: ""}

    def _set_vfs(self, pf: str, changes: tuple[tuple[int, VfSettings], ...]) -> dict[Action, str]:
        by_index = dict(changes)
        failed: dict[Action, str] = {}
        for (index, name), error in self.host.set_vfs(pf, changes).items():
            setting = VfSettings(**{name: getattr(by_index[index], name)})
            failed[SetVfs(pf, ((index, setting),))] = str(error)
            LOG.warning("PF %s: %s", pf, error)
        return failed

    def _set_fabric(self, link: SwitchPort, segments: frozenset[Segment]) -> None:
        """Have these segments open; one that is refused holds back no other, and is raised."""
        self.record.record_switch_port(link)
        before = self._open.pop(link, frozenset())

        def apply(asked: frozenset[Segment]) -> frozenset[Segment]:
            seen = self._open[link] = self.fabric.apply(link, {**self._wanted, link: asked})
            return seen

        try:
            apply(segments)
        except Refused as refusal:
            seen = apply(before & segments)
            new = segments - before
            for segment in sorted(new) if len(new) > 1 else ():
                with contextlib.suppress(Refused):
                    seen = apply(seen | {segment})
            raise refusal

    def _forget_closed(self, desired: Desired) -> None:
        for switch_port in self.record.switch_ports():
            if switch_port not in desired.fabric and self._open.get(switch_port) == frozenset():
                self.record.drop_switch_port(switch_port)
