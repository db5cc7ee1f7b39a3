# SPDX-License-Identifier: Apache-2.0
"""From desired and observed to actions: pure, deterministic, ordered.

A pass plans in rounds: observe, plan, apply, until nothing is left to plan. Order within a
round comes from the list; order across rounds comes from what was seen. A VF is programmed
only after its claim was recorded, which the same round may do: see :func:`possible`. A VLAN is
closed on the fabric only when no VF was seen in it, and a claim is dropped only when its VF was
seen released. So a step that failed holds back exactly the steps that need it, and the next pass
goes on from wherever the last one stopped.
"""

from collections.abc import Collection, Iterator, Mapping

from msgspec import structs

from sriov_agent.core.actions import (
    Action,
    DropClaim,
    RecordClaim,
    RemoveInterface,
    SetFabric,
    SetVfs,
    WriteInterface,
)
from sriov_agent.core.lldp import links
from sriov_agent.core.model import Pf, Segment, SwitchPort, Vf, VfSettings
from sriov_agent.core.state import (
    ALL,
    Claim,
    Desired,
    Observed,
    Scope,
)


def plan(desired: Desired, observed: Observed, scope: Scope = ALL) -> tuple[Action, ...]:
    """What to do next towards ``desired`` for the ports in ``scope``.

    What is absent from ``observed`` is unknown and nothing is planned for it.
    """
    claims = tuple(_claims(desired, observed, scope))
    recorded = {**observed.claims, **_recorded_first(claims, desired)}
    return (
        *claims,
        *_fabric(desired, observed, scope),
        *_vfs(desired, observed, recorded, scope),
        *_set_once(desired, observed, scope),
        *_interfaces(desired, observed, recorded, scope),
        *_drops(desired, observed, scope),
    )


def concerned(desired: Desired, actions: Collection[Action], scope: Scope) -> frozenset[str] | None:
    """The PFs that have to be as they are now for this to be right; ``None`` for all of them.

    What a port lacks may be there by now, wherever.
    """
    if any(port in scope for port in desired.unmet):
        return None
    found: set[str] = set()
    for action in actions:
        match action:
            case RecordClaim(claim) | DropClaim(claim):
                found.add(claim.pf)
            case SetVfs(pf) | SetFabric(SwitchPort(pf=pf)):
                found.add(pf)
    return frozenset(found)


def pending(actions: Collection[Action], tried: Mapping[Action, str]) -> dict[Action, str]:
    """``tried`` less what succeeded and is not planned again: it was seen, and may come again."""
    return {action: why for action, why in tried.items() if why or action in actions}


def untried(actions: Collection[Action], tried: Collection[Action]) -> tuple[Action, ...]:
    """``actions`` less those in ``tried``; a VF setting tried alone is taken out of a batch."""
    settings = {
        (action.pf, index, name, value)
        for action in tried
        if isinstance(action, SetVfs) and len(action.changes) == 1
        for index, change in action.changes
        if len(change.items()) == 1
        for name, value in change.items().items()
    }
    left: list[Action] = []
    for action in actions:
        if isinstance(action, SetVfs):
            changes = tuple(
                (index, kept)
                for index, change in action.changes
                if (
                    kept := change.without(
                        name
                        for name, value in change.items().items()
                        if (action.pf, index, name, value) in settings
                    )
                ).items()
            )
            action = SetVfs(action.pf, changes)
            if not changes:
                continue
        if action not in tried:
            left.append(action)
    return tuple(left)


def unrecorded(tried: Mapping[Action, str]) -> list[Claim]:
    """The claims that could not be recorded."""
    return [a.claim for a, why in tried.items() if why and isinstance(a, RecordClaim)]


def possible(actions: Collection[Action], lacking: Collection[Claim]) -> tuple[Action, ...]:
    """``actions`` less what needs one of these claims, which could not be recorded."""
    if not lacking:
        return tuple(actions)
    vfs = {(claim.pf, claim.index) for claim in lacking}
    ports = {claim.port_id for claim in lacking}
    left: list[Action] = []
    for action in actions:
        if isinstance(action, SetVfs):
            kept = tuple(each for each in action.changes if (action.pf, each[0]) not in vfs)
            left += [SetVfs(action.pf, kept)] if kept else []
        elif not (isinstance(action, WriteInterface) and action.port_id in ports):
            left.append(action)
    return tuple(left)


def wanted_of(vf: Vf, pf: Pf, claim: Claim | None, desired: Desired) -> VfSettings:
    """The settings this VF should have, as far as its driver knows them; none if not ours."""
    if claim is None or claim.port_id in desired.held or vf.excluded:
        return VfSettings()
    if desired.claims.get(claim.port_id) == claim:
        settings = desired.vfs[vf.address]
    elif vf.address in desired.vfs:
        return VfSettings()
    elif vf.domain != "":
        return VfSettings()  # reset, it would let its guest into the VLANs of others
    else:
        settings = claim.release(vf.settings)
    return settings.without(pf.unsupported)


def _claims(desired: Desired, observed: Observed, scope: Scope) -> Iterator[RecordClaim]:
    for port, claim in sorted(desired.claims.items()):
        if port in scope and observed.claims.get(port) != claim:
            yield RecordClaim(claim)
    for claim in _orphans(desired, observed):
        if claim.port_id in scope:
            yield RecordClaim(claim)


def _recorded_first(claims: Collection[RecordClaim], desired: Desired) -> dict[str, Claim]:
    """Of the claims that are recorded first those of ports that are to have their VF, by port.

    Whether a MAC is to be set that is seen already is known of a claim that was seen.
    """
    return {
        claim.port_id: claim
        for claim in (action.claim for action in claims)
        if desired.claims.get(claim.port_id) == claim and not claim.unset
    }


def _orphans(desired: Desired, observed: Observed) -> list[Claim]:
    """Claims of ports that have only their interface XML left, on a VF nobody else claims.

    Where the XML of two names a VF, it is the port's that is bound here.
    """
    left = observed.interfaces.keys() - observed.claims.keys() - desired.claims.keys()
    if not left:
        return []
    claimed = {claim.vf for claims in (desired, observed) for claim in claims.claims.values()}
    vfs = observed.vfs()
    found: list[Claim] = []
    for port in sorted(left, key=lambda port: (port not in desired.unmet, port)):
        interface = observed.interfaces[port]
        vf = vfs.get(interface.vf) if interface else None
        if not (interface and vf):
            continue
        if vf.address in claimed or vf.excluded:
            continue
        if vf.settings.mac == interface.mac:
            claimed.add(vf.address)
            found.append(
                Claim(port_id=port, vf=vf.address, pf=vf.pf, index=vf.index, mac=interface.mac)
            )
    return found


def _fabric(desired: Desired, observed: Observed, scope: Scope) -> Iterator[Action]:
    touched = {
        claim.pf
        for claims in (desired.claims, observed.claims)
        for port, claim in claims.items()
        if port in scope
    }
    ours = [at for at in observed.fabric if scope.ports is None or at.pf in touched]
    for switch_port in sorted(ours, key=lambda at: (at.pf, str(at))) if ours[1:] else ours:
        seen = observed.fabric[switch_port]
        segments = segments_on(switch_port, seen, desired, observed)
        if segments != seen:
            yield SetFabric(switch_port, segments)


def segments_on(
    switch_port: SwitchPort, seen: frozenset[Segment], desired: Desired, observed: Observed
) -> frozenset[Segment]:
    """What is to be open: what is wanted, and what VFs of ours have not left yet."""
    wanted = desired.fabric.get(switch_port, frozenset())
    if seen <= wanted:
        return wanted
    return wanted | _in_use(switch_port, seen, desired, observed)


def _in_use(
    switch_port: SwitchPort, seen: frozenset[Segment], desired: Desired, observed: Observed
) -> frozenset[Segment]:
    """The segments that VFs of ours behind it are in; all that are open if it cannot be told.

    Ours are also those whose claims this round records: they were ours before the record was lost.
    Behind a switch port that the PF has left is nothing.
    """
    pf = observed.pfs.get(switch_port.pf)
    if pf is None:
        return seen
    known = links(pf, observed.cabling)
    if known.whole and switch_port not in known.switch_ports:
        return frozenset()
    claims = (*observed.claims.values(), *desired.claims.values(), *_orphans(desired, observed))
    ours = {claim.vf for claim in claims}
    vlans = {vf.settings.vlan for vf in pf.vfs if vf.address in ours}
    return frozenset(segment for segment in seen if segment.vlan in vlans)


def _vfs(
    desired: Desired, observed: Observed, recorded: Mapping[str, Claim], scope: Scope
) -> Iterator[Action]:
    claims = {claim.vf: claim for claim in recorded.values() if claim.port_id in scope}
    for address, pf in sorted(observed.pfs.items()):
        changes: list[tuple[int, VfSettings]] = []
        for vf in pf.vfs:
            claim = claims.get(vf.address)
            if claim is None:
                continue
            wanted = wanted_of(vf, pf, claim, desired)
            change = _whole(wanted.differing(vf.settings), wanted)
            if claim.unset and wanted.mac == claim.mac:
                change = structs.replace(change, mac=wanted.mac)
            if change.items():
                changes.append((vf.index, change))
        if changes:
            yield SetVfs(address, tuple(changes))


def _set_once(desired: Desired, observed: Observed, scope: Scope) -> Iterator[Action]:
    """Note that a MAC was set which was seen before; follows :func:`_vfs`."""
    for port, claim in sorted(observed.claims.items()):
        if port in scope and claim.unset and desired.claims.get(port) == claim:
            yield RecordClaim(structs.replace(claim, former_mac=""))


def _whole(change: VfSettings, wanted: VfSettings) -> VfSettings:
    """``change`` with the partners that the kernel takes in one attribute (VLAN, rate)."""
    asked = change.items()
    for pair in (("vlan", "qos"), ("min_tx_rate", "max_tx_rate")):
        if asked.keys() & set(pair):
            change = structs.replace(change, **{name: getattr(wanted, name) for name in pair})
    return change


def _interfaces(
    desired: Desired, observed: Observed, recorded: Mapping[str, Claim], scope: Scope
) -> Iterator[Action]:
    for port, interface in sorted(desired.interfaces.items()):
        claimed = recorded.get(port) == desired.claims[port]
        if port in scope and claimed and observed.interfaces.get(port) != interface:
            yield WriteInterface(port, interface)
    keep = desired.interfaces.keys() | desired.held | desired.unmet.keys()
    traced = {claim.vf for claim in _orphans(desired, observed)}
    keep |= {port for port, xml in observed.interfaces.items() if xml and xml.vf in traced}
    moved = desired.unmet.keys() & observed.claims.keys() - desired.held
    for port in sorted(observed.interfaces.keys() - (keep - moved)):
        if port in scope:
            yield RemoveInterface(port)


def _drops(desired: Desired, observed: Observed, scope: Scope) -> Iterator[Action]:
    for port, claim in sorted(observed.claims.items()):
        if port not in scope or port in desired.claims or port in desired.held:
            continue
        pf = observed.pfs.get(claim.pf)
        if pf is None or port in observed.interfaces:
            continue
        vf = next((vf for vf in pf.vfs if vf.address == claim.vf), None)
        if vf is None or (vf.domain == "" and not left_of(claim, vf, pf).items()):
            yield DropClaim(claim)


def left_of(claim: Claim, vf: Vf, pf: Pf) -> VfSettings:
    """What of the port's settings is still on its VF; nothing that is asked of an excluded one."""
    if vf.excluded:
        return VfSettings()
    return claim.release(vf.settings).without(pf.unsupported).differing(vf.settings)
