# SPDX-License-Identifier: Apache-2.0
"""A switch that several processes reach: a file, with a lock that ends with who has it.

It does as it is told: a VLAN that is added twice is there twice. Its journal tells who did what.
"""

import fcntl
import json
import os
import time

from sriov_agent.exceptions import Unavailable
from sriov_agent.fabric.model import Applied, PortVlans
from sriov_agent.fabric.switch.base import Login, Switch


class FileSwitch(Switch):
    """Ports with lists of VLANs.

    :param directory: where switches and the journal lie
    :param by: who uses it, for the journal
    :param slow: seconds after each step: what it has was read, decided, committed
    :param locks: whether one transaction is had at a time, as with NETCONF's lock
    """

    def __init__(self, directory, name, by="", slow=0.0, locks=True):
        super().__init__(Login(name=name, address="192.0.2.1"))
        self.file = directory / f"{name}.json"
        self.journal = directory / "journal"
        self.by = by
        self.slow = slow
        self.locks = locks

    def put(self, ports):
        """It carries these lists of VLANs by port."""
        part = self.file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(ports))
        part.replace(self.file)

    def ports(self):
        return json.loads(self.file.read_text())

    def describe(self):
        return ["a switch in a file"]

    def read(self, ports):
        found = self.ports()
        return {port: PortVlans(vlans=frozenset(found[port])) for port in ports if port in found}

    def apply(self, ports, decide):
        asked = list(ports)
        with self.file.with_suffix(".lock").open("a") as lock:
            if self.locks:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise Unavailable(f"{self.login.name}: locked by another session") from error
            before = self.read(asked)
            self._step("read")
            changes = decide(before)
            if changes:
                self._step("decided")
                found = self.ports()
                for port, change in changes.items():
                    for vlan in change.add:
                        found[port].append(vlan)
                    for vlan in change.remove:
                        found[port].remove(vlan)
                self.put(found)
                self._step("committed")
            return Applied(before=before, changes=changes, after=self.read(asked))

    def _step(self, step):
        with self.journal.open("a") as journal:
            entry = {"by": self.by, "switch": self.login.name, "step": step}
            journal.write(json.dumps(entry) + "\n")
        time.sleep(self.slow)
