# SPDX-License-Identifier: Apache-2.0
"""The kernel's bridges and what host taps take of it, by pyroute2, its only user.

Its own messages would be some hundred lines; those of VFs are the agent's own for what
:mod:`sriov_agent.host.rtnl` says, none of which holds here: a tap is made once.
"""

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from sriov_agent.core.tap_actions import (
    AddAddress,
    AddTee,
    Join,
    KernelAction,
    MakeVeth,
    RemoveTee,
    RemoveVeth,
    SetAlias,
    SetUp,
    SetVlan,
)
from sriov_agent.core.taps import Netdev, Tee
from sriov_agent.exceptions import Refused, Unavailable

#: The handle by which filters of ours are told from others'.
HANDLE = 0x54415031

_PARENTS = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_IFF_UP, _RTEXT_FILTER_BRVLAN = 1, 2
_PVID, _UNTAGGED = 2, 4
_MIRROR_EGRESS = 2
_ANY_PROTOCOL = 3


class KernelTaps:
    """The interfaces of this process's network namespace."""

    def look(self) -> tuple[dict[str, Netdev], frozenset[Tee]]:
        """Every interface by name, and every filter of ours.

        :raises Unavailable: if the kernel could not be asked
        """
        try:
            with IPRoute() as route:
                names: dict[int, str] = {}
                links = list(route.get_links())
                for link in links:
                    names[link["index"]] = link.get_attr("IFLA_IFNAME")
                addresses = _addresses(route.get_addr())
                vlans = _vlans(route.get_vlans())
                netdevs = [
                    _netdev(link, names, addresses, vlans.get(link["index"], frozenset()))
                    for link in links
                ]
                return {netdev.name: netdev for netdev in netdevs}, frozenset(_tees(route, names))
        except (NetlinkError, OSError) as error:
            raise Unavailable(f"rtnetlink: the interfaces cannot be listed: {error}") from error

    def apply(self, action: KernelAction) -> None:
        """Carry it out.

        :raises Refused: if the kernel refuses
        :raises Unavailable: if an interface that it is about is gone
        """
        with _errors(action), IPRoute() as route:
            match action:
                case MakeVeth(name, end, mtu):
                    peer = {"ifname": name, "mtu": mtu}
                    route.link("add", ifname=end, kind="veth", mtu=mtu, peer=peer)
                case RemoveVeth(end):
                    route.link("del", index=_index(route, end))
                case SetAlias(netdev, alias):
                    route.link("set", index=_index(route, netdev), ifalias=alias)
                case Join(netdev, bridge):
                    master = _index(route, bridge)
                    route.link("set", index=_index(route, netdev), master=master)
                case SetVlan(netdev, vlan, others):
                    index = _index(route, netdev)
                    for other in others:
                        route.vlan_filter("del", index=index, vlan_info={"vid": other})
                    info = {"vid": vlan, "flags": _PVID | _UNTAGGED}
                    route.vlan_filter("add", index=index, vlan_info=info)
                case SetUp(netdev):
                    route.link("set", index=_index(route, netdev), state="up")
                case AddAddress(netdev, address):
                    interface = ipaddress.ip_interface(address)
                    route.addr(
                        "add",
                        index=_index(route, netdev),
                        address=str(interface.ip),
                        prefixlen=interface.network.prefixlen,
                    )
                case AddTee(source, direction, to):
                    _add_tee(route, _index(route, source), direction, _index(route, to))
                case RemoveTee(tee):
                    _remove_tee(route, _index(route, tee.source), tee)


@contextmanager
def _errors(action: KernelAction) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        why = os.strerror(error.code)
        raise Refused(f"the kernel refuses to {action}: {why}") from error
    except OSError as error:
        raise Unavailable(f"rtnetlink: {action}: {error}") from error


def _index(route: Any, name: str) -> int:
    for index in route.link_lookup(ifname=name):
        return int(index)
    raise Unavailable(f"interface {name} is gone")


def _netdev(
    link: Any,
    names: Mapping[int, str],
    addresses: Mapping[int, frozenset[str]],
    vlans: frozenset[tuple[int, bool, bool]],
) -> Netdev:
    info = link.get_attr("IFLA_LINKINFO")
    kind = (info.get_attr("IFLA_INFO_KIND") if info else None) or ""
    data = info.get_attr("IFLA_INFO_DATA") if info and kind == "bridge" else None
    elsewhere = link.get_attr("IFLA_LINK_NETNSID") is not None
    return Netdev(
        name=link.get_attr("IFLA_IFNAME"),
        kind=kind,
        alias=link.get_attr("IFLA_IFALIAS") or "",
        master=names.get(link.get_attr("IFLA_MASTER") or 0, ""),
        peer="" if elsewhere else names.get(link.get_attr("IFLA_LINK") or 0, ""),
        up=bool(link["flags"] & _IFF_UP),
        mtu=link.get_attr("IFLA_MTU"),
        addresses=addresses.get(link["index"], frozenset()),
        vlans=vlans,
        filtering=bool(data and data.get_attr("IFLA_BR_VLAN_FILTERING")),
    )


def _addresses(messages: Iterable[Any]) -> dict[int, frozenset[str]]:
    """Addresses with the lengths of their prefixes, by interface index."""
    found: dict[int, frozenset[str]] = {}
    for each in messages:
        address = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
        if address:
            said = str(ipaddress.ip_interface(f"{address}/{each['prefixlen']}"))
            found[each["index"]] = found.get(each["index"], frozenset()) | {said}
    return found


def _vlans(messages: Iterable[Any]) -> dict[int, frozenset[tuple[int, bool, bool]]]:
    """(VLAN id, pvid, untagged) of each port of a bridge, by interface index."""
    found: dict[int, frozenset[tuple[int, bool, bool]]] = {}
    for each in messages:
        specific = each.get_attr("IFLA_AF_SPEC")
        for info in specific.get_attrs("IFLA_BRIDGE_VLAN_INFO") if specific else ():
            flags = info["flags"]
            entry = (info["vid"], bool(flags & _PVID), bool(flags & _UNTAGGED))
            found[each["index"]] = found.get(each["index"], frozenset()) | {entry}
    return found


def _tees(route: Any, names: Mapping[int, str]) -> Iterator[Tee]:
    """The filters of ours, of all interfaces that could have any."""
    for qdisc in list(route.get_qdiscs()):
        if qdisc.get_attr("TCA_KIND") != "clsact":
            continue
        for direction, parent in _PARENTS.items():
            for each in list(route.get_filters(index=qdisc["index"], parent=parent)):
                if each.get_attr("TCA_KIND") == "matchall" and each["handle"] == HANDLE:
                    yield Tee(
                        source=names.get(qdisc["index"], ""),
                        direction=direction,
                        to=names.get(_mirrored_to(each), ""),
                        pref=each["info"] >> 16,
                    )


def _mirrored_to(message: Any) -> int:
    """The index of the interface that the copies go to, 0 if that is gone."""
    options = message.get_attr("TCA_OPTIONS")
    actions = options.get_attr("TCA_MATCHALL_ACT") if options else None
    first = actions.get_attr("TCA_ACT_PRIO_1") if actions else None
    if not first or first.get_attr("TCA_ACT_KIND") != "mirred":
        return 0
    parms = first.get_attr("TCA_ACT_OPTIONS").get_attr("TCA_MIRRED_PARMS")
    return int(parms["ifindex"]) if parms and parms["eaction"] == _MIRROR_EGRESS else 0


def _add_tee(route: Any, source: int, direction: str, to: int) -> None:
    """The copy goes out of ``to``; whatever other filters there are see the frame after it."""
    if not any(each.get_attr("TCA_KIND") == "clsact" for each in route.get_qdiscs(index=source)):
        route.tc("add", "clsact", source)
    copy = {"kind": "mirred", "direction": "egress", "action": "mirror", "ifindex": to}
    go_on = {"kind": "gact", "action": "unspec"}
    route.tc(
        "add-filter",
        "matchall",
        source,
        handle=HANDLE,
        parent=_PARENTS[direction],
        protocol=_ANY_PROTOCOL,
        action=[copy, go_on],
    )


def _remove_tee(route: Any, source: int, tee: Tee) -> None:
    """With the last filter of an interface goes what holds them."""
    route.tc(
        "del-filter",
        "matchall",
        source,
        handle=HANDLE,
        parent=_PARENTS[tee.direction],
        protocol=_ANY_PROTOCOL,
        prio=tee.pref,
    )
    parents = _PARENTS.values()
    if not any(list(route.get_filters(index=source, parent=parent)) for parent in parents):
        route.tc("del", "clsact", source)
