# SPDX-License-Identifier: Apache-2.0
"""Neutron's agent RPC over oslo.messaging: calls to the server, fanouts from it.

Source: ``neutron/agent/rpc.py``, ``neutron/plugins/ml2/rpc.py`` and
``neutron/api/rpc/handlers/resources_rpc.py`` of Neutron Xena to 2026.2. No namespace is used, and
a context of ``is_admin`` alone is enough.
"""

import contextlib
import json
import logging
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

with warnings.catch_warnings():
    # Its dependencies import eventlet where it is installed; nothing here uses it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import oslo_messaging

from sriov_agent.core.state import VNIC_TYPES
from sriov_agent.exceptions import Refused, Unavailable, printable
from sriov_agent.messaging import broker, connect, explained

LOG = logging.getLogger(__name__)

Json = object

REPORTS, PLUGIN = "q-reports-plugin", "q-plugin"

#: How many devices or objects one call is about; the server takes some 60 ms for a device.
#: Source: ``rpc_resources_processing_step`` of neutron.conf.
CHUNK = 20
#: How often a message is sent again before the call fails; the caller asks again anyway.
SEND_RETRIES = 1
#: How long is waited for a message at a time.
POLL_SECONDS = 3.0


class Server:
    """Calls to neutron-rpc-server.

    Every method raises :class:`Unavailable` if nobody answered in ``rpc_response_timeout``
    seconds, and :class:`Refused` if the server failed.

    :param agent_id: what the server's log calls the caller
    """

    def __init__(self, transport: "oslo_messaging.Transport", host: str, agent_id: str) -> None:
        self.host = host
        self.agent_id = agent_id
        self._broker = broker(transport)
        self._reports, self._plugin = (
            oslo_messaging.get_rpc_client(
                transport, oslo_messaging.Target(topic=topic), retry=SEND_RETRIES
            )
            for topic in (REPORTS, PLUGIN)
        )

    def report_state(self, arguments: Mapping[str, Json]) -> str | None:
        """``new``, ``alive`` or ``revived``; ``None`` where the report was ignored.

        :param arguments: see :func:`sriov_agent.sources.agent_state.report_arguments`
        """
        answer = self._call(self._reports, "1.4", "report_state", arguments)
        return answer if isinstance(answer, str) else None

    def ports(self) -> list[Json]:
        """The ports of this host that the agent serves, as Neutron's API would show them.

        Also those whose binding here is not the active one: look at ``binding:host_id``.
        """
        found: list[Json] = []
        for vnic_type in VNIC_TYPES:
            arguments = {"vnic_type": vnic_type, "host": self.host}
            answer = self._call(self._plugin, "1.7", "get_ports_by_vnic_type_and_host", arguments)
            found += _list(answer, "get_ports_by_vnic_type_and_host")
        return found

    def objects(
        self, name: str, version: str, ids: Collection[str], field: str = "id"
    ) -> list[Json]:
        """Versioned objects as they are pushed, whose ``field`` is one of ``ids``."""
        found: list[Json] = []
        for chunk in _chunks(sorted(ids)):
            arguments = {
                "resource_type": name,
                "version": version,
                "filter_kwargs": {field: chunk},
            }
            found += _list(self._call(self._plugin, "1.1", "bulk_pull", arguments), "bulk_pull")
        return found

    def network(self, network_id: str) -> Json:
        """A network as Neutron's API would show it to an administrator."""
        arguments = {"network": network_id, "agent_id": self.agent_id, "host": self.host}
        return self._call(self._plugin, "1.6", "get_network_details", arguments)

    def bind_again(self, port_ids: Collection[str]) -> None:
        """Have ports bound whose binding failed; the status of any other would become BUILD."""
        for chunk in _chunks(sorted(port_ids)):
            self._call(
                self._plugin,
                "1.5",
                "get_devices_details_list_and_failed_devices",
                {"devices": chunk, "agent_id": self.agent_id, "host": self.host},
            )

    def set_status(self, up: Collection[str], down: Collection[str]) -> frozenset[str]:
        """Tell which ports are wired, and which are not any more; the ids of those that failed."""
        devices = [(port, True) for port in sorted(up)] + [(port, False) for port in sorted(down)]
        failed: set[str] = set()
        for chunk in _chunks(devices):
            arguments = {
                "devices_up": [port for port, is_up in chunk if is_up],
                "devices_down": [port for port, is_up in chunk if not is_up],
                "agent_id": self.agent_id,
                "host": self.host,
                "refresh_tunnels": False,
            }
            answer = self._call(self._plugin, "1.9", "update_device_list", arguments)
            if not isinstance(answer, Mapping):
                raise Refused("update_device_list: the answer is no object")
            for kind in ("failed_devices_up", "failed_devices_down"):
                failed |= {port for port in answer.get(kind) or () if isinstance(port, str)}
        return frozenset(failed)

    def _call(self, client: Any, version: str, method: str, arguments: Mapping[str, Json]) -> Json:
        context = {"is_admin": True, "request_id": f"req-{uuid.uuid4()}"}
        try:
            return client.prepare(version=version).call(context, method, **arguments)
        except oslo_messaging.MessagingTimeout as error:
            raise Unavailable(
                f"{method}: nobody answered on {client.target.topic}; does a neutron-rpc-server "
                "run ([DEFAULT] rpc_workers above 0), and use this broker and exchange?"
            ) from error
        except oslo_messaging.RemoteError as error:
            raise Refused(
                f"{method}: Neutron failed ({error.exc_type}: {printable(str(error.value), 200)}); "
                f"its log has more under {context['request_id']}"
            ) from error
        except Exception as error:
            # Beside those of oslo.messaging, errors of the libraries below it come through.
            raise Unavailable(f"{method}: {self._broker}: {explained(error)}") from error


class Listener:
    """Hears fanouts of several topics over one connection, one message after the other.

    A server of oslo.messaging is made for one topic, and takes as long for a message as what the
    message is about; so its driver is used without.

    :param take: called with each message, a mapping of ``method`` and ``args``, in the thread that
        hears it
    :param lost: called when messages may have been lost, since the connection is a new one
    """

    def __init__(
        self,
        transport: "oslo_messaging.Transport",
        topics: Sequence[str],
        take: Callable[[Mapping[str, Json]], None],
        lost: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._topics = topics
        self._take = take
        self._lost = lost
        self._stop = threading.Event()
        self._connection: Any = None
        self._thread = threading.Thread(target=self._hear, name="fanouts", daemon=True)

    def start(self) -> None:
        """Begin to listen; may be tried again.

        :raises Unavailable: if the broker cannot be reached or refuses
        """
        connection: Any = None
        try:
            connection = connect(self._transport)
            for topic in self._topics:
                connection.declare_fanout_consumer(topic, self._acknowledge)
        except Exception as error:
            with contextlib.suppress(Exception):
                connection.close()
            raise Unavailable(f"{broker(self._transport)}: {explained(error)}") from error
        # Once it was there, it is waited for.
        connection.max_retries = None
        # On a new connection all are declared again, the last one at last.
        *others, last = connection._consumers
        for consumer in others:
            self._hear_unacknowledged(consumer)
        self._hear_unacknowledged(last, self._lost)
        self._connection = connection
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; waits for the broker, if need be for ever."""
        if not self._connection:
            return
        self._stop.set()
        self._thread.join()
        # Else the broker, when it deletes the first queues, cancels their consumers, which is taken
        # for a failure, and leaves connection and queues as they are.
        for consumer, tag in self._connection._consumers.items():
            consumer.cancel(tag)
        self._connection.close()

    def _hear_unacknowledged(
        self, consumer: Any, declared_again: Callable[[], None] = lambda: None
    ) -> None:
        """Have the broker send and forget: each message would be acknowledged as soon as it came.

        That is two packets for one, of which the first may have to wait for the second. A stream
        has to be acknowledged.
        """
        declare = consumer.declare

        def declare_again(connection: Any) -> None:
            declare(connection)
            consumer.queue.no_ack = not consumer.rabbit_stream_fanout
            declared_again()

        if not consumer.rabbit_stream_fanout:
            consumer.queue.no_ack = True
            consumer._callback = self._unacknowledged
        consumer.declare = declare_again

    def _acknowledge(self, message: Any) -> None:
        """A message of a stream."""
        message.acknowledge()
        self._take(message)

    def _unacknowledged(self, delivery: Any) -> None:
        """A message of a queue, in the envelope of oslo.messaging."""
        try:
            envelope = json.loads(delivery.channel.message_to_python(delivery).body)
            message = json.loads(envelope["oslo.message"])
            if not isinstance(message, dict):
                raise TypeError("it is no object")
        except Exception as error:
            LOG.error("a message that is none of oslo.messaging: %s", printable(str(error), 200))
        else:
            self._take(message)

    def _hear(self) -> None:
        connection = self._connection
        beat = time.monotonic()
        while not self._stop.is_set():
            try:
                connection.consume(timeout=POLL_SECONDS)
                # While messages come, the driver thinks that the broker knows that it is there.
                if time.monotonic() - beat > POLL_SECONDS:
                    connection._heartbeat_check()
                    beat = time.monotonic()
            except oslo_messaging._drivers.common.Timeout:
                pass
            except Exception as error:
                LOG.error("%s: %s", broker(self._transport), explained(error))
                self._stop.wait(POLL_SECONDS)


def _list(answer: Json, method: str) -> list[Json]:
    if not isinstance(answer, list):
        raise Refused(f"{method}: the answer is no list")
    return answer


def _chunks(items: Sequence[Any]) -> list[Any]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
