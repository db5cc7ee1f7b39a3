# SPDX-License-Identifier: Apache-2.0
"""What is to be changed in VPP, from what is wanted and what it has: pure.

Only what is tagged as ours is changed or taken back. A loopback or sub-interface that has no tag
and that nothing uses yet is one that was made, and not tagged any more, by a run that was cut off.
"""

from collections.abc import Iterable, Iterator, Mapping

from sriov_agent.exceptions import Refused, printable
from sriov_agent.vpp.changes import Change, Domain, Gateway, Guest, Member, Sub, Table, Verb
from sriov_agent.vpp.model import (
    OURS,
    Desired,
    Interface,
    Loopback,
    Observed,
    Port,
    Socket,
    SubInterface,
    Vlan,
    version,
)


def plan(desired: Desired, observed: Observed, *, prune: bool = False) -> list[Change]:
    """The least that makes VPP have what is wanted, in order; nothing if it has it.

    What is ours and is not named stays, unless it is to be pruned. Of what is named, VLANs of a
    socket and addresses of a gateway that are ours and not wanted any more are taken back.

    :raises Refused: if something of somebody else's is in the way; one sentence for each
    """
    _refuse(_in_the_way(desired, observed))
    kept = {} if prune else _ours(observed)
    kept |= {port.socket: frozenset(port.vlans) for port in desired.ports}
    gateways = {} if prune else _gateways(observed)
    for vlan in desired.vlans:
        gateways.pop(vlan.vlan, None)
        if vlan.addresses:
            gateways[vlan.vlan] = _tables_after(vlan, desired.table, observed)
    found = [
        *_removals(observed, kept, gateways),
        *(change for vlan in desired.vlans for change in _outdated(vlan, desired, observed)),
    ]
    tables = {table for vlan in desired.vlans for table in _tables(vlan, desired.table)}
    found += [
        Change(Verb.ADD, table)
        for table in sorted(tables)
        if table.number and (table.version, table.number) not in observed.tables
    ]
    found += [
        Change(Verb.ADD, Domain(vlan))
        for vlan in _switched(desired)
        if vlan not in observed.bridges
    ]
    for vlan in desired.vlans:
        found += _gateway(vlan, desired.table, observed.loopbacks.get(vlan.vlan))
    for port in desired.ports:
        found += _port(port, desired.server, observed.sockets.get(port.socket))
    return [*found, *_unused(observed, gateways)]


def removal(
    observed: Observed, sockets: Iterable[str] = (), vlans: Iterable[int] = ()
) -> list[Change]:
    """What takes back these sockets and the gateways of these VLANs, as far as they are there.

    A bridge domain or table of ours goes with the last that is in it.

    :raises Refused: if one is not ours; one sentence for each
    """
    sockets, vlans = set(sockets), set(vlans)
    foreign: list[Interface] = [
        each for path, each in observed.sockets.items() if path in sockets and not each.ours
    ]
    foreign += [
        each for vlan, each in observed.loopbacks.items() if vlan in vlans and not each.ours
    ]
    _refuse(_not_ours(each.name, f"tag {printable(each.tag)}") for each in foreign)
    kept = {path: subs for path, subs in _ours(observed).items() if path not in sockets}
    gateways = {vlan: each for vlan, each in _gateways(observed).items() if vlan not in vlans}
    return [*_removals(observed, kept, gateways), *_unused(observed, gateways)]


def everything(observed: Observed) -> list[Change]:
    """What takes back all that is ours.

    :raises Refused: if something of somebody else's hangs on it
    """
    return [*_removals(observed, {}, {}), *_unused(observed, {})]


def _ours(observed: Observed) -> dict[str, frozenset[int]]:
    return {
        path: frozenset(vlan for vlan, sub in socket.subs.items() if sub.ours)
        for path, socket in observed.sockets.items()
        if socket.ours
    }


def _gateways(observed: Observed) -> dict[int, frozenset[Table]]:
    return {
        vlan: frozenset(Table(*each) for each in loopback.tables.items())
        for vlan, loopback in observed.loopbacks.items()
        if loopback.ours
    }


def _tables(vlan: Vlan, table: int) -> frozenset[Table]:
    return frozenset(Table(version(address), table) for address in vlan.addresses)


def _tables_after(vlan: Vlan, table: int, observed: Observed) -> frozenset[Table]:
    """The tables of its gateway; it stays bound to that of a version it has no addresses of."""
    wanted = _tables(vlan, table)
    seen = observed.loopbacks.get(vlan.vlan)
    stays = {Table(*each) for each in seen.tables.items()} if seen else set()
    versions = {each.version for each in wanted}
    return wanted | {each for each in stays if each.version not in versions}


def _switched(desired: Desired) -> list[int]:
    tagged = {vlan for port in desired.ports for vlan in port.vlans}
    return sorted(tagged | {vlan.vlan for vlan in desired.vlans if vlan.addresses})


def _removals(
    observed: Observed,
    kept: Mapping[str, frozenset[int]],
    gateways: Mapping[int, frozenset[Table]],
) -> Iterator[Change]:
    """What takes back all of ours but this.

    :param kept: sockets, and the VLANs of each
    :param gateways: VLANs, and the tables of the gateway of each
    """
    gone: set[str] = set()
    for path, socket in sorted(observed.sockets.items()):
        if socket.ours:
            found = list(_socket_removals(path, socket, kept.get(path)))
            removed = {change.on for change in found}
            gone |= {sub.name for vlan, sub in socket.subs.items() if Sub(path, vlan) in removed}
            gone |= {socket.name} if Guest(path) in removed else set()
            yield from found
    for vlan, loopback in sorted(observed.loopbacks.items()):
        if loopback.ours and vlan not in gateways:
            gone.add(loopback.name)
            for address in loopback.addresses:
                yield Change(Verb.REMOVE_ADDRESS, Gateway(vlan), address)
            yield Change(Verb.REMOVE, Gateway(vlan))
    wanted = {vlan for vlans in kept.values() for vlan in vlans} | set(gateways)
    for vlan, bridge in sorted(observed.bridges.items()):
        if bridge.ours and vlan not in wanted and not bridge.members - gone:
            yield Change(Verb.REMOVE, Domain(vlan))


def _unused(observed: Observed, gateways: Mapping[int, frozenset[Table]]) -> Iterator[Change]:
    """What takes back the tables of ours that no gateway is bound to."""
    used = {table for tables in gateways.values() for table in tables}
    for (ip, number), name in sorted(observed.tables.items()):
        if name == OURS and Table(ip, number) not in used:
            yield Change(Verb.REMOVE, Table(ip, number))


def _socket_removals(path: str, socket: Socket, kept: frozenset[int] | None) -> Iterator[Change]:
    """What takes back a socket, or those of its VLANs that are ours and not kept."""
    subs = sorted(socket.subs.items())
    if kept is not None:
        for vlan, sub in subs:
            if sub.ours and vlan not in kept:
                yield Change(Verb.REMOVE, Sub(path, vlan))
        return
    _refuse(
        f"{sub.name} of {path} is not ours: delete it first" for _, sub in subs if not _takes(sub)
    )
    for vlan, _ in subs:
        yield Change(Verb.REMOVE, Sub(path, vlan))
    yield Change(Verb.REMOVE, Guest(path))


def _outdated(vlan: Vlan, desired: Desired, observed: Observed) -> Iterator[Change]:
    """The addresses of its gateway that are not wanted, or would hold it in another table."""
    seen = observed.loopbacks.get(vlan.vlan)
    if seen is None or not vlan.addresses:
        return
    moved = {table.version for table in _bound(vlan, desired.table, seen)}
    for address in seen.addresses:
        if address not in vlan.addresses or version(address) in moved:
            yield Change(Verb.REMOVE_ADDRESS, Gateway(vlan.vlan), address)


def _bound(vlan: Vlan, table: int, seen: Loopback | None) -> list[Table]:
    """The tables that its gateway is to be bound to, and is not."""
    now = seen.tables if seen else {}
    tables = sorted(_tables(vlan, table))
    return [each for each in tables if now.get(each.version, 0) != each.number]


def _gateway(vlan: Vlan, table: int, seen: Loopback | None) -> Iterator[Change]:
    """Its table comes before its addresses, which stay where they are."""
    if not vlan.addresses:
        return
    on = Gateway(vlan.vlan)
    yield from _made(on, seen)
    if seen is None or seen.bridge != vlan.vlan or not seen.bvi:
        yield Change(Verb.JOIN, on, Domain(vlan.vlan))
    bound = _bound(vlan, table, seen)
    yield from (Change(Verb.BIND, on, each) for each in bound)
    moved = {each.version for each in bound}
    for address in vlan.addresses:
        if seen is None or address not in seen.addresses or version(address) in moved:
            yield Change(Verb.ADD_ADDRESS, on, address)
    if seen is None or not seen.up:
        yield Change(Verb.UP, on)


def _port(port: Port, server: bool, seen: Socket | None) -> Iterator[Change]:
    on = Guest(port.socket)
    if seen is None:
        yield Change(Verb.ADD, on, server)
    elif seen.server != server:
        yield Change(Verb.MODE, on, server)
    if seen is None or not seen.up:
        yield Change(Verb.UP, on)
    for vlan in port.vlans:
        yield from _sub(Sub(port.socket, vlan), seen.subs.get(vlan) if seen else None)


def _sub(on: Sub, seen: SubInterface | None) -> Iterator[Change]:
    yield from _made(on, seen)
    joins = seen is None or seen.bridge != on.vlan
    if joins:
        yield Change(Verb.JOIN, on, Domain(on.vlan))
    if joins or seen is None or not seen.pops:
        yield Change(Verb.POP, on)
    if seen is None or not seen.up:
        yield Change(Verb.UP, on)


def _made(on: Member, seen: Interface | None) -> Iterator[Change]:
    if seen is None:
        yield Change(Verb.ADD, on)
    if seen is None or not seen.ours:
        yield Change(Verb.TAG, on)


def _takes(seen: Interface) -> bool:
    """Whether it may be taken for ours."""
    idle = not (seen.tag or seen.up or seen.bridge)
    if isinstance(seen, Loopback):
        idle = idle and not seen.addresses
    if isinstance(seen, SubInterface):
        idle = idle and seen.vlan > 0
    return seen.ours or idle


def _in_the_way(desired: Desired, observed: Observed) -> Iterator[str]:
    for vlan in _switched(desired):
        bridge = observed.bridges.get(vlan)
        if bridge and not bridge.ours:
            yield _not_ours(f"bridge domain {vlan}", f"tag {printable(bridge.tag)}")
    for vlan in (each.vlan for each in desired.vlans if each.addresses):
        loopback, bridge = observed.loopbacks.get(vlan), observed.bridges.get(vlan)
        if loopback and not _takes(loopback):
            yield _not_ours(loopback.name, f"tag {printable(loopback.tag)}")
        elif bridge and bridge.bvi and bridge.bvi != str(Gateway(vlan)):
            yield _not_ours(bridge.bvi, f"the BVI of bridge domain {vlan}")
    for port in desired.ports:
        socket = observed.sockets.get(port.socket)
        if socket is None:
            continue
        if not socket.ours:
            yield _not_ours(f"{socket.name} with {port.socket}", f"tag {printable(socket.tag)}")
            continue
        for vlan in port.vlans:
            sub = socket.subs.get(vlan)
            if sub and not _takes(sub):
                yield _not_ours(sub.name, f"tag {printable(sub.tag)}")
            elif sub and sub.vlan != vlan:
                yield f"{sub.name}: not the sub-interface of VLAN {vlan}; delete it first"


def _not_ours(name: str, why: str) -> str:
    return f"{name} is in VPP and not ours ({why}): delete it there, or choose another"


def _refuse(sentences: Iterable[str]) -> None:
    found = list(sentences)
    if found:
        raise Refused("; ".join(found))
