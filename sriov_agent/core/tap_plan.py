# SPDX-License-Identifier: Apache-2.0
"""From the taps and mirrors that are wanted, and what is seen, to what is to be done. Pure."""

from collections.abc import Generator, Iterable, Iterator, Mapping

from msgspec import Struct, field

from sriov_agent.core.tap_actions import (
    Action,
    AddAddress,
    AddTee,
    Join,
    MakeMirror,
    MakePort,
    MakeVeth,
    RemoveMirror,
    RemovePort,
    RemoveTee,
    RemoveVeth,
    SetAlias,
    SetTag,
    SetUp,
    SetVlan,
)
from sriov_agent.core.taps import DIRECTIONS, Mirror, Netdev, Ovs, Seen, Tap, Taps, is_end
from sriov_agent.exceptions import InvalidField, Refused, SriovAgentError, Unavailable

#: The kinds of bridges, as iproute2 and the agent's record name them.
KERNEL, OPENVSWITCH = "bridge", "openvswitch"


class Status(Struct, frozen=True, kw_only=True):
    """One tap or mirror, recorded before it is made, and as it was after the last pass.

    :param noun: ``tap`` or ``mirror``
    :param kind: of the bridge, "" if that is not known
    :param end: the bridge's end of a tap on a bridge of the kernel
    :param state: ``new``, ``met``, ``unmet`` or ``releasing``, as a port's
    :param unmet: one sentence for each thing that was wanted and not seen
    """

    key: str
    noun: str
    name: str
    kind: str = ""
    end: str = ""
    state: str = "new"
    unmet: tuple[str, ...] = ()


class Steps(Struct, frozen=True, kw_only=True):
    """What leads one tap or mirror to where it is wanted, and what is in the way."""

    actions: tuple[Action, ...] = ()
    problem: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """What is to be done: removals, and the steps of what is wanted, by id.

    Removals come first, mirrors before taps; then taps, then mirrors.
    """

    removals: tuple[Action, ...] = ()
    steps: Mapping[str, Steps] = field(default_factory=dict)

    def actions(self) -> tuple[Action, ...]:
        """All of it, in order."""
        return self.removals + tuple(a for steps in self.steps.values() for a in steps.actions)


def plan(wanted: Taps, seen: Seen, recorded: Iterable[Status] = ()) -> Plan:
    """What is to be done now; what depends on that is seen in the next round.

    Nothing is done on Open vSwitch while it does not answer.

    :param recorded: what was recorded before something was made
    """
    taps, mirrors = wanted.taps.values(), wanted.mirrors.values()
    known = {status.end for status in recorded} | {tap.end for tap in taps}
    steps = {tap.tap_id: _steps(_tap(tap, seen)) for tap in taps}
    steps |= {mirror.mirror_id: _steps(_mirror(mirror, wanted, seen)) for mirror in mirrors}
    return Plan(removals=tuple(_removals(wanted, seen, known)), steps=steps)


def statuses(
    wanted: Taps,
    seen: Seen,
    recorded: Iterable[Status],
    failed: Mapping[Action, str],
) -> list[Status]:
    """What is wanted and whether it was seen, and what is not wanted and not seen gone.

    :param seen: after the pass
    :param failed: what was tried in vain, with the reason
    """
    recorded = list(recorded)
    left = plan(wanted, seen, recorded)
    kinds = {last.key: last.kind for last in recorded}

    def status(key: str, noun: str, name: str, tap: Tap) -> Status:
        steps = left.steps[key]
        unmet = [failed.get(action, f"not seen: {action}") for action in steps.actions]
        unmet = ([steps.problem] if steps.problem else []) + unmet
        return Status(
            key=key,
            noun=noun,
            name=name,
            kind=_kind(tap.bridge, seen) or kinds.get(key, ""),
            end=tap.end if noun == "tap" else "",
            state="unmet" if unmet else "met",
            unmet=tuple(unmet),
        )

    found = [status(tap.tap_id, "tap", tap.name, tap) for tap in wanted.taps.values()]
    found += [
        status(mirror.mirror_id, "mirror", mirror.name, wanted.taps[mirror.tap])
        for mirror in wanted.mirrors.values()
    ]
    for last in recorded:
        if last.key not in left.steps and (why := _still_there(last, seen, left, failed)):
            found.append(
                Status(
                    key=last.key,
                    noun=last.noun,
                    name=last.name,
                    kind=last.kind,
                    end=last.end,
                    state="releasing",
                    unmet=(why,),
                )
            )
    return found


def claims(wanted: Taps, seen: Seen, recorded: Iterable[Status]) -> list[Status]:
    """What is to be on record before anything is made: what is there already, and what is new."""
    known = {status.key: status for status in recorded}
    for tap in wanted.taps.values():
        new = Status(
            key=tap.tap_id, noun="tap", name=tap.name, end=tap.end, kind=_kind(tap.bridge, seen)
        )
        known.setdefault(tap.tap_id, new)
    for mirror in wanted.mirrors.values():
        kind = _kind(wanted.taps[mirror.tap].bridge, seen)
        new = Status(key=mirror.mirror_id, noun="mirror", name=mirror.name, kind=kind)
        known.setdefault(mirror.mirror_id, new)
    return list(known.values())


def _steps(actions: Iterator[Action]) -> Steps:
    """These actions, as far as there is nothing in the way."""
    made: list[Action] = []
    try:
        made.extend(actions)
    except SriovAgentError as error:
        return Steps(actions=tuple(made), problem=str(error))
    return Steps(actions=tuple(made))


def _kind(bridge: str, seen: Seen) -> str:
    netdev = seen.netdevs.get(bridge)
    if netdev and netdev.kind == "bridge":
        return KERNEL
    return OPENVSWITCH if seen.ovs and bridge in seen.ovs.bridges else ""


def _bridge(name: str, seen: Seen) -> str:
    """What kind of bridge this is.

    :raises SriovAgentError: if there is none that could have taps
    """
    kind = _kind(name, seen)
    if kind == KERNEL and not seen.netdevs[name].filtering:
        raise Refused(
            f"bridge {name} does not tell VLANs apart: "
            f"ip link set {name} type bridge vlan_filtering 1"
        )
    if not kind and seen.ovs_error:
        raise Unavailable(
            f"the kernel has no bridge {name}, and Open vSwitch does not answer: {seen.ovs_error}"
        )
    if not kind:
        raise InvalidField("bridge", name, "neither the kernel nor Open vSwitch has it")
    return kind


def _tap(tap: Tap, seen: Seen) -> Iterator[Action]:
    on_bridge = _veth if _bridge(tap.bridge, seen) == KERNEL else _internal_port
    leg = yield from on_bridge(tap, seen)
    if leg is None:
        return
    if not leg.up:
        yield SetUp(leg.name)
    yield from (AddAddress(leg.name, each) for each in tap.addresses if each not in leg.addresses)


def _veth(tap: Tap, seen: Seen) -> Generator[Action, None, Netdev | None]:
    """What there is to do on a bridge of the kernel; the host's end, if it can be seen."""
    leg, end = seen.netdevs.get(tap.name), seen.netdevs.get(tap.end)
    if end is None:
        if leg:
            raise _foreign(tap)
        yield MakeVeth(tap.name, tap.end, seen.netdevs[tap.bridge].mtu)
        return None
    yield from _end(tap, end)
    if not end.peer:
        if tap.addresses:
            raise Unavailable(
                f"interface {tap.name} is in another network namespace: "
                "its addresses are not looked after"
            )
        return None
    if end.peer != tap.name or leg is None:
        raise Refused(f"interface {tap.name} was renamed to {end.peer}: rename it back")
    if not leg.alias:
        yield SetAlias(leg.name, tap.alias)
    return leg


def _internal_port(tap: Tap, seen: Seen) -> Generator[Action, None, Netdev | None]:
    """What there is to do on Open vSwitch; the interface, if there is one."""
    leg = seen.netdevs.get(tap.name)
    port = seen.ovs.ports.get(tap.name) if seen.ovs else None
    if port is None:
        if leg:
            raise _foreign(tap)
        yield MakePort(tap.tap_id, tap.name, tap.bridge, tap.vlan)
        return None
    if (port.tap_id, port.bridge) != (tap.tap_id, tap.bridge):
        raise _foreign(tap)
    if port.tag != tap.vlan:
        yield SetTag(port, tap.vlan)
    if leg is None:
        why = port.error and f": {port.error}"
        raise Unavailable(f"Open vSwitch has made no interface {tap.name}{why}")
    return leg


def _end(tap: Tap, end: Netdev) -> Iterator[Action]:
    """It is up only in its VLAN: until then nothing passes."""
    if not end.alias:
        yield SetAlias(end.name, tap.alias)
    if end.master != tap.bridge:
        yield Join(end.name, tap.bridge)
    elif end.vlans != {(tap.vlan, True, True)}:
        others = tuple(sorted(vlan for vlan, _, _ in end.vlans if vlan != tap.vlan))
        yield SetVlan(end.name, tap.vlan, others)
    elif not end.up:
        yield SetUp(end.name)


def _foreign(tap: Tap) -> InvalidField:
    return InvalidField(
        "name", tap.name, "there is an interface of this name that is no tap of ours: it is left"
    )


def _mirror(mirror: Mirror, wanted: Taps, seen: Seen) -> Iterator[Action]:
    tap = wanted.taps[mirror.tap]
    if _bridge(tap.bridge, seen) == KERNEL:
        source = _kernel_source(mirror, wanted, seen)
        if tap.end not in seen.netdevs:
            raise Unavailable(f"tap {tap.name} is not there yet")
        there = {(tee.source, tee.direction, tee.to) for tee in seen.tees}
        for direction in DIRECTIONS:
            if (source, direction, tap.end) not in there:
                yield AddTee(source, direction, tap.end)
        return
    ovs = seen.ovs or Ovs()
    output, of = ovs.ports.get(tap.name), ovs.ports.get(mirror.source)
    if output is None or output.tap_id != tap.tap_id:
        raise Unavailable(f"tap {tap.name} is not there yet")
    if of is None or of.bridge != tap.bridge:
        raise _no_source(mirror, tap)
    if mirror.mirror_id not in {each.mirror_id for each in ovs.mirrors}:
        yield MakeMirror(mirror.mirror_id, mirror.name, tap.bridge, of, output)


def _kernel_source(mirror: Mirror, wanted: Taps, seen: Seen) -> str:
    """The port that is mirrored; of another tap, the bridge's end.

    :raises InvalidField: if the bridge has no such port
    """
    tap, other = wanted.taps[mirror.tap], wanted.taps.get(mirror.source)
    source = seen.netdevs.get(other.end if other else mirror.source)
    if source is None or source.master != tap.bridge:
        raise _no_source(mirror, tap)
    return source.name


def _no_source(mirror: Mirror, tap: Tap) -> InvalidField:
    return InvalidField("source", mirror.source, f"not a port of bridge {tap.bridge}")


def _removals(wanted: Taps, seen: Seen, known: Iterable[str]) -> Iterator[Action]:
    """Whatever is ours and not wanted as it is: mirrors first."""
    kept = _kept_tees(wanted, seen)
    order = sorted(seen.tees, key=lambda tee: (tee.source, tee.direction, tee.pref))
    yield from (RemoveTee(tee) for tee in order if (tee.source, tee.to) not in kept)
    if seen.ovs:
        mirrors = {
            mirror.mirror_id: (wanted.taps[mirror.tap].bridge, mirror.source, mirror.tap)
            for mirror in wanted.mirrors.values()
        }
        for each in seen.ovs.mirrors:
            if mirrors.get(each.mirror_id) != (each.bridge, each.source, each.output):
                yield RemoveMirror(each)
    ends = {tap.end for tap in wanted.taps.values()}
    known = frozenset(known)
    for name in sorted(seen.netdevs.keys() - ends):
        if is_end(seen.netdevs[name], known):
            yield RemoveVeth(name)
    if seen.ovs:
        ids = {tap.tap_id for tap in wanted.taps.values()}
        for _, port in sorted(seen.ovs.ports.items()):
            if port.tap_id and port.tap_id not in ids:
                yield RemovePort(port)


def _kept_tees(wanted: Taps, seen: Seen) -> set[tuple[str, str]]:
    """(interface, where its copies go) of all that is mirrored on bridges of the kernel."""
    kept = set()
    for mirror in wanted.mirrors.values():
        try:
            kept.add((_kernel_source(mirror, wanted, seen), wanted.taps[mirror.tap].end))
        except InvalidField:
            continue
    return kept


def _still_there(last: Status, seen: Seen, left: Plan, failed: Mapping[Action, str]) -> str:
    """Why what is not wanted any more is not known to be gone; "" if it is gone."""
    if last.kind != KERNEL and seen.ovs is None and last.kind:
        return f"Open vSwitch does not answer: {seen.ovs_error}"
    for action in left.removals:
        theirs = (
            (isinstance(action, RemoveVeth) and action.end == last.end)
            or (isinstance(action, RemovePort) and action.port.tap_id == last.key)
            or (isinstance(action, RemoveMirror) and action.mirror.mirror_id == last.key)
        )
        if theirs:
            return failed.get(action, f"not seen: {action}")
    return ""
