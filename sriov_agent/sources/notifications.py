# SPDX-License-Identifier: Apache-2.0
"""``notifications``: ports come from Neutron's notifier, over oslo.messaging.

Source: Neutron's ``NotifierHook``; ``<resource>.<create|update|delete>.end`` on exchange
``neutron``, topic ``notifications``.
"""

import logging
import re
import threading
import time
import warnings
from typing import Any

from oslo_config import cfg

with warnings.catch_warnings():
    # Its dependencies import eventlet where it is installed; nothing here uses it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import oslo_messaging

from sriov_agent.core.report import Report
from sriov_agent.core.state import Bindings
from sriov_agent.counters import Counters
from sriov_agent.exceptions import Unavailable, printable
from sriov_agent.sources.base import Wake
from sriov_agent.sources.events import Events
from sriov_agent.sources.lookups import Lookups
from sriov_agent.sources.neutron import Neutron, configured
from sriov_agent.sources.ports import Ports

LOG = logging.getLogger(__name__)

Json = object

#: Between a notification that could not be kept and the next try.
REQUEUE_SECONDS = 1.0
#: Between two tries to listen, when the broker refuses.
RETRY_SECONDS = 10.0
#: Between two looks at whether the broker was reconnected to.
CONNECTION_SECONDS = 1.0

_EVENTS = re.compile(r"(port|network)\.(create|update|delete)\.end")


class Notifications:
    """A listener with a pool of its own; what it hears goes to the table of ports.

    With ``[neutron]``, what is not notified is looked up, in a thread of its own.

    :raises ConfigError: if an option of ``[neutron]`` cannot work
    """

    def __init__(self, conf: cfg.ConfigOpts, ports: Ports, counters: Counters) -> None:
        self.ports = ports
        options = conf.notifications
        self._counters = counters
        self._events = Events(conf.host, ports, counters)
        self._lookups: Lookups | None = None
        if configured(conf.neutron):
            neutron = Neutron(conf.neutron)
            self._lookups = Lookups(neutron, self._events, options.list_interval)
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
        if self._lookups:
            self._events.taken = self._lookups.look
            self._lookups.start()
        else:
            LOG.warning(
                "[neutron] auth_url is not set: ports that were bound or unbound while nobody "
                "listened stay unknown, and so do networks that were made before, and trunks"
            )
        self._thread.start()

    def stop(self) -> None:
        """Listen no more. A thread that still waits for the broker ends with the process."""
        self._stop.set()
        if self._lookups:
            self._lookups.stop()
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
            listener.dispatcher = Forgiving(listener.dispatcher, self._counters)
            try:
                # One at a time, in their order: a tenant's word is added to what was said before.
                listener.start(override_pool_size=1)
            except Exception:
                LOG.exception("cannot listen for notifications")
                self._stop.wait(RETRY_SECONDS)
                continue
            self._listening.set()
            self._watch(listener)
            listener.stop()
            listener.wait()

    def _watch(self, listener: object) -> None:
        """Until the end: what was said while the broker was away may be lost, so list again."""
        known = None
        while not self._stop.is_set():
            channel = _channel(listener)
            if channel is not None and channel is not known:
                known = channel
                if self._lookups:
                    self._lookups.list_soon()
            self._stop.wait(CONNECTION_SECONDS)


def _channel(listener: object) -> object:
    """The AMQP channel that is listened on, another one after each reconnection.

    oslo.messaging tells nobody of those. ``None`` where there is no connection, or another driver:
    then only the timer lists.
    """
    found = listener
    for name in ("listener", "_poll_style_listener", "conn", "channel"):
        try:
            found = getattr(found, name, None)
        except Exception:  # while it is closed
            return None
    return found


class Forgiving:
    """A dispatcher for which no message is worth another try but one that could not be kept.

    oslo.messaging gives back to the broker what it cannot read itself, such as a priority that is
    no text, and would get it again for ever.
    """

    def __init__(self, dispatcher: Any, counters: Counters) -> None:
        self._dispatcher = dispatcher
        self._counters = counters

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dispatcher, name)

    def dispatch(self, incoming: object) -> Any:
        """Never raises."""
        try:
            return self._dispatcher.dispatch(incoming)
        except Exception as error:
            self._counters.count("events.malformed")
            LOG.error("a message that is no notification: %s", printable(str(error)))
            return oslo_messaging.NotificationResult.HANDLED


class Endpoint:
    """What oslo.messaging calls, once for each notification of priority INFO."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def info(
        self, context: Json, publisher_id: Json, event_type: Json, payload: Json, metadata: Json
    ) -> oslo_messaging.NotificationResult:
        """Take one notification in; never raises, whatever it holds.

        One that could not be kept goes back to the broker: nothing is lost.
        """
        if not isinstance(event_type, str) or not _EVENTS.fullmatch(event_type):
            return oslo_messaging.NotificationResult.HANDLED
        try:
            self._events.take(event_type, payload)
        except Unavailable as error:
            LOG.error("%s: cannot be kept, and is asked for again: %s", event_type, error)
            time.sleep(REQUEUE_SECONDS)
            return oslo_messaging.NotificationResult.REQUEUE
        return oslo_messaging.NotificationResult.HANDLED
