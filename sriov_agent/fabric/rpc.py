# SPDX-License-Identifier: Apache-2.0
"""The device manager on the broker: agents call it, and are told when something became of it."""

import logging
import threading
import warnings
from collections.abc import Callable, Iterable
from typing import Any

with warnings.catch_warnings():
    # Its dependencies import eventlet where it is installed; nothing here uses it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import oslo_messaging

from sriov_agent import messaging
from sriov_agent.core.link import as_json
from sriov_agent.core.model import SwitchPort

LOG = logging.getLogger(__name__)

Json = object

EXCHANGE, TOPIC, AGENT_TOPIC = "sriov-agent", "sriov-device-manager", "sriov-agent-fabric"
#: Requests answered at a time; each is a look into the state.
THREADS = 8
#: Between two tries to listen, when the broker refuses.
RETRY_SECONDS = 10.0
PEER = "the agents"


class Server:
    """Listens for calls; any manager may answer one.

    :param member: this manager's name
    :param answer: answers a request; see :class:`sriov_agent.fabric.requests.Requests`
    """

    def __init__(
        self,
        transport: "oslo_messaging.Transport",
        member: str,
        answer: Callable[[Json, Json], dict[str, Json]],
    ) -> None:
        self._transport = transport
        self._target = oslo_messaging.Target(exchange=EXCHANGE, topic=TOPIC, server=member)
        self._endpoint = _Endpoint(answer)
        self._agents = oslo_messaging.get_rpc_client(
            transport,
            oslo_messaging.Target(exchange=EXCHANGE, topic=AGENT_TOPIC, version="1.0"),
            retry=1,
        )
        self._stop = threading.Event()
        self._server: Any = None
        self._thread = threading.Thread(target=self._listen, name="broker", daemon=True)

    def start(self) -> None:
        """Begin, as soon as the broker can be reached."""
        self._thread.start()

    def stop(self) -> None:
        """End, when what was asked is answered."""
        self._stop.set()
        if self._server:
            self._server.stop()
            self._server.wait()
        self._transport.cleanup()

    def tell(self, host: str, links: Iterable[SwitchPort]) -> None:
        """Tell a host that something new is known of its links; one that is off never hears."""
        try:
            agent = self._agents.prepare(server=host)
            agent.cast({}, "changed", links=[as_json(link) for link in links])
        except Exception as error:
            said = messaging.explained(error, PEER)
            LOG.warning("host %s was not told: %s", host, said)

    def _listen(self) -> None:
        while not self._stop.is_set():
            server = oslo_messaging.get_rpc_server(
                self._transport, self._target, [self._endpoint], executor="threading"
            )
            try:
                messaging.reach(self._transport)
                server.start(override_pool_size=THREADS)
            except Exception as error:
                said = messaging.explained(error, PEER)
                LOG.error("%s: %s", messaging.broker(self._transport), said)
                self._stop.wait(RETRY_SECONDS)
            else:
                self._server = server
                LOG.info("listening on %s", messaging.broker(self._transport))
                return


@messaging.version_of("1.0")
class _Endpoint:
    def __init__(self, answer: Callable[[Json, Json], dict[str, Json]]) -> None:
        self._answer = answer

    def ask(self, context: object, request: Json, signature: Json = None) -> dict[str, Json]:
        """Answer a request."""
        return self._answer(request, signature)
