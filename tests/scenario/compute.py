# SPDX-License-Identifier: Apache-2.0
"""A compute node: the agent's own parts over a kernel, leaf switches and LLDP that keep state."""

from collections.abc import Mapping
from pathlib import Path

from sriov_agent.core.model import SwitchPort, VfSettings
from sriov_agent.core.report import PortReport, Report
from sriov_agent.core.state import ALL, Claim, Interface, Scope
from sriov_agent.counters import Counters
from sriov_agent.hook.background import Background
from sriov_agent.libvirt.files import InterfaceFiles
from sriov_agent.reconciler import Reconciler
from sriov_agent.sources.notifications import Events
from sriov_agent.sources.ports import Ports
from sriov_agent.store import Store
from tests.fakes.guests import Guests
from tests.fakes.kernel import Kernel
from tests.fakes.steps import Stepped, Steps
from tests.fakes.switches import Fabric, Lldp
from tests.topology import HOST, PF_A, PF_B, neighbor, port_id


class AtOnce:
    """What is put is done."""

    def put(self, job):
        job()


class Compute:
    """PF_A and PF_B of :mod:`tests.topology`, and everything that outlives the agent."""

    def __init__(
        self, directory: Path, lacking: frozenset[str] = frozenset(), num_vfs: int = 4
    ) -> None:
        self.directory = directory
        self.kernel = Kernel(PF_A, PF_B, lacking=lacking, num_vfs=num_vfs)
        self.fabric = Fabric()
        self.guests = Guests(self.kernel)
        self.lldp = Lldp({PF_A: [neighbor()], PF_B: [neighbor(leaf=2)]})
        self.steps = Steps()
        self.seconds = 0.0
        self.start()

    def start(self) -> None:
        """A new process of the agent, which remembers nothing that is not in a file."""
        self.kernel.restart_agent()
        self.counters = Counters()
        self.ports = Ports(self.directory / "ports.db")
        self.store = Store(self.directory / "agent.db")
        self.interfaces = InterfaceFiles(self.directory / "interfaces")
        self.events = Events(HOST, self.ports, self.counters)
        self.woken: list[frozenset[str] | None] = []
        self.events.wake = self.woken.append
        record = ("record", "drop", "record_switch_port", "drop_switch_port", "record_cabling")
        self.reconciler = Reconciler(
            source=self.ports,
            host=Stepped(self.kernel, self.steps, "set_vfs"),
            lldp=self.lldp,
            interfaces=Stepped(self.interfaces, self.steps, "write", "remove"),
            fabric=Background(Stepped(self.fabric, self.steps, "apply"), jobs=AtOnce()),
            record=Stepped(self.store, self.steps, *record),
            domains=self.guests,
            clock=lambda: self.seconds,
        )

    def hear(self, event_type: str, payload: object, unheeded: bool = False) -> None:
        """One notification, and the passes that it wakes the agent for, unless that is busy."""
        self.events.take(event_type, payload)
        if unheeded:
            self.woken.clear()
        while self.woken:
            keys = self.woken.pop(0)
            self.reconcile(ALL if keys is None else Scope(keys))

    def reconcile(self, scope: Scope = ALL) -> Report:
        self.last = self.reconciler.reconcile(scope)
        return self.last

    def report(self, number: int) -> PortReport:
        """What the last pass said of a port."""
        return self.last.ports[port_id(number)]

    def settings(self) -> dict[str, VfSettings]:
        return self.kernel.settings()

    def state(self) -> dict[str, object]:
        """Everything that can be seen from outside, to compare."""
        return {
            "claims": self.store.claims(),
            "vfs": self.settings(),
            "interfaces": self.files(),
            "fabric": self.open(),
        }

    def files(self) -> dict[str, Interface | None]:
        return self.interfaces.read()

    def claims(self) -> Mapping[str, Claim]:
        return self.store.claims()

    def open(self) -> dict[SwitchPort, frozenset[int]]:
        """The VLANs of every switch port that has any."""
        return {
            at: frozenset(segment.vlan for segment in segments)
            for at, segments in self.fabric.open.items()
            if segments
        }
