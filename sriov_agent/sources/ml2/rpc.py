# SPDX-License-Identifier: Apache-2.0
"""Neutron's agent RPC over oslo.messaging: calls to the server, fanouts from it.

Source: ``neutron/agent/rpc.py``, ``neutron/plugins/ml2/rpc.py`` and
``neutron/api/rpc/handlers/resources_rpc.py`` of Neutron Xena to 2026.2. No namespace is used, and
a context of ``is_admin`` alone is enough.
"""

import logging
import uuid
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from oslo_config import cfg

with warnings.catch_warnings():
    # Its dependencies import eventlet where it is installed; nothing here uses it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import oslo_messaging

from sriov_agent.core.state import VNIC_TYPES
from sriov_agent.exceptions import Refused, Unavailable, printable

LOG = logging.getLogger(__name__)

Json = object

EXCHANGE = "neutron"
REPORTS, PLUGIN = "q-reports-plugin", "q-plugin"

#: How many devices or objects one call is about; the server takes some 60 ms for a device.
#: Source: ``rpc_resources_processing_step`` of neutron.conf.
CHUNK = 20


class Server:
    """Calls to neutron-rpc-server.

    Every method raises :class:`Unavailable` if nobody answered in ``rpc_response_timeout``
    seconds, and :class:`Refused` if the server failed.

    :param agent_id: what the server's log calls the caller
    """

    def __init__(self, transport: "oslo_messaging.Transport", host: str, agent_id: str) -> None:
        self.host = host
        self.agent_id = agent_id
        target = oslo_messaging.Target
        self._reports = oslo_messaging.get_rpc_client(transport, target(topic=REPORTS))
        self._plugin = oslo_messaging.get_rpc_client(transport, target(topic=PLUGIN))

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

    def objects(self, name: str, version: str, ids: Collection[str]) -> list[Json]:
        """Versioned objects by id, as they are pushed; those that there are not are left out."""
        found: list[Json] = []
        for chunk in _chunks(sorted(ids)):
            arguments = {
                "resource_type": name,
                "version": version,
                "filter_kwargs": {"id": chunk},
            }
            found += _list(self._call(self._plugin, "1.1", "bulk_pull", arguments), "bulk_pull")
        return found

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
        except oslo_messaging.MessagingException as error:
            raise Unavailable(f"{method}: {printable(str(error), 200)}") from error


class Listener:
    """Hears fanouts of several topics over one connection, one message after the other.

    :param endpoint: its public methods are called as messages ask; see
        :class:`sriov_agent.sources.ml2.events.Endpoint`
    """

    def __init__(
        self, transport: "oslo_messaging.Transport", topics: Sequence[str], endpoint: object
    ) -> None:
        target = oslo_messaging.Target(topic=topics[0], server="sriov-agent-" + uuid.uuid4().hex)
        self._server = _FanoutServer(
            transport, target, oslo_messaging.RPCDispatcher([endpoint], None), topics[1:]
        )

    def start(self) -> None:
        """Begin to listen; waits until the broker can be reached."""
        self._server.start(override_pool_size=1)

    def stop(self) -> None:
        """Listen no more."""
        self._server.stop()
        self._server.wait()


class _FanoutServer(oslo_messaging.rpc.server.RPCServer):  # type: ignore[misc]
    """A server of oslo.messaging, which is made for one topic, with the fanouts of more."""

    def __init__(self, transport: Any, target: Any, dispatcher: Any, topics: Iterable[str]) -> None:
        super().__init__(transport, target, dispatcher, "threading")
        self._topics = tuple(topics)

    def _create_listener(self) -> Any:
        adapter = super()._create_listener()
        listener = adapter._poll_style_listener
        for topic in self._topics:
            listener.conn.declare_fanout_consumer(topic, listener)
        return adapter


def transport(conf: cfg.ConfigOpts) -> "oslo_messaging.Transport":
    """The broker of ``transport_url`` and ``[oslo_messaging_rabbit]``."""
    oslo_messaging.set_transport_defaults(EXCHANGE)
    # Read of any configuration, and registered with the global one alone; the agent has neither.
    for name in ("metrics", "tracing"):
        option, group = cfg.BoolOpt(f"{name}_enabled"), f"oslo_messaging_{name}"
        conf.register_opt(option, group)
        conf.set_override(option.name, False, group)
    return oslo_messaging.get_rpc_transport(conf)


def explained(error: Exception) -> str:
    """What the broker said, and the option that it may be about."""
    text = printable(str(error), 300)
    if "PRECONDITION_FAILED" not in text:
        return text
    return (
        f"{text}: a queue or exchange is there with other arguments; [oslo_messaging_rabbit] "
        "rabbit_quorum_queue, rabbit_transient_quorum_queue, rabbit_stream_fanout and "
        "amqp_durable_queues must be as in neutron-server's configuration"
    )


def version_of(version: str) -> Callable[[type], type]:
    """A class decorator: the RPC version that an endpoint speaks."""

    def decorate(endpoint: type) -> type:
        endpoint.target = oslo_messaging.Target(version=version)  # type: ignore[attr-defined]
        return endpoint

    return decorate


def _list(answer: Json, method: str) -> list[Json]:
    if not isinstance(answer, list):
        raise Refused(f"{method}: the answer is no list")
    return answer


def _chunks(items: Sequence[Any]) -> list[Any]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
