# SPDX-License-Identifier: Apache-2.0
"""``notifications``: ports come from Neutron's notifier, over oslo.messaging.

Source: Neutron's ``NotifierHook``; ``<resource>.<create|update|delete>.end`` on exchange
``neutron``, topic ``notifications``.
"""

import logging
import threading
import time
import warnings
from collections.abc import Callable

from oslo_config import cfg

with warnings.catch_warnings():
    # Its dependencies import eventlet where it is installed; nothing here uses it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import oslo_messaging

from sriov_agent.core import fields
from sriov_agent.core.report import Report
from sriov_agent.core.state import Bindings
from sriov_agent.counters import Counters
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.sources import payload as payloads
from sriov_agent.sources.base import Wake
from sriov_agent.sources.ports import Port, Ports

LOG = logging.getLogger(__name__)

Json = object

#: Between a notification that could not be kept and the next try.
REQUEUE_SECONDS = 1.0
#: Between two tries to listen, when the broker refuses.
RETRY_SECONDS = 10.0


class Notifications:
    """A listener with a pool of its own; what it hears goes to the table of ports."""

    def __init__(self, conf: cfg.ConfigOpts, ports: Ports, counters: Counters) -> None:
        self.ports = ports
        options = conf.notifications
        self._events = Events(conf.host, ports, counters)
        oslo_messaging.set_transport_defaults(options.exchange)
        self._transport = oslo_messaging.get_notification_transport(conf)
        self._target = oslo_messaging.Target(exchange=options.exchange, topic=options.topic)
        self._pool = options.pool or f"sriov-agent-{conf.host}"
        self._stop = threading.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="notifications", daemon=True)

    def start(self, wake: Wake) -> None:
        """Begin to listen, as soon as the broker can be reached: ports known go on meanwhile."""
        self._events.wake = wake
        self._thread.start()

    def stop(self) -> None:
        """Listen no more. A thread that still waits for the broker ends with the process."""
        self._stop.set()
        if self._listening.is_set():
            self._thread.join()
            self._transport.cleanup()

    def tell(self, report: Report) -> None:
        """Nobody waits for it."""

    def bindings(self) -> Bindings:
        return self.ports.bindings()

    def _listen(self) -> None:
        while not self._stop.is_set():
            listener = oslo_messaging.get_notification_listener(
                self._transport,
                [self._target],
                [Endpoint(self._events)],
                executor="threading",
                pool=self._pool,
                allow_requeue=True,
            )
            try:
                # One at a time, in their order: a tenant's word is added to what was said before.
                listener.start(override_pool_size=1)
            except Exception:
                LOG.exception("cannot listen for notifications")
                self._stop.wait(RETRY_SECONDS)
                continue
            self._listening.set()
            self._stop.wait()
            listener.stop()
            listener.wait()


class Endpoint:
    """What oslo.messaging calls, once for each notification of priority INFO."""

    filter_rule = oslo_messaging.NotificationFilter(
        event_type=r"^(port|network)\.(create|update|delete)\.end$"
    )

    def __init__(self, events: "Events") -> None:
        self._events = events

    def info(
        self, context: Json, publisher_id: str, event_type: str, payload: Json, metadata: Json
    ) -> oslo_messaging.NotificationResult:
        """Take one notification in; never raises, whatever it holds.

        One that could not be kept goes back to the broker: nothing is lost.
        """
        try:
            self._events.take(event_type, payload)
        except Unavailable as error:
            LOG.error("%s: cannot be kept, and is asked for again: %s", event_type, error)
            time.sleep(REQUEUE_SECONDS)
            return oslo_messaging.NotificationResult.REQUEUE
        return oslo_messaging.NotificationResult.HANDLED


class Events:
    """Puts events into the table of ports and wakes whoever is concerned.

    :param host: this host's name; ports bound elsewhere are none of ours
    """

    def __init__(self, host: str, ports: Ports, counters: Counters) -> None:
        self.host = host
        self.ports = ports
        self.counters = counters
        self.wake: Wake = lambda keys: None

    def take(self, event_type: str, payload: Json) -> None:
        """One event. Bad input is logged, counted and, where it names a port, kept for it.

        :raises Unavailable: if the event could not be kept
        """
        resource, operation, _ = event_type.split(".")
        self.counters.count("events.received")
        try:
            if operation == "delete":
                self._deleted(resource, payload)
            elif resource == "port":
                self._each(payloads.ports(payload), self._port)
            else:
                self._each(payloads.networks(payload), self._network)
        except InvalidField as error:
            self._refused(event_type, error)
        except Unavailable:
            raise
        except Exception:
            self.counters.count("events.failed")
            LOG.exception("%s: not understood", event_type)

    def _each(self, entries: list[Json], take: Callable[[Json], None]) -> None:
        for entry in entries:
            try:
                take(entry)
            except InvalidField as error:
                self._refused(_name(entry), error)

    def _deleted(self, resource: str, payload: Json) -> None:
        if resource == "port":
            port_id = payloads.deleted_id(payload, "port")
            if self.ports.delete(port_id):
                self.wake(frozenset({port_id}))

    def _network(self, entry: Json) -> None:
        network = payloads.read_network(entry)
        if network:
            concerned = self.ports.put_network(*network)
            if concerned:
                self.wake(concerned)

    def _port(self, entry: Json) -> None:
        port_id, revision = payloads.identity(entry)
        known = self.ports.get(port_id)
        if known and known.revision_number > revision:
            self.counters.count("events.stale")
            return
        try:
            said = payloads.read_port(entry, self.host)
        except InvalidField as error:
            self._refused_port(entry, known, revision, error)
            return
        ours = known is not None and known.bound
        if not ours and said.bound is None:
            self.counters.count("events.ignored")
            return
        document = dict(said.document)
        network_id = said.network_id
        error_before = ""
        if said.bound is None and known:
            document = {**known.document, **document}
            network_id = known.network_id
            error_before = "" if "vnic_type" in document else known.error
        port = Port(
            port_id=port_id,
            revision_number=revision,
            bound=said.bound is not False,
            network_id=network_id,
            document=document,
            error=error_before,
        )
        kept = self.ports.put(port)
        if not ours and not said.bound:
            self.counters.count("events.ignored")
        elif kept:
            self.wake(frozenset({port_id}))

    def _refused_port(
        self, entry: Json, known: Port | None, revision: int, error: InvalidField
    ) -> None:
        """Keep the error with a port that is, or would be, bound here; it keeps what it has.

        If the binding was part of what was refused, what is known of it is out of date: only
        who sees bindings can mend it.
        """
        self._refused(_name(entry), error)
        ours = known is not None and known.bound
        if not ours and not (isinstance(entry, dict) and entry.get("binding:host_id") == self.host):
            return
        document = dict(known.document) if known else {}
        if isinstance(entry, dict) and "binding:host_id" in entry:
            document.pop("vnic_type", None)
        self.ports.put(
            Port(
                port_id=payloads.identity(entry)[0],
                revision_number=revision,
                bound=True,
                network_id=known.network_id if known else "",
                document=document,
                error=str(error),
            )
        )
        self.wake(frozenset({payloads.identity(entry)[0]}))

    def _refused(self, what: str, error: InvalidField) -> None:
        self.counters.count("events.rejected")
        LOG.error("%s: %s", what, error)


def _name(entry: Json) -> str:
    named = entry.get("id") if isinstance(entry, dict) else None
    try:
        return f"port or network {fields.port_id(named)}"
    except InvalidField:
        return "port or network without an id"
