# SPDX-License-Identifier: Apache-2.0
"""What of the desired state was seen, and what was not: pure."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Mapping

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
from sriov_agent.core.lldp import describe_port, links
from sriov_agent.core.model import RELEASED, Cabling, Pf, Segment, SwitchPort, Vf, VfSettings
from sriov_agent.core.plan import left_of, segments_on
from sriov_agent.core.state import Claim, Desired, Observed

#: Without these a port is not connected, whatever the NIC can do.
NEEDED = frozenset({"mac", "vlan"})


class PortState(enum.StrEnum):
    """``met``: all that is desired was seen. ``unmet``: not yet. ``releasing``: on its way out.

    ``unplugged``: all but that a guest has the VF, which somebody else will see to.
    """

    MET = "met"
    UNPLUGGED = "unplugged"
    UNMET = "unmet"
    RELEASING = "releasing"


class PortReport(Struct, frozen=True, kw_only=True):
    """One port after a pass.

    :param unmet: one sentence for each thing that was desired and not seen
    :param connected: whether frames pass; ``None`` where that is unknown
    :param domain: the running libvirt domain that has the VF, "" if none is known to
    :param unsupported: names of the settings asked for that the NIC cannot do
    """

    port_id: str
    state: PortState
    claim: Claim | None = None
    switch_ports: tuple[SwitchPort, ...] = ()
    unmet: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    connected: bool | None = None
    domain: str = ""


class Report(Struct, frozen=True, kw_only=True):
    """The host after a pass. ``unmet`` holds what belongs to no single port.

    ``pfs`` are those that were seen; ``cabling`` is what is made of LLDP, by uplink, ``fabric``
    what is to be open on each link, and ``opened`` what was seen open; a link that nobody tells
    of is in the latter not.
    """

    ports: Mapping[str, PortReport] = field(default_factory=dict)
    unmet: tuple[str, ...] = ()
    pfs: Mapping[str, Pf] = field(default_factory=dict)
    cabling: Mapping[str, Cabling] = field(default_factory=dict)
    fabric: Mapping[SwitchPort, frozenset[Segment]] = field(default_factory=dict)
    opened: Mapping[SwitchPort, frozenset[Segment]] = field(default_factory=dict)


def report(
    desired: Desired,
    observed: Observed,
    failed: Mapping[Action, str],
    *,
    fabric_required: bool = True,
) -> Report:
    """Compare what is desired with what was seen last.

    :param failed: actions of the pass that were refused, with the reason
    :param fabric_required: whether a port needs its VLAN seen open on the switch
    """
    vfs = observed.vfs()
    ports = {
        port: _port(claim, desired, observed, vfs.get(claim.vf), failed, fabric_required)
        for port, claim in desired.claims.items()
    }
    for port, why in desired.unmet.items():
        ports[port] = PortReport(
            port_id=port, state=PortState.UNMET, claim=observed.claims.get(port), unmet=(why,)
        )
    for port, claim in observed.claims.items():
        if port not in ports:
            ports[port] = _releasing(claim, observed, vfs.get(claim.vf), failed)
    unknown = tuple(
        reason
        for what, reason in observed.errors.items()
        if fabric_required or not what.startswith("lldp")
    )
    return Report(
        ports=ports,
        unmet=unknown + _unmet_fabric(desired, observed, failed),
        pfs=observed.pfs,
        cabling=observed.cabling,
        fabric={
            **desired.fabric,
            **{at: segments_on(at, s, desired, observed) for at, s in observed.fabric.items()},
        },
        opened=observed.fabric,
    )


def _port(
    claim: Claim,
    desired: Desired,
    observed: Observed,
    vf: Vf | None,
    failed: Mapping[Action, str],
    fabric_required: bool,
) -> PortReport:
    unmet: list[str] = []
    unknown: list[str] = []
    unsupported: tuple[str, ...] = ()
    if observed.claims.get(claim.port_id) != claim:
        unmet.append(f"VF {claim.vf} not recorded for the port{_because(failed, claim)}")
    wanted = desired.vfs[claim.vf]
    if vf is None:
        unknown.append(f"VF {claim.vf} not seen{_error(observed, 'pf', claim.pf)}")
    else:
        missing = _missing(wanted, vf.settings)
        lacking = observed.pfs[claim.pf].unsupported
        lacking |= {name for name in missing.items() if name not in vf.settings.items()}
        lacking -= NEEDED
        unsupported = tuple(name for name in missing.items() if name in lacking)
        unmet += _settings(claim, missing.without(lacking), vf.settings, failed)
    if observed.interfaces.get(claim.port_id) != desired.interfaces[claim.port_id]:
        unmet.append(f"interface XML not written{_because(failed, claim)}")
    known = links(observed.pfs.get(claim.pf), observed.cabling)
    segments = desired.segments.get(claim.port_id, frozenset())
    if fabric_required and segments:
        unknown += [f"{why}{_error(observed, 'lldp', claim.pf)}" for why in known.unknown]
        for at in known.switch_ports:
            closed = segments - observed.fabric.get(at, frozenset())
            if closed:
                (unmet if at in observed.fabric else unknown).append(
                    f"VLAN {_vlans(closed)} not seen open on {describe_port(at)}"
                    f"{_fabric_reason(at, observed, failed)}"
                )
    unplugged = claim.port_id in desired.unplugged
    if unmet or unknown:
        state = PortState.UNMET
    else:
        state = PortState.UNPLUGGED if unplugged else PortState.MET
    return PortReport(
        port_id=claim.port_id,
        state=state,
        claim=claim,
        switch_ports=known.switch_ports,
        unmet=(*unmet, *unknown),
        unsupported=unsupported,
        connected=False if unmet or unplugged else None if unknown else True,
        domain=(vf.domain if vf else None) or "",
    )


def _missing(wanted: VfSettings, seen: VfSettings) -> VfSettings:
    """What is not as wanted; a setting that is not listed counts as on an unused VF."""
    shown = RELEASED.items() | seen.items()
    return wanted.without(name for name, value in wanted.items().items() if shown[name] == value)


def _releasing(
    claim: Claim, observed: Observed, vf: Vf | None, failed: Mapping[Action, str]
) -> PortReport:
    unmet: list[str] = []
    pf = observed.pfs.get(claim.pf)
    if pf is None:
        unmet.append(f"PF {claim.pf} not seen{_error(observed, 'pf', claim.pf)}")
    elif vf and vf.domain != "":
        unmet.append(_in_guest(vf, observed))
    elif vf:
        left = left_of(claim, vf, pf)
        unmet += _settings(claim, left, vf.settings, failed)
    if claim.port_id in observed.interfaces:
        unmet.append(f"interface XML not removed{_because(failed, claim)}")
    if not unmet:
        unmet.append(f"VF {claim.vf} still recorded for the port{_because(failed, claim)}")
    return PortReport(
        port_id=claim.port_id,
        state=PortState.RELEASING,
        claim=claim,
        unmet=tuple(unmet),
        domain=(vf.domain if vf else None) or "",
    )


def _in_guest(vf: Vf, observed: Observed) -> str:
    if vf.domain is None:
        return f"VF {vf.address} may be in a guest{_error(observed, 'libvirt', '')}"
    return (
        f"VF {vf.address} is in the running domain {vf.domain}: detach it (sriovctl port detach), "
        "or shut the domain down"
    )


def _settings(
    claim: Claim, missing: VfSettings, seen: VfSettings, failed: Mapping[Action, str]
) -> list[str]:
    why = {
        name: reason
        for action, reason in failed.items()
        if isinstance(action, SetVfs) and action.pf == claim.pf
        for index, change in action.changes
        if index == claim.index
        for name in change.items()
    }
    return [
        f"{name} of VF {claim.vf} is {seen.items().get(name)}, not {value}"
        + (f": {why[name]}" if name in why else "")
        for name, value in missing.items().items()
    ]


def _unmet_fabric(
    desired: Desired, observed: Observed, failed: Mapping[Action, str]
) -> tuple[str, ...]:
    """VLANs that should be closed and were seen open."""
    return tuple(
        f"VLAN {_vlans(extra)} still open on "
        f"{describe_port(switch_port)}" + _fabric_reason(switch_port, observed, failed)
        for switch_port, seen in observed.fabric.items()
        if (extra := seen - segments_on(switch_port, seen, desired, observed))
    )


def left_open(
    vlans: Collection[int],
    pfs: Collection[str],
    *,
    wanted: Mapping[SwitchPort, frozenset[Segment]],
    opened: Mapping[SwitchPort, frozenset[Segment]],
    ours: Collection[SwitchPort],
) -> Iterator[str]:
    """What keeps the VLANs of ports that are gone from being closed, a sentence for each link.

    :param pfs: addresses of the PFs that the ports were on
    :param wanted: what is to be open, for other ports
    :param opened: what was seen open; a link that nobody told of is absent
    :param ours: links on which the agent opened something that it has not seen closed
    """
    for link in sorted({*wanted, *opened, *ours}, key=str):
        gone = set(vlans) - {segment.vlan for segment in wanted.get(link, ())}
        if link.pf not in pfs or not gone:
            continue
        if link in opened:
            if left := {segment for segment in opened[link] if segment.vlan in gone}:
                yield f"VLAN {_vlans(left)} still open on {describe_port(link)}"
        elif link in ours:
            listed = ", ".join(map(str, sorted(gone)))
            yield f"VLAN {listed} not seen closed on {describe_port(link)}: nobody tells"


def _vlans(segments: Iterable[Segment]) -> str:
    return ", ".join(f"{s.vlan}{'' if s.tagged else ' untagged'}" for s in sorted(segments))


def _fabric_reason(
    switch_port: SwitchPort, observed: Observed, failed: Mapping[Action, str]
) -> str:
    for action, reason in failed.items():
        if isinstance(action, SetFabric) and action.switch_port == switch_port:
            return f": {reason}"
    return _error(observed, "fabric", switch_port.pf)


def _because(failed: Mapping[Action, str], claim: Claim) -> str:
    for action, reason in failed.items():
        match action:
            case RecordClaim(c) | DropClaim(c) if c.port_id == claim.port_id:
                return f": {reason}"
            case WriteInterface(port_id, _) | RemoveInterface(port_id) if port_id == claim.port_id:
                return f": {reason}"
    return ""


def _error(observed: Observed, what: str, key: str) -> str:
    reason = observed.errors.get(f"{what} {key}") or observed.errors.get(what)
    return f": {reason}" if reason else ""
