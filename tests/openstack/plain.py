# SPDX-License-Identifier: Apache-2.0
"""An SR-IOV agent as Neutron sees one, of oslo.messaging alone; it shares no code with ours."""

import contextlib
import datetime
import queue

import oslo_messaging
from oslo_config import cfg

EXCHANGE = "neutron"
CONTEXT = {"is_admin": True}
AGENT_TYPE = "NIC Switch agent"
PORT_VERSION = "1.7"
#: far above what anything takes
PATIENCE = 60


class PlainAgent:
    """A context manager.

    :param conf_file: Neutron's own
    """

    def __init__(self, conf_file, host):
        self.host = host
        self.id = f"nic-switch-agent.{host}"
        conf = cfg.ConfigOpts()
        conf([f"--config-file={conf_file}"])
        # oslo.messaging reads these of any configuration, and registers them with cfg.CONF alone.
        for name in ("metrics", "tracing"):
            conf.register_opt(cfg.BoolOpt(f"{name}_enabled"), f"oslo_messaging_{name}")
        self._transport = oslo_messaging.get_rpc_transport(conf)
        self._open = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._open.close()
        self._transport.cleanup()

    def call(self, topic, version, method, /, **arguments):
        """What the server answers."""
        target = oslo_messaging.Target(exchange=EXCHANGE, topic=topic, version=version)
        client = oslo_messaging.get_rpc_client(self._transport, target, serializer=Untouched())
        return client.prepare(timeout=PATIENCE).call(CONTEXT, method, **arguments)

    def report(self, **more):
        """Report the state; the answer is how the server knew the agent."""
        state = {
            "binary": "sriov-agent",
            "host": self.host,
            "topic": "N/A",
            "agent_type": AGENT_TYPE,
            "configurations": {"device_mappings": {"physnet2": ["enp1s0"]}},
            **more,
        }
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
        report = {"agent_state": {"agent_state": state}, "time": now}
        return self.call("q-reports-plugin", "1.4", "report_state", **report)

    def register(self):
        """The first report, which says what to push."""
        return self.report(start_flag=True, resource_versions={"Port": PORT_VERSION})

    def pushes(self, kind="Port", version=PORT_VERSION):
        """A queue of what is pushed of a kind of object from now on: pairs (event, data)."""
        heard = Pushes()
        topic = f"neutron-vo-{kind}-{version}"
        target = oslo_messaging.Target(exchange=EXCHANGE, topic=topic, server=self.host)
        server = oslo_messaging.get_rpc_server(
            self._transport, target, [heard], serializer=Untouched()
        )
        server.start()
        self._open.callback(server.wait)
        self._open.callback(server.stop)
        return heard.queue


class Pushes:
    target = oslo_messaging.Target(version="1.1")

    def __init__(self):
        self.queue = queue.SimpleQueue()

    def push(self, _context, resource_list, event_type):
        for resource in resource_list:
            self.queue.put((event_type, resource["versioned_object.data"]))


class Untouched(oslo_messaging.NoOpSerializer):
    def serialize_context(self, context):
        return context

    def deserialize_context(self, context):
        return context
