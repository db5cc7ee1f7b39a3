# SPDX-License-Identifier: Apache-2.0
"""From wants to what a switch is to carry, and from there to changes. Pure.

A VLAN is open on a port as long as anybody wants it there: what is to be open is the union of all
wants, never what the switch happens to carry. Only what a manager opened is ever closed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping

from msgspec import Struct, field, structs

from sriov_agent.exceptions import Refused
from sriov_agent.fabric.inventory import Inventory, Place, Rules, place
from sriov_agent.fabric.model import Change, Link, Ports, PortStatus, PortVlans, Vlans, Want

NOTHING: Vlans = frozenset()

DRIFT = (
    "was closed on the switch by somebody else; to open it again: sriovctl fabric drift --repair"
)


class Wanted(Struct, frozen=True, kw_only=True):
    """Every want, at its place.

    ``ports`` are the VLANs to be open by switch and port, of every port that somebody has said
    anything of. ``conflicts`` says why a link has no place, ``refused`` why a VLAN is not opened.
    ``held`` are the VLANs of links without a place: they may be open somewhere, so they stay.
    """

    places: Mapping[Link, Place]
    ports: Mapping[str, Mapping[str, Vlans]]
    conflicts: Mapping[Link, str]
    refused: Mapping[Link, Mapping[int, str]]
    held: Vlans


def wanted(
    wants: Iterable[Want], switches: Mapping[str, Rules], inventory: Inventory | None
) -> Wanted:
    """Place every want. One that cannot be placed harms no other."""
    places: dict[Link, Place] = {}
    ports: dict[str, dict[str, Vlans]] = {name: {} for name in switches}
    conflicts: dict[Link, str] = {}
    refused: dict[Link, dict[int, str]] = {}
    held: set[int] = set()
    for want in wants:
        try:
            at = place(want, switches, inventory)
        except Refused as error:
            conflicts[want.link] = str(error)
            held |= want.vlans
            continue
        places[want.link] = at
        rules = switches[at.switch]
        no = {vlan: why for vlan in want.vlans if (why := rules.refusal(vlan))}
        if no:
            refused[want.link] = no
        on = ports[at.switch]
        on[at.port] = on.get(at.port, NOTHING) | (want.vlans - no.keys())
    return Wanted(
        places=places,
        ports=ports,
        conflicts=conflicts,
        refused=refused,
        held=frozenset(held),
    )


class Decision(Struct, frozen=True, kw_only=True):
    """What to change on a switch.

    ``changes`` is by what carries the frames, a port or its aggregate; ``owned`` what is ours once
    that is done. ``refused`` and ``errors`` say, by port as it is wanted, why a VLAN or none at all
    is opened. ``unwanted`` are ours that nobody wants, whether they are closed now or kept a while.
    """

    changes: dict[str, Change] = field(default_factory=dict)
    owned: dict[str, Vlans] = field(default_factory=dict)
    refused: dict[str, dict[int, str]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    unwanted: frozenset[tuple[str, int]] = frozenset()


def decide(
    ports: Mapping[str, Vlans],
    seen: Ports,
    owned: Mapping[str, Vlans],
    rules: Rules,
    *,
    needs_a_vlan: bool,
    closable: Collection[tuple[str, int]] = (),
    before: Mapping[str, PortStatus] | None = None,
    impossible: Mapping[tuple[str, int], str] | None = None,
) -> Decision:
    """What to change so that ``ports`` are as wanted.

    :param ports: what is wanted, by port
    :param owned: what is ours, by what carries the frames
    :param needs_a_vlan: see :class:`~sriov_agent.fabric.switch.base.Switch`
    :param closable: which of the VLANs that are ours and unwanted are to be closed, each with what
        carries it
    :param before: what was seen last, by port: what is gone since then was closed by somebody
        else, and is not opened again
    :param impossible: why the switch does not open or close a VLAN
    """
    impossible = impossible or {}
    decision = Decision()
    carriers: dict[str, _Carrier] = {}
    for port in sorted(ports.keys() | owned.keys()):
        found = seen.get(port)
        if found is None:
            decision.errors[port] = f"switch {rules.name} has no port {port}"
            continue
        want = ports.get(port, NOTHING)
        gone = _drifted(want, found, (before or {}).get(port))
        if gone:
            decision.refused[port] = {vlan: f"VLAN {vlan} {DRIFT}" for vlan in gone}
        carrier = carriers.setdefault(found.lag or port, _Carrier(found))
        carrier.want |= want - gone
        if port in ports:
            carrier.ports.append(port)
    unwanted: set[tuple[str, int]] = set()
    for name, carrier in carriers.items():
        found, ours = carrier.found, owned.get(name, NOTHING)
        decision.owned[name] = ours
        if why := _unusable(name, found, rules):
            decision.errors.update(dict.fromkeys(carrier.ports, why))
            continue
        extra = {(name, vlan) for vlan in ours & found.vlans - carrier.want}
        unwanted |= extra
        remove = frozenset(
            vlan for at, vlan in extra & set(closable) if (at, vlan) not in impossible
        )
        no = {vlan: impossible[name, vlan] for vlan in carrier.want if (name, vlan) in impossible}
        add = _addable(carrier.want - found.vlans, found, rules, no)
        floor = NOTHING
        if needs_a_vlan and remove and not (found.vlans | add) - remove:
            floor = frozenset({rules.floor_vlan}) - {0}
            if not floor:
                why = _last(min(remove), name, rules)
                decision.errors.update(dict.fromkeys(carrier.ports, why))
                remove -= {min(remove)}
        for port in carrier.ports:
            if refused := {vlan: why for vlan, why in no.items() if vlan in ports[port]}:
                decision.refused[port] = decision.refused.get(port, {}) | refused
        decision.owned[name] = ((ours & found.vlans) - remove) | add
        if add or remove:
            decision.changes[name] = Change(add=add | floor, remove=remove)
    return structs.replace(decision, unwanted=frozenset(unwanted))


class _Carrier(Struct):
    """A port or aggregate, what is wanted of it, and by which names."""

    found: PortVlans
    want: Vlans = NOTHING
    ports: list[str] = field(default_factory=list)


def _drifted(want: Vlans, found: PortVlans, before: PortStatus | None) -> Vlans:
    """Wanted VLANs that were seen open before, or known to be closed by somebody, and are not."""
    if before is None:
        return NOTHING
    known = {vlan for vlan, why in before.refused.items() if why.endswith(DRIFT)}
    # What nobody wanted then was closed by a manager, even if it could not say so any more.
    return (want & ((before.seen or NOTHING) & before.tried | known)) - found.vlans


def _unusable(carrier: str, found: PortVlans, rules: Rules) -> str:
    """Why nothing can be done on a port; "" if it can."""
    where = f"{carrier} of switch {rules.name}"
    if not found.trunk:
        return f"{where} is no trunk: make it one, with a list of VLANs"
    if found.every:
        return (
            f"{where} carries every VLAN, since none is listed: a first one would close all "
            "others; give it a list"
        )
    return ""


def _addable(missing: Vlans, found: PortVlans, rules: Rules, no: dict[int, str]) -> Vlans:
    """Those that may be opened.

    :param no: why others may not; more are put in
    """
    if found.native in missing:
        no[found.native] = f"VLAN {found.native} is the untagged one there"
    room = max(rules.max_vlans - len(found.vlans), 0)
    for vlan in sorted(missing - no.keys())[room:]:
        no[vlan] = f"VLAN {vlan}: the port has max_vlans = {rules.max_vlans} already"
    return missing - no.keys()


def _last(vlan: int, carrier: str, rules: Rules) -> str:
    return (
        f"VLAN {vlan} stays open on {carrier} of switch {rules.name}: without any, the trunk "
        "would carry every VLAN; set floor_vlan"
    )


def statuses(
    switch: str,
    ports: Mapping[str, Vlans],
    seen: Ports,
    decision: Decision,
    now: float,
) -> Iterator[PortStatus]:
    """What became of each wanted port.

    :param seen: what was read last
    """
    for port, vlans in ports.items():
        found = seen.get(port)
        yield PortStatus(
            switch=switch,
            port=port,
            seen=found.vlans if found else None,
            tried=vlans,
            refused=decision.refused.get(port, {}),
            error=decision.errors.get(port, ""),
            at=now,
        )


def failed(
    switch: str,
    ports: Mapping[str, Vlans],
    before: Mapping[str, PortStatus],
    error: str,
    now: float,
) -> Iterator[PortStatus]:
    """What is known of each wanted port after nothing was heard of what was tried.

    :param before: what was known before that
    """
    for port, vlans in ports.items():
        known = before.get(port, PortStatus(switch=switch, port=port))
        # What nobody wanted may have been closed.
        seen = None if known.seen is None else known.seen & known.tried & vlans
        yield dataclasses.replace(known, seen=seen, tried=vlans, error=error, at=now)


class Answer(Struct, frozen=True, kw_only=True):
    """What is known of a link: ``vlans`` of its host that are open, ``None`` if unknown.

    ``pending`` are asked for and not tried yet, ``refused`` say why a VLAN is not open, ``error``
    why none can be, or why it is unknown.
    """

    vlans: Vlans | None = None
    pending: Vlans = NOTHING
    refused: Mapping[int, str] = field(default_factory=dict)
    error: str = ""


def answer(
    want: Want | None, everything: Wanted, seen: Mapping[tuple[str, str], PortStatus]
) -> Answer:
    """What is known of a link.

    :param want: what its host wants there; ``None`` if it never said
    :param seen: what was seen of each switch and port
    """
    if want is None or not want.vlans:
        return Answer(vlans=NOTHING)
    link = want.link
    conflict = everything.conflicts.get(link, "")
    if conflict:
        return Answer(vlans=NOTHING, error=conflict)
    at = everything.places[link]
    refused = dict(everything.refused.get(link, {}))
    status = seen.get((at.switch, at.port))
    if status is None:
        return Answer(pending=want.vlans - refused.keys(), refused=refused)
    refused |= {vlan: why for vlan, why in status.refused.items() if vlan in want.vlans}
    open_ = want.vlans & status.seen if status.seen is not None else None
    left = want.vlans - (open_ or NOTHING) - refused.keys()
    tried = left & status.tried
    if tried and status.error:
        return Answer(vlans=open_, pending=left - tried, refused=refused, error=status.error)
    not_seen = {} if open_ is None else dict.fromkeys(tried, "was opened, and is not seen to be")
    refused |= {vlan: f"VLAN {vlan} {why}" for vlan, why in not_seen.items()}
    return Answer(vlans=open_, pending=left - refused.keys(), refused=refused)
