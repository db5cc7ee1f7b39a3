# SPDX-License-Identifier: Apache-2.0
"""A kernel with bridges, for host taps, where the machine's own has none.

It keeps interfaces, VLANs and filters, and refuses what rtnetlink refuses: a name that is taken or
too long, a port of what is no bridge, an interface that is not there.
"""

from sriov_agent.core.tap_actions import (
    AddAddress,
    AddTee,
    Join,
    MakeVeth,
    RemoveTee,
    RemoveVeth,
    SetAlias,
    SetUp,
    SetVlan,
)
from sriov_agent.core.taps import Netdev, Ovs, Tee
from sriov_agent.exceptions import Refused, Unavailable
from tests.frozen import replace


class TapKernel:
    """``sriov_agent.taps.Kernel``.

    :param refuses: kinds of actions that it turns down
    """

    def __init__(self):
        self.netdevs = {}
        self.tees = set()
        self.refuses = ()
        self.done = []

    def add(self, name, **given):
        self.netdevs[name] = Netdev(name=name, **given)

    def change(self, name, **given):
        self.netdevs[name] = replace(self.netdevs[name], **given)

    def remove(self, name):
        """As ``ip link del``: a veth goes with its peer, and copies that went there go nowhere."""
        gone = {name, self.netdevs[name].peer} - {""}
        for each in gone:
            self.netdevs.pop(each, None)
        left = (tee for tee in self.tees if tee.source not in gone)
        self.tees = {replace(tee, to="") if tee.to in gone else tee for tee in left}

    def look(self):
        return dict(self.netdevs), frozenset(self.tees)

    def apply(self, action):
        if isinstance(action, self.refuses):
            raise Refused(f"the kernel refuses to {action}: Operation not permitted")
        why = self._apply_tee(action) if isinstance(action, AddTee | RemoveTee) else ""
        why = why or self._apply_link(action)
        if why:
            raise Refused(f"the kernel refuses to {action}: {why}")
        self.done.append(action)

    def _apply_link(self, action):
        """Why it is refused, "" if it is not."""
        match action:
            case MakeVeth(name, end, mtu):
                if {name, end} & self.netdevs.keys() or max(len(name), len(end)) > 15:
                    return "File exists"
                self.add(end, kind="veth", peer=name, mtu=mtu)
                self.add(name, kind="veth", peer=end, mtu=mtu)
            case RemoveVeth(end):
                self._there(end)
                self.remove(end)
            case SetAlias(netdev, alias):
                self._there(netdev)
                self.change(netdev, alias=alias)
            case Join(netdev, bridge):
                self._there(netdev)
                if self._there(bridge).kind != "bridge":
                    return "Operation not supported"
                self.change(netdev, master=bridge, vlans=frozenset({(1, True, True)}))
            case SetVlan(netdev, vlan, others):
                had = self._there(netdev).vlans
                if not self.netdevs[netdev].master or not set(others) <= {each[0] for each in had}:
                    return "Invalid argument"
                left = {entry for entry in had if entry[0] not in (*others, vlan)}
                self.change(netdev, vlans=frozenset(left | {(vlan, True, True)}))
            case SetUp(netdev):
                self._there(netdev)
                self.change(netdev, up=True)
            case AddAddress(netdev, address):
                if address in self._there(netdev).addresses:
                    return "File exists"
                self.change(netdev, addresses=self.netdevs[netdev].addresses | {address})
        return ""

    def _apply_tee(self, action):
        if isinstance(action, RemoveTee):
            if action.tee not in self.tees:
                return "No such file or directory"
            self.tees.remove(action.tee)
            return ""
        self._there(action.source)
        self._there(action.to)
        tee = Tee(source=action.source, direction=action.direction, to=action.to, pref=49152)
        self.tees.add(tee)
        return ""

    def _there(self, name):
        if name not in self.netdevs:
            raise Unavailable(f"interface {name} is gone")
        return self.netdevs[name]


class NoOpenVswitch:
    """``sriov_agent.taps.OpenVswitch``, where there is none, or one without ports."""

    def __init__(self):
        self.there = False

    def look(self):
        if not self.there:
            raise Unavailable("/run/openvswitch/db.sock: No such file or directory")
        return Ovs()

    def apply(self, action):
        raise Unavailable("/run/openvswitch/db.sock: No such file or directory")
