# SPDX-License-Identifier: Apache-2.0
"""One pass: observe, decide, apply, observe again, report. There is no other path.

Start, restart, event, resync and release are this same pass, and so is recovery: a pass goes on
from wherever the last one stopped. A pass over some ports looks at the PFs that it changes
something on or tells something of; the others may be as they were seen last.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from msgspec import Struct, field

from sriov_agent.core.actions import (
    Action,
    DropClaim,
    RecordClaim,
    RemoveInterface,
    SetFabric,
    SetVfs,
    WriteInterface,
)
from sriov_agent.core.guests import Held, Reserved, with_guests
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
from sriov_agent.core.plan import (
    concerned,
    pending,
    plan,
    possible,
    segments_on,
    unrecorded,
    untried,
)
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
from sriov_agent.exceptions import Pending, SriovAgentError

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

    #: The PFs that :meth:`pfs` looked at last.
    looked_at: frozenset[str]

    def pfs(self, again: Collection[str] | None = None) -> tuple[dict[str, Pf], dict[str, str]]: ...

    def set_vfs(
        self, pf: str, changes: Iterable[tuple[int, VfSettings]]
    ) -> Mapping[tuple[int, str], SriovAgentError]: ...


class Lldp(Protocol):
    """Where PFs are cabled; see :class:`sriov_agent.host.lldp.lldpd.Lldpd`."""

    def cabling(self, pfs: Mapping[str, Pf], *, again: bool) -> dict[str, Cabling]: ...


class Domains(Protocol):
    """What guests have; see :class:`sriov_agent.libvirt.domains.Domains`."""

    def held(self) -> Iterable[Held]: ...

    def reserved(self) -> Iterable[Reserved]: ...


class Interfaces(Protocol):
    """Interface XML; see :class:`sriov_agent.libvirt.files.InterfaceFiles`."""

    def read(self) -> dict[str, Interface | None]: ...

    def write(self, port_id: str, interface: Interface) -> None: ...

    def remove(self, port_id: str) -> None: ...


class Fabric(Protocol):
    """The device-manager hook; see :class:`sriov_agent.hook.background.Background`."""

    @property
    def required(self) -> bool: ...

    @property
    def networks(self) -> bool: ...

    def read(
        self, links: Iterable[SwitchPort], *, again: bool
    ) -> tuple[dict[SwitchPort, frozenset[Segment]], dict[SwitchPort, str]]: ...

    def apply(self, link: SwitchPort, wanted: Mapping[SwitchPort, frozenset[Segment]]) -> None: ...


class Record(Protocol):
    """The agent's own record; see :class:`sriov_agent.store.Store`."""

    def owned(self) -> tuple[dict[str, Claim], list[SwitchPort]]: ...

    def record(self, claim: Claim) -> None: ...

    def drop(self, claim: Claim) -> None: ...

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
        domains: Domains | None = None,
        follow_lldp: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self.host = host
        self.lldp = lldp
        self.interfaces = interfaces
        self.fabric = fabric
        self.record = record
        self.domains = domains
        self.follow_lldp = follow_lldp
        self.clock = clock
        self._looked: dict[str, float] = {}
        #: What networks of libvirt gave away when it last answered.
        self._reserved: tuple[Reserved, ...] = ()
        #: What was made last of what LLDP said and how often links came and went.
        self._traced: tuple[object, dict[str, Cabling]] = None, {}
        self._flaps: dict[str, tuple[int, float]] = {}
        self._wanted: dict[SwitchPort, frozenset[Segment]] = {}

    def reconcile(self, scope: Scope = ALL) -> Report:
        """Bring the ports in ``scope`` to what is desired, and say what was seen in the end.

        :raises Unavailable: if the source or the agent's own record cannot be read: then it is
            unknown what is desired or owned, and nothing was done
        """
        bindings = self.source.bindings()
        applied: list[Action] = []
        try:
            return self._carry_out(bindings, self._look(scope), scope, applied)
        finally:
            # Said last, since VFs wait for what is said before: a line takes longer than a setting.
            for action in applied:
                LOG.info("applied %s", action)

    def _carry_out(
        self, bindings: Bindings, seen: "_Seen", scope: Scope, applied: list[Action]
    ) -> Report:
        tried: dict[Action, str] = {}
        for _ in range(MAX_ROUNDS):
            observed, desired, planned = self._decide(bindings, seen, scope)
            tried = pending(planned, tried)
            lacking = unrecorded(tried)
            actions = possible(untried(planned, tried), lacking)
            if not actions:
                break
            if any(isinstance(action, SetFabric) for action in actions):
                self._wanted = {
                    link: segments_on(link, open_, desired, observed)
                    for link, open_ in observed.fabric.items()
                }
            for each in actions:
                for action in possible((each,), lacking):
                    outcome = self._apply(action)
                    tried.update(outcome)
                    lacking += unrecorded(outcome)
                    applied += [action] if not outcome[action] else []
            self._look_again(seen, actions)
        else:
            LOG.error("still changing after %d rounds: %s", MAX_ROUNDS, actions)
        self._forget_closed(desired, observed, seen.switch_ports)
        failed = {action: reason for action, reason in tried.items() if reason}
        return report(desired, observed, failed, fabric_required=self.fabric.required)

    def looked(self, pf: str) -> float:
        """When the PF was looked at last, by ``clock``."""
        return self._looked.get(pf, 0.0)

    def _decide(
        self, bindings: Bindings, seen: "_Seen", scope: Scope
    ) -> tuple[Observed, Desired, tuple[Action, ...]]:
        """What is to be done, decided on what was looked at in this pass."""
        while True:
            observed = seen.observed()
            desired = intent(bindings, observed, networks=self.fabric.networks)
            planned = plan(desired, observed, scope)
            concern = concerned(desired, planned, scope)
            before = seen.pfs, seen.pf_errors
            if not self._look_at(seen, concern) or (seen.pfs, seen.pf_errors) == before:
                return observed, desired, planned
            self._trace(seen, anew=False)

    def _look(self, scope: Scope) -> "_Seen":
        """Everything that a pass over these ports is about, of which nothing is known in it yet."""
        claims, switch_ports = self.record.owned()
        seen = _Seen(
            claims=claims,
            switch_ports=switch_ports,
            interfaces=self.interfaces.read(),
            unanswered=self._networks(),
        )
        touched = (claim.pf for port, claim in claims.items() if port in scope)
        self._look_at_pfs(seen, None if scope == ALL else frozenset(touched))
        self._trace(seen, anew=scope == ALL)
        return seen

    def _look_at(self, seen: "_Seen", pfs: frozenset[str] | None) -> bool:
        """See these PFs as they are now; False if each was looked at before.

        :param pfs: ``None`` for all of them
        """
        if seen.looked is None or (pfs is not None and pfs <= seen.looked):
            return False
        self._look_at_pfs(seen, pfs)
        return True

    def _look_at_pfs(self, seen: "_Seen", again: frozenset[str] | None) -> None:
        # Asked first: when a domain has lost a VF, libvirt has set its MAC and VLAN back.
        held, errors = self._held(seen.unanswered)
        now = self.clock()
        pfs, pf_errors = self.host.pfs(again)
        seen.pfs = with_guests(pfs, held, self._reserved)
        seen.pf_errors = {**pf_errors, **errors}
        looked_at = self.host.looked_at
        self._looked.update(dict.fromkeys(looked_at, now))
        if seen.looked is not None:
            seen.looked = None if again is None else seen.looked | again | looked_at

    def _networks(self) -> str:
        """Learn what networks of libvirt give away, once in a pass; why that is unknown, or ""."""
        try:
            if self.domains:
                self._reserved = tuple(self.domains.reserved())
        except SriovAgentError as error:
            return str(error)
        return ""

    def _held(self, unanswered: str) -> tuple[Iterable[Held] | None, dict[str, str]]:
        """What running domains have, ``None`` if that cannot be told, and why."""
        if unanswered:
            return None, {"libvirt": unanswered}
        try:
            return (self.domains.held() if self.domains else ()), {}
        except SriovAgentError as error:
            return None, {"libvirt": str(error)}

    def _trace(self, seen: "_Seen", anew: bool) -> None:
        """See where the cables of the PFs end, and what is open there.

        :param anew: have LLDP and the fabric looked at, whatever was seen last
        """
        seen.cabling, seen.lldp_errors = self._cabling(seen.pfs, anew)
        seen.ends = frozenset(
            at for pf in seen.pfs.values() for at in links(pf, seen.cabling).switch_ports
        )
        seen.fabric, seen.fabric_errors = self._fabric(seen, anew)

    def _look_again(self, seen: "_Seen", actions: Iterable[Action]) -> None:
        """See what became of the actions: all that is of a kind which they changed."""
        kinds = {type(action) for action in actions}
        if SetVfs in kinds:
            changed = frozenset(action.pf for action in actions if isinstance(action, SetVfs))
            self._look_at_pfs(seen, changed)
        if kinds & {RecordClaim, DropClaim, SetFabric}:
            seen.claims, seen.switch_ports = self.record.owned()
        if kinds & {WriteInterface, RemoveInterface}:
            seen.interfaces = self.interfaces.read()
        if SetFabric in kinds:
            seen.fabric, seen.fabric_errors = self._fabric(seen, again=False)

    def _fabric(
        self, seen: "_Seen", again: bool
    ) -> tuple[dict[SwitchPort, frozenset[Segment]], dict[str, str]]:
        fabric, errors = self.fabric.read(seen.ends.union(seen.switch_ports), again=again)
        return fabric, {f"fabric {link.pf}": why for link, why in errors.items()}

    def _cabling(
        self, pfs: Mapping[str, Pf], again: bool
    ) -> tuple[dict[str, Cabling], dict[str, str]]:
        """Where each uplink is cabled.

        A move is believed only if the link had gone down for it.
        """
        try:
            found = self.lldp.cabling(pfs, again=again)
        except SriovAgentError as error:
            return {}, {"lldp": str(error)}
        uplinks = {uplink.address: uplink for pf in pfs.values() for uplink in pf.uplinks()}
        facts = found, {address: uplink.carrier_changes for address, uplink in uplinks.items()}
        if not again and self._traced[0] == facts:
            return self._traced[1], {}
        known = self.record.cabling()
        cabling: dict[str, Cabling] = {}
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
        self._traced = facts, cabling
        return cabling, {}

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

    def _apply(self, action: Action) -> dict[Action, str]:
        """What was tried, with why it failed or ""."""
        LOG.debug("apply %s", action)
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
        except Pending as error:
            return {action: str(error)}
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
        self.record.record_switch_port(link)
        self.fabric.apply(link, {**self._wanted, link: segments})

    def _forget_closed(
        self, desired: Desired, observed: Observed, opened: Iterable[SwitchPort]
    ) -> None:
        for link in opened:
            if link not in desired.fabric and observed.fabric.get(link) == frozenset():
                self.record.drop_switch_port(link)


class _Seen(Struct, kw_only=True):
    """What a pass has seen so far.

    ``looked``: the PFs that it looked at, ``None`` for all; ``unanswered``: why libvirt is not
    asked what guests have.
    """

    claims: dict[str, Claim]
    switch_ports: list[SwitchPort]
    interfaces: dict[str, Interface | None]
    unanswered: str
    looked: frozenset[str] | None = frozenset()
    pfs: dict[str, Pf] = field(default_factory=dict)
    pf_errors: dict[str, str] = field(default_factory=dict)
    cabling: dict[str, Cabling] = field(default_factory=dict)
    ends: frozenset[SwitchPort] = frozenset()
    lldp_errors: dict[str, str] = field(default_factory=dict)
    fabric: dict[SwitchPort, frozenset[Segment]] = field(default_factory=dict)
    fabric_errors: dict[str, str] = field(default_factory=dict)

    def observed(self) -> Observed:
        return Observed(
            pfs=self.pfs,
            claims=self.claims,
            interfaces=self.interfaces,
            cabling=self.cabling,
            fabric=self.fabric,
            errors={**self.lldp_errors, **self.fabric_errors, **self.pf_errors},
        )
