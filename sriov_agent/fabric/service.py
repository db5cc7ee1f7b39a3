# SPDX-License-Identifier: Apache-2.0
"""The device manager: one worker a switch, a listener on the broker, and a socket for sriovctl."""

import logging
import threading
from collections.abc import Iterable, Sequence

from oslo_config import cfg

from sriov_agent import messaging, metrics
from sriov_agent.conf import device_manager as options
from sriov_agent.control import Control
from sriov_agent.core.metrics import Family
from sriov_agent.counters import Counters
from sriov_agent.exceptions import SriovAgentError
from sriov_agent.fabric import parts
from sriov_agent.fabric.measured import Measured, families
from sriov_agent.fabric.model import Link
from sriov_agent.fabric.requests import Requests, switch_port
from sriov_agent.fabric.rpc import Server
from sriov_agent.fabric.view import View
from sriov_agent.fabric.wants import Wanted, wanted
from sriov_agent.fabric.worker import Worker
from sriov_agent.systemd import Systemd

LOG = logging.getLogger(__name__)


class DeviceManager:
    """Stores what hosts want, and has every switch carry it.

    :raises ConfigError: if an option cannot work
    """

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.counters = Counters()
        self.rules = parts.rules(conf)
        self.inventory = parts.inventory(conf)
        self.state = parts.state(conf)
        policy = parts.policy(conf)
        self.switches = {name: Measured(parts.switch(conf, name)) for name in self.rules}
        self.workers = {
            name: Worker(
                self.switches[name], rules, self.state, policy, self.everything, self._told
            )
            for name, rules in self.rules.items()
        }
        self.requests = Requests(
            self.state,
            self.rules,
            self.inventory,
            parts.host_key_secret(conf),
            self._wanted_otherwise,
            self.counters,
        )
        self._server = Server(
            messaging.transport(conf), conf.device_manager.member, self.requests.answer
        )
        view = View(self.workers, self.state, self.everything, conf.device_manager.silent_after)
        self._control = Control(options.socket_path(conf), view.operations())
        self._stop = threading.Event()
        self._systemd = Systemd()
        self.web = metrics.observed(
            conf.metrics.listen, conf.metrics.port, self.families, self.unhealthy
        )

    def families(self) -> Sequence[Family]:
        """What there is to measure now; from any thread."""
        return families(self.switches, self.state.statuses(), self.counters.snapshot())

    def unhealthy(self) -> str:
        """Why the manager does not do its work, "" if it does; from any thread."""
        ended = [name for name, worker in self.workers.items() if not worker.alive]
        return f"nobody sees to switch {', '.join(ended)} any more" if ended else ""

    def everything(self) -> Wanted:
        """The wants of all hosts, placed."""
        return wanted(self.state.wants(), self.rules, self.inventory)

    def run(self) -> None:
        """Serve until :meth:`stop`. What is open stays: a stop changes no switch.

        :raises ConfigError: if the state can never be used
        """
        if self.web:
            self.web.start()
        self.state.start(self._wake_all)
        try:
            self._control.start()
        except SriovAgentError as error:
            LOG.error("sriovctl cannot ask this manager: %s", error)
        for worker in self.workers.values():
            worker.start()
        self._server.start()
        self._systemd.ready(self.unhealthy)
        self._systemd.tell(STATUS=f"{len(self.workers)} switches")
        try:
            self._stop.wait()
        finally:
            self._systemd.stopping()
            self._server.stop()
            for worker in self.workers.values():
                worker.stop()
            self._control.stop()
            self.state.stop()
            if self.web:
                self.web.stop()

    def stop(self) -> None:
        """Have :meth:`run` return after the transactions that run; from any thread."""
        self._stop.set()

    def _wake_all(self) -> None:
        self._wanted_otherwise(self.workers)

    def _wanted_otherwise(self, switches: Iterable[str]) -> None:
        for name in switches:
            self.workers[name].wake()

    def _told(self, links: Iterable[Link]) -> None:
        """Tell each host of its links; what those are called is in its wants."""
        chosen = frozenset(links)
        by_host: dict[str, list[Link]] = {}
        for link in chosen:
            by_host.setdefault(link.host, []).append(link)
        wants = {want.link: want for want in self.state.wants()} if chosen else {}
        for host, theirs in by_host.items():
            self._server.tell(host, [switch_port(wants[at]) for at in theirs if at in wants])
