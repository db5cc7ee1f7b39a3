# SPDX-License-Identifier: Apache-2.0
"""A switch that exists only in memory, as the device manager's worker knows switches.

It keeps what it is told and refuses what real ones refuse: a port that it has not, a VLAN out of
range, a trunk that would carry every VLAN. Real switches are under ``tests/switches``.
"""

import threading

from sriov_agent.core.fields import MAX_VLAN
from sriov_agent.exceptions import Refused, Unavailable
from sriov_agent.fabric.model import Applied, PortVlans
from sriov_agent.fabric.switch.base import Login, Switch
from tests.frozen import replace


class ManagedSwitch(Switch):
    """Ports with what they carry.

    ``down``: nobody answers. ``deaf``: it says yes and does nothing. ``mute``: it does what it is
    asked and the answer is lost. ``forbidden``: VLANs that it refuses, each time with everything
    else that was asked. ``commits`` are the changes that were made, one entry each.
    """

    def __init__(self, ports, needs_a_vlan=True):
        super().__init__(Login(name="leaf1", address="192.0.2.1"))
        self.needs_a_vlan = needs_a_vlan
        self.ports = {
            name: each if isinstance(each, PortVlans) else PortVlans(vlans=frozenset(each))
            for name, each in ports.items()
        }
        self.down = self.deaf = self.mute = False
        self.forbidden = frozenset()
        self.commits = []
        self.reads = 0
        self.may = threading.Event()
        self.may.set()

    def vlans(self, port):
        return set(self.ports[port].vlans)

    def put(self, port, vlans):
        """Somebody else changes it."""
        self.ports[port] = replace(self.ports[port], vlans=frozenset(vlans))

    def describe(self):
        self._answer()
        return ["a switch in memory"]

    def read(self, ports):
        self._answer()
        self.reads += 1
        found = {}
        for port in ports:
            if port in self.ports:
                lag = self.ports[port].lag
                found[port] = replace(self.ports[lag], lag=lag) if lag else self.ports[port]
        return found

    def apply(self, ports, decide):
        asked = list(ports)
        before = self.read(asked)
        changes = decide(before)
        if not changes:
            return Applied(before=before, changes=changes, after=before)
        assert self.may.wait(60)
        self._answer()
        if any(port not in before for port in changes):
            raise Refused("a port that was not read is not changed")
        changes = {before[port].lag or port: change for port, change in changes.items()}
        for port, change in changes.items():
            assert not change.add & change.remove
            no = (change.add | change.remove) & self.forbidden
            if no or any(not 1 <= vlan <= MAX_VLAN for vlan in change.add):
                raise Refused(f"invalid-value {sorted(no)}")
            if self.needs_a_vlan and not self._after(port, change):
                raise Refused(f"{port} would carry every VLAN")
        self.commits.append(changes)
        if not self.deaf:
            for port, change in changes.items():
                self.put(port, self._after(port, change))
        if self.mute:
            raise Unavailable("the answer to the commit was lost")
        return Applied(before=before, changes=changes, after=self.read(asked))

    def _after(self, port, change):
        return (self.ports[port].vlans | change.add) - change.remove

    def _answer(self):
        if self.down:
            raise Unavailable("no answer")
