# SPDX-License-Identifier: Apache-2.0
"""Look-ups of what was not notified: a thread that asks Neutron and hands on what it says.

What no answer was given to stays unknown, and nothing changes for it.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from sriov_agent.exceptions import SriovAgentError
from sriov_agent.sources.events import Events

LOG = logging.getLogger(__name__)

Json = Any

#: The first list waits so long for the broker: what is said after it is then heard.
FIRST_LIST_SECONDS = 5.0
#: Between two tries of what failed, or found nothing.
RETRY_SECONDS = 10.0
#: After a reconnection all hosts list at once, so each waits up to this part of the interval.
SPREAD = 1 / 20
#: After a reconnection the queue is bound anew before anything is listed.
SETTLE_SECONDS = 0.5


class Api(Protocol):
    """What is asked of Neutron; see :class:`~sriov_agent.sources.neutron.Neutron`."""

    def sees_all(self) -> bool: ...

    def ports(self, host: str) -> list[Json]: ...

    def port(self, port_id: str) -> Json | None: ...

    def networks(self, network_ids: Iterable[str]) -> list[Json]: ...

    def network_ids(self, port_ids: Iterable[str]) -> dict[str, str]: ...


class Lookups:
    """Lists the ports of the host at the start, when told to and every ``interval`` seconds.

    In between it looks up what the ports bound here lack.
    """

    def __init__(self, neutron: Api, events: Events, interval: float) -> None:
        self.neutron = neutron
        self.events = events
        self.interval = interval
        self._asked = threading.Event()
        self._stop = threading.Event()
        self._reconnected = threading.Event()
        self._not_before: dict[str, float] = {}
        self._complained = False
        self._thread = threading.Thread(target=self._run, name="lookups", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask no more. A thread that still waits for an answer ends with the process."""
        self._stop.set()
        self._asked.set()
        self._thread.join(1.0)

    def look(self) -> None:
        """Something was heard that may lack something; from any thread."""
        self._asked.set()

    def list_soon(self) -> None:
        """The broker was connected to: what was said before may be lost; from any thread."""
        self._reconnected.set()
        self._asked.set()

    def _run(self) -> None:
        next_list = time.monotonic() + min(FIRST_LIST_SECONDS, self.interval)
        first = True
        while not self._stop.is_set():
            self._asked.clear()
            now = time.monotonic()
            if self._reconnected.is_set():
                self._reconnected.clear()
                spread = 0.0 if first else random.uniform(0, self.interval * SPREAD)  # noqa: S311
                next_list = min(next_list, now + SETTLE_SECONDS + spread)
            if now >= next_list:
                first = False
                done = self._tried("the list of this host's ports", self.list_ports)
                pause = self.interval if done else min(RETRY_SECONDS, self.interval)
                next_list = time.monotonic() + pause * random.uniform(0.9, 1.1)  # noqa: S311
            self._tried("a look-up", self.look_up)
            self._asked.wait(max(0.0, self._next(next_list) - time.monotonic()))

    def _next(self, next_list: float) -> float:
        return min([next_list, *self._not_before.values()])

    def _tried(self, what: str, ask: Callable[[], None]) -> bool:
        try:
            ask()
        except SriovAgentError as error:
            self.events.counters.count("lookups.failed")
            LOG.error("%s failed, and nothing changes: %s", what, error)
            return False
        except Exception:
            self.events.counters.count("lookups.failed")
            LOG.exception("%s failed, and nothing changes", what)
            return False
        return True

    def list_ports(self) -> None:
        """Take what Neutron has now; what it has no longer is unbound.

        A port that is missing is asked for by its id, and kept if anything was heard of it
        since the list was asked for.

        :raises Unavailable: if it did not answer, or the answer could not be kept
        :raises Refused: if it answered no
        """
        counters = self.events.counters
        before = self.events.ports.all()
        listed = self.neutron.ports(self.events.host)
        counters.count("lookups.lists")
        self.events.looked_up(listed)
        ids = {port.get("id") for port in listed}
        missing = [port for port in before if port.port_id not in ids]
        if missing and not self.neutron.sees_all():
            if not self._complained:
                self._complained = True
                LOG.warning(
                    "ports that are bound here are not in Neutron's list, which says nothing: the "
                    "user in [neutron] needs the role admin to see the ports of all projects"
                )
            missing = []
        for port in missing:
            found = self.neutron.port(port.port_id)
            if found is None:
                counters.count("lookups.gone")
                self.events.gone(port)
            else:
                self.events.looked_up([found])
        self.events.looked_up([], self.neutron.networks(self.events.ports.networks()))

    def look_up(self) -> None:
        """Ask for what the ports bound here lack, each thing at most every RETRY_SECONDS.

        :raises Unavailable: if Neutron did not answer, or the answer could not be kept
        :raises Refused: if it answered no
        """
        lacking = self.events.ports.lacking()
        for port_id in self._due(lacking.ports):
            found = self.neutron.port(port_id)
            if found is not None:
                self.events.looked_up([found])
        sub_ports = self._due(lacking.sub_ports)
        if sub_ports:
            self.events.took_sub_ports(self.neutron.network_ids(sub_ports))
            lacking = self.events.ports.lacking()
        networks = self._due(lacking.networks)
        if networks:
            self.events.looked_up([], self.neutron.networks(networks))
        lacking = self.events.ports.lacking()
        still = lacking.ports | lacking.networks | lacking.sub_ports
        self._not_before = {key: at for key, at in self._not_before.items() if key in still}

    def _due(self, keys: Iterable[str]) -> list[str]:
        now = time.monotonic()
        due = [key for key in sorted(keys) if self._not_before.get(key, now) <= now]
        self._not_before |= dict.fromkeys(due, now + RETRY_SECONDS)
        if due:
            self.events.counters.count("lookups")
        return due
