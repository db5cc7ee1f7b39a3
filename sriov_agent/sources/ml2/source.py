# SPDX-License-Identifier: Apache-2.0
"""The threads of the source ``ml2``: one reports that the agent lives, one asks and tells Neutron,
and oslo.messaging's own listens. None waits for hardware, and the reconciler for none of them.
"""

import contextlib
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Protocol

from oslo_config import cfg

from sriov_agent import messaging
from sriov_agent.core import fields
from sriov_agent.core.report import Report
from sriov_agent.core.state import Bindings, PortBinding
from sriov_agent.counters import Counters
from sriov_agent.exceptions import InvalidField, SriovAgentError, Unavailable
from sriov_agent.sources import agent_state
from sriov_agent.sources import payload as payloads
from sriov_agent.sources.base import Wake
from sriov_agent.sources.ml2 import ovo, rpc, write_back
from sriov_agent.sources.ml2.asking import Asking, delays
from sriov_agent.sources.ml2.events import Endpoint, Events
from sriov_agent.sources.ml2.status import Said, news
from sriov_agent.sources.neutron import Changed
from sriov_agent.sources.ports import Ports

LOG = logging.getLogger(__name__)

Json = object

#: The version in which trunks are pulled; they are not listened for.
TRUNK_VERSION = "1.1"
#: How long an agent that is new to Neutron, or had been given up, may wait for pushes in its
#: versions, and how often it lists its ports meanwhile. Source: ``VERSIONS_TTL`` in
#: ``neutron/api/rpc/callbacks``.
UNPUSHED_SECONDS = 75.0
UNPUSHED_LIST_SECONDS = 5.0
#: How long is waited with what an event makes it necessary to ask or tell, and a VF does not wait
#: for: the pass that it wakes comes first, and one question is enough for a burst of events.
SETTLE_SECONDS = 0.5
#: The most that is waited at a stop for threads that are busy with Neutron or the broker.
STOP_SECONDS = 4.0


class Profiles(Protocol):
    """Neutron's API, where ``binding:profile`` is written; see ``sources/neutron.py``."""

    def update_binding_profile(
        self, port_id: str, profile: Mapping[str, Json], revision: int
    ) -> Json: ...


class Ml2:
    """The ports that Neutron has bound to this host.

    :param state: what :func:`sriov_agent.sources.agent_state.configurations` makes of a report
    :param pins: versions of the objects that are pushed, by name
    :param neutron: where VF and switch port of a port are written to; ``None``: nowhere
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        ports: Ports,
        counters: Counters,
        *,
        state: Callable[[Report], Mapping[str, Json]],
        pins: Mapping[str, str],
        neutron: Profiles | None = None,
    ) -> None:
        self.ports = ports
        self.counters = counters
        self.host: str = conf.host
        self._pins = dict(pins)
        self._state = state
        self._report_interval: float = conf.agent.report_interval
        self._list_interval: float = conf.ml2_agent.list_interval
        self._transport = messaging.transport(conf)
        self._server = rpc.Server(self._transport, self.host, f"sriov-agent.{self.host}")
        self.events = Events(self.host, ports, counters, self)
        topics = [f"neutron-vo-{name}-{version}" for name, version in self._pins.items()]
        topics += [f"q-agent-notifier-{event}" for event in _EVENTS]
        self._listener = rpc.Listener(
            self._transport, topics, Endpoint(self.events).take, self.ask_all
        )
        self._asking = Asking(self._ask)
        self._stop = threading.Event()
        self._listening = threading.Event()
        self._closed = threading.Event()
        self._report = Report()
        self._neutron = neutron
        self._said: dict[str, Said] = {}
        self._listed = bool(ports.all())
        self._pushed_from = 0.0
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (
                ("listener", self._listen),
                ("heartbeat", self._live),
                ("asking", self._question),
            )
        ]

    def start(self, wake: Wake) -> None:
        """Begin to report, to listen and to ask."""
        self.events.wake = wake
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Report no more. What still waits for Neutron or the broker ends with the process."""
        self._stop.set()
        self._listening.set()
        self._asking.stop()
        threading.Thread(target=self._close, name="closing", daemon=True).start()
        self._closed.wait(STOP_SECONDS)

    def _close(self) -> None:
        listening, *others = self._threads
        try:
            listening.join()
            self._listener.stop()
            for thread in others:
                thread.join()
            self._closed.set()
            self._transport.cleanup()
        except Exception as error:
            LOG.info("the broker was not told that the agent stops: %s", messaging.explained(error))

    def bindings(self) -> Bindings:
        """The ports of this host now.

        :raises Unavailable: until Neutron was asked once, where nothing is known from before
        """
        if not self._listed:
            raise Unavailable("Neutron was not heard of yet: which ports are here is unknown")
        return self.ports.bindings()

    def tell(self, report: Report) -> None:
        """What the last pass saw; Neutron hears of it from a thread."""
        self._report = report
        self._asking.put("status")

    # What events ask for; see :class:`sriov_agent.sources.ml2.events.Questions`.

    def ask_ports(self, port_ids: Iterable[str]) -> None:
        self._asking.put("ports", port_ids)

    def ask_policies(self) -> None:
        self._asking.put("policies")

    def ask_not_pushed(self) -> None:
        self._asking.put("not pushed", after=SETTLE_SECONDS)

    def ask_trunks(self) -> None:
        self._asking.put("trunks")

    def ask_all(self) -> None:
        self._asking.put("list")

    def tell_status(self) -> None:
        self._asking.put("status", after=SETTLE_SECONDS)

    def _live(self) -> None:
        """Report every ``report_interval`` seconds that the agent lives."""
        begin = agent_state.first_only(self._pins)
        first: dict[str, object] = begin
        answered: str | None = ""
        retry = delays()
        self._listening.wait()
        while not self._stop.is_set():
            began = time.monotonic()
            before, answered, pause = answered, None, self._report_interval
            try:
                state = agent_state.agent_state(
                    self.host, self._state(self._report), str(uuid.uuid4())
                )
                arguments = agent_state.report_arguments({**state, **first}, datetime.now(UTC))
                answered = self._server.report_state(arguments)
                retry = delays()
                self.counters.count("heartbeats")
                if answered is None:
                    self.counters.count("heartbeats.ignored")
                    LOG.error(
                        "Neutron ignored the report, which is older than neutron-server: set the "
                        "clock of this host"
                    )
                elif answered == "new" and not first:
                    # Somebody deleted the agent in Neutron: what to push is forgotten with it.
                    first, pause = begin, 0.0
                else:
                    first = {}
            except SriovAgentError as error:
                LOG.error("not reported: %s", error)
                pause = min(pause, next(retry))
            except Exception:
                LOG.exception("not reported")
            if answered:
                self.counters.set("heartbeats.answered_at", int(time.time()))
            if answered and (not before or answered != "alive"):
                LOG.info("Neutron says that this agent is %s", answered)
                if answered != "alive":
                    self._pushed_from = time.monotonic() + UNPUSHED_SECONDS
                self.ask_all()
            self._stop.wait(max(0.0, began + pause - time.monotonic()))

    def _listen(self) -> None:
        """Begin to listen; before, Neutron is neither asked nor told anything."""
        for delay in delays():
            if self._stop.is_set():
                return
            try:
                self._listener.start()
            except SriovAgentError as error:
                LOG.error("cannot listen to Neutron: %s", error)
                self._stop.wait(delay)
            else:
                self._listening.set()
                return

    def _question(self) -> None:
        self._listening.wait()
        self._asking.run()

    def _ask(self, what: str, port_ids: frozenset[str]) -> None:
        """One question, in the thread that asks.

        :raises SriovAgentError: if it is to be asked again
        """
        match what:
            case "ports":
                self._pull_ports(port_ids)
            case "policies":
                self._pull_policies(self.events.policies_in_use() - self.ports.policies().keys())
            case "not pushed":
                self._take_not_pushed(self._here())
            case "list":
                self._list()
            case "status":
                self._tell_status()
            case "trunks":
                self._look_up_trunks()

    def _list(self) -> None:
        """Every port of this host; what was missed while nobody listened is made good."""
        self.events.begin_list()
        entries = self._here()
        failed = {
            port_id
            for port_id, entry in entries.items()
            if entry.get("binding:vif_type") == "binding_failed"
        }
        if failed:
            LOG.info("having ports bound again whose binding failed: %s", ", ".join(failed))
            self._server.bind_again(failed)
        self._pull_ports(entries)
        self._take_not_pushed(entries)
        self.events.end_list(entries)
        used = self.events.policies_in_use()
        self._pull_policies(used)
        self.ports.keep_policies(used | self.events.policies_in_use())
        self.counters.count("events.lists")
        if not self._listed:
            self._listed = True
            self.events.wake(None)
        soon = time.monotonic() < self._pushed_from
        interval = min(UNPUSHED_LIST_SECONDS, self._list_interval) if soon else self._list_interval
        self._asking.put("list", after=interval * random.uniform(0.9, 1.1))  # noqa: S311

    def _here(self) -> dict[str, Mapping[str, Json]]:
        """The ports that are bound to this host, or were to be, by id."""
        entries: dict[str, Mapping[str, Json]] = {}
        for listed in self._server.ports():
            with self._understood("port"):
                entry = payloads.mapping(listed, "port")
                if entry.get("binding:host_id") == self.host:
                    entries[payloads.identity(entry)[0]] = entry
        return entries

    def _take_not_pushed(self, entries: Mapping[str, Mapping[str, Json]]) -> None:
        sub_ports: dict[str, list[list[Json]]] = {}
        for primitive in self._server.objects("Trunk", TRUNK_VERSION, entries, "port_id"):
            with self._understood("trunk"):
                parent, found = ovo.trunk(primitive)
                sub_ports[parent] = found
        for port_id, entry in entries.items():
            with self._understood("port"):
                self.events.not_pushed(entry, sub_ports.get(port_id))

    def _pull_ports(self, port_ids: Iterable[str]) -> None:
        asked = frozenset(port_ids)
        for primitive in self._server.objects("Port", self._pins["Port"], asked):
            with self._understood("port"):
                self.events.port(primitive)

    def _pull_policies(self, policy_ids: Iterable[str]) -> None:
        asked = frozenset(policy_ids)
        for primitive in self._server.objects("QosPolicy", self._pins["QosPolicy"], asked):
            with self._understood("QoS policy"):
                self.events.policy("updated", primitive)

    def _look_up_trunks(self) -> None:
        """The networks of subports, and where those are."""
        lacking = self.ports.lacking()
        networks: dict[str, str] = {}
        for primitive in self._server.objects("Port", self._pins["Port"], lacking.sub_ports):
            with self._understood("subport"):
                entry = ovo.data(primitive, "Port")
                network_id = fields.port_id(entry.get("network_id"), "network_id")
                networks[ovo.port_id(primitive)] = network_id
        woken = self.ports.put_sub_ports(networks) if networks else frozenset()
        for network_id in self.ports.lacking().networks:
            with self._understood("network"):
                found = payloads.read_network(self._server.network(network_id))
                woken |= self.ports.put_network(found) if found else frozenset()
        if woken:
            self.events.wake(woken)

    def _tell_status(self) -> None:
        here = (port for port in self.ports.all() if not port.error)
        if any("propagate_uplink_status" not in port.document for port in here):
            self.ask_not_pushed()
        bindings = self.ports.bindings().ports
        said = news(bindings, self._report, self._said)
        if not said:
            return
        if neutron := self._neutron:
            said = {
                port: word
                for port, word in said.items()
                if not (word.up and self._wrote_back(neutron, bindings[port]))
            }
        up = {port for port, word in said.items() if word.up}
        failed = self._server.set_status(up, said.keys() - up)
        for port, word in said.items():
            if port not in failed:
                LOG.info("port %s: told Neutron that it is %s", port, "up" if word.up else "down")
                self._said[port] = word
        self._said = {port: word for port, word in self._said.items() if port in bindings}
        if failed:
            raise Unavailable(
                f"Neutron did not take the status of the ports {', '.join(sorted(failed))}; its "
                "log says why"
            )

    def _wrote_back(self, neutron: Profiles, binding: PortBinding) -> bool:
        """Whether the port's profile was written: Neutron binds it again and says so."""
        port_id = binding.port_id
        row, entry = self.ports.get(port_id), self._report.ports.get(port_id)
        if row is None or entry is None:
            return False
        known = payloads.mapping(row.document.get("profile") or {}, "profile")
        wanted = write_back.profile(binding, known, entry, self.host)
        if wanted is None:
            return False
        try:
            neutron.update_binding_profile(port_id, wanted, row.revision_number)
        except Changed:
            self.ask_ports({port_id})
        except SriovAgentError as error:
            LOG.error("port %s: where it is was not written to its profile: %s", port_id, error)
            return False
        return True

    @contextlib.contextmanager
    def _understood(self, what: str) -> Iterator[None]:
        try:
            yield
        except InvalidField as error:
            self.events.refused(f"a {what} that was asked for", error)


#: The fanouts that neutron-sriov-nic-agent listens to, without ``security_group-update``.
_EVENTS = ("port-update", "port-delete", "network-update", "binding-activate", "binding-deactivate")
