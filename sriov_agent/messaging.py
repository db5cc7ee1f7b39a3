# SPDX-License-Identifier: Apache-2.0
"""The message broker: what every use of oslo.messaging needs, and what its errors mean."""

import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterable
from typing import Any, cast

from oslo_config import cfg

with warnings.catch_warnings():
    # Its dependencies import eventlet where it is installed; nothing here uses it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import oslo_messaging

from sriov_agent.exceptions import printable

LOG = logging.getLogger(__name__)

EXCHANGE = "neutron"

#: Between agents and device managers: what managers hear, and what agents do.
FABRIC_EXCHANGE = "sriov-agent"
MANAGER_TOPIC, AGENT_TOPIC = "sriov-device-manager", "sriov-agent-fabric"

#: Between two tries to listen, when the broker refuses.
RETRY_SECONDS = 10.0


class Listener:
    """Serves calls and casts for one server of a topic, in a thread of its own.

    :param server: its name among those of the topic
    :param endpoint: its public methods are called as messages ask
    :param threads: how many messages at a time
    :param peer: who else uses the broker
    """

    def __init__(
        self,
        transport: "oslo_messaging.Transport",
        topic: str,
        server: str,
        endpoint: object,
        *,
        threads: int,
        peer: str,
    ) -> None:
        self._transport = transport
        self._target = oslo_messaging.Target(exchange=FABRIC_EXCHANGE, topic=topic, server=server)
        self._endpoint = endpoint
        self._threads = threads
        self._peer = peer
        self._stop = threading.Event()
        self.listening = threading.Event()
        self._server: Any = None
        self._thread = threading.Thread(target=self._listen, name=topic, daemon=True)

    def start(self) -> None:
        """Begin, as soon as the broker can be reached."""
        self._thread.start()

    def stop(self) -> None:
        """End, when what was asked is answered."""
        self._stop.set()
        if self._server:
            self._server.stop()
            self._server.wait()

    def _listen(self) -> None:
        while not self._stop.is_set():
            server = oslo_messaging.get_rpc_server(
                self._transport, self._target, [self._endpoint], executor="threading"
            )
            try:
                connect(self._transport).close()
                server.start(override_pool_size=self._threads)
            except Exception as error:
                LOG.error("%s: %s", broker(self._transport), explained(error, self._peer))
                self._stop.wait(RETRY_SECONDS)
            else:
                self._server = server
                self.listening.set()
                LOG.info("listening to %s on %s", self._peer, broker(self._transport))
                return


def client(
    transport: "oslo_messaging.Transport", topic: str, timeout: float | None = None
) -> "oslo_messaging.RPCClient":
    """Calls and casts to who listens on a topic.

    :param timeout: seconds to wait for an answer; default: ``rpc_response_timeout``
    """
    # Sent once more at most before it fails: who asks asks again anyway.
    target = oslo_messaging.Target(exchange=FABRIC_EXCHANGE, topic=topic, version="1.0")
    return oslo_messaging.get_rpc_client(transport, target, timeout=timeout, retry=1)


def connect(transport: "oslo_messaging.Transport") -> Any:
    """A connection of the driver's, to listen with; oslo.messaging itself would try for ever.

    :raises Exception: what the libraries raise if the broker cannot be reached
    """
    driver = transport._driver
    purpose = oslo_messaging._drivers.common.PURPOSE_LISTEN
    return driver._connection_pool.create(purpose, retry=len(driver._url.hosts) - 1)


def misfits(
    transport: "oslo_messaging.Transport",
    exchange: str,
    topics: Iterable[str] = (),
    fanouts: Iterable[str] = (),
) -> list[Exception]:
    """What the broker says of queues and exchanges of others that are declared otherwise.

    Those that are not there yet are not made.

    :param fanouts: topics whose fanout exchange is looked at
    :raises Exception: what the libraries raise if the broker cannot be reached
    """
    connection = connect(transport)
    found: list[Exception] = []
    consumers: list[Any] = []
    connection.declare_consumer = consumers.append
    for topic in topics:
        connection.declare_topic_consumer(exchange, topic)
    for topic in fanouts:
        connection.declare_fanout_consumer(topic, None)
    try:
        for consumer in consumers:
            name = consumer.exchange_name
            kind = {"type": consumer.type, "durable": consumer.durable}
            auto_delete = consumer.exchange_auto_delete
            declare = [("exchange_declare", {"exchange": name, **kind, "auto_delete": auto_delete})]
            if consumer.type == "topic":
                queue = {
                    "queue": consumer.queue_name,
                    "durable": consumer.durable,
                    "auto_delete": consumer.queue_auto_delete,
                    "arguments": consumer.queue_arguments,
                }
                declare.append(("queue_declare", queue))
            found += [e for e in (_misfit(connection.connection, *d) for d in declare) if e]
    finally:
        connection.close()
    return found


def _misfit(connection: Any, method: str, arguments: dict[str, Any]) -> Exception | None:
    """What the broker says against declaring what is there already."""
    for passive in (True, False):
        channel = connection.channel()
        try:
            getattr(channel, method)(**arguments, passive=passive)
        except connection.channel_errors as error:
            return None if passive else cast(Exception, error)
        channel.close()
    return None


def broker(transport: "oslo_messaging.Transport") -> str:
    """The broker's URL, without passwords."""
    url = transport._driver._url
    hosts = [
        f"{host.username}@{host.hostname}:{host.port or 5672}"
        if host.username
        else f"{host.hostname}:{host.port or 5672}"
        for host in url.hosts
    ]
    return f"{url.transport}://{','.join(hosts)}/{url.virtual_host or ''}"


def transport(conf: cfg.ConfigOpts, url: str | None = None) -> "oslo_messaging.Transport":
    """The broker of ``transport_url`` and ``[oslo_messaging_rabbit]``.

    :param url: instead of ``transport_url``
    """
    logging.getLogger("oslo.messaging._drivers.impl_rabbit").addFilter(_not_raised_too)
    oslo_messaging.set_transport_defaults(EXCHANGE)
    # Read of any configuration, and registered with the global one alone; the agent has neither.
    for name in ("metrics", "tracing"):
        option, group = cfg.BoolOpt(f"{name}_enabled"), f"oslo_messaging_{name}"
        conf.register_opt(option, group)
        conf.set_override(option.name, False, group)
    return oslo_messaging.get_rpc_transport(conf, url=url)


def _not_raised_too(record: logging.LogRecord) -> bool:
    """Not what the driver logs and raises as well: whoever catches it says it with more."""
    return not str(record.msg).startswith(
        ("Failed to publish message", "Failed to declare consumer", "Unable to connect to AMQP")
    )


def explained(error: Exception, peer: str = "neutron-server") -> str:
    """What the broker said, and the option that it may be about.

    :param peer: who else uses the broker, and has its options right
    """
    text = str(error)
    if "PRECONDITION_FAILED" in text:
        said = printable(text[text.index("PRECONDITION_FAILED") :], 300)
        return (
            f"{said}: somebody declared it otherwise; [oslo_messaging_rabbit] {_options(text)} "
            f"must be as in {peer}'s configuration; if they are, delete it on the broker"
        )
    said = printable(text, 300)
    if "ACCESS_REFUSED" in text:
        return f"{said}: user and password of transport_url must be as {peer}'s"
    if "NOT_ALLOWED" in text:
        return f"{said}: the virtual host of transport_url must be as {peer}'s"
    return f"{said}: does the broker run, and is transport_url right?"


#: Options of [oslo_messaging_rabbit] by the argument that differs. Source: ``impl_rabbit.py``.
_TRANSIENT = "rabbit_transient_quorum_queue and rabbit_stream_fanout"
_LASTING = "amqp_durable_queues and rabbit_quorum_queue"
_BY_ARGUMENT = {
    "x-expires": "rabbit_transient_queues_ttl",
    "x-max-age": "rabbit_transient_queues_ttl",
    "x-delivery-limit": "rabbit_quorum_delivery_limit",
    "x-max-in-memory-length": "rabbit_quorum_max_memory_length",
    "x-max-in-memory-bytes": "rabbit_quorum_max_memory_bytes",
}


def _options(text: str) -> str:
    """The options that decide about the argument that a broker says differs."""
    found = re.search(r"inequivalent arg '([^']*)' for (?:exchange|queue) '([^']*)'", text)
    if not found:
        return f"{_LASTING}, {_TRANSIENT}"
    argument, name = found.groups()
    if "_fanout" in name or name.startswith("reply_"):
        return _BY_ARGUMENT.get(argument, _TRANSIENT)
    return _BY_ARGUMENT.get(argument, "amqp_auto_delete" if argument == "auto_delete" else _LASTING)


def version_of(version: str) -> Callable[[type], type]:
    """A class decorator: the RPC version that an endpoint speaks."""

    def decorate(endpoint: type) -> type:
        endpoint.target = oslo_messaging.Target(version=version)  # type: ignore[attr-defined]
        return endpoint

    return decorate
