# SPDX-License-Identifier: Apache-2.0
"""``notifications``: ports come from Neutron's notifier, over oslo.messaging.

Source: Neutron's ``NotifierHook``; ``<resource>.<create|update|delete>.end`` on exchange
``neutron``, topic ``notifications``.
"""

import logging
import threading
import time
import warnings

from oslo_config import cfg

with warnings.catch_warnings():
    # Its dependencies import eventlet where it is installed; nothing here uses it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import oslo_messaging

from sriov_agent.core.state import Bindings
from sriov_agent.counters import Counters
from sriov_agent.exceptions import Unavailable
from sriov_agent.sources.base import Wake
from sriov_agent.sources.events import Events
from sriov_agent.sources.ports import Ports

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

    def __init__(self, events: Events) -> None:
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
