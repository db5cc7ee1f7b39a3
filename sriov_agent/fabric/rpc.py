# SPDX-License-Identifier: Apache-2.0
"""The device manager on the broker: agents call it, and are told when something became of it."""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from sriov_agent import messaging
from sriov_agent.core.link import as_json
from sriov_agent.core.model import SwitchPort

if TYPE_CHECKING:
    from oslo_messaging import Transport

LOG = logging.getLogger(__name__)

Json = object

#: Requests answered at a time; each is a look into the state.
THREADS = 8
PEER = "the agents"


class Server:
    """Listens for calls; any manager may answer one.

    :param member: this manager's name
    :param answer: answers a request; see :class:`sriov_agent.fabric.requests.Requests`
    """

    def __init__(
        self,
        transport: "Transport",
        member: str,
        answer: Callable[[Json, Json], dict[str, Json]],
    ) -> None:
        self._transport = transport
        self._agents = messaging.client(transport, messaging.AGENT_TOPIC)
        self.listener = messaging.Listener(
            transport,
            messaging.MANAGER_TOPIC,
            member,
            _Endpoint(answer),
            threads=THREADS,
            peer=PEER,
        )

    def start(self) -> None:
        """Begin, as soon as the broker can be reached."""
        self.listener.start()

    def stop(self) -> None:
        """End, when what was asked is answered."""
        self.listener.stop()
        self._transport.cleanup()

    def tell(self, host: str, links: Iterable[SwitchPort]) -> None:
        """Tell a host that something new is known of its links; one that is off never hears."""
        try:
            agent = self._agents.prepare(server=host)
            agent.cast({}, "changed", links=[as_json(link) for link in links])
        except Exception as error:
            LOG.warning("host %s was not told: %s", host, messaging.explained(error, PEER))


@messaging.version_of("1.0")
class _Endpoint:
    def __init__(self, answer: Callable[[Json, Json], dict[str, Json]]) -> None:
        self._answer = answer

    def ask(self, context: object, request: Json, signature: Json = None) -> dict[str, Json]:
        """Answer a request."""
        return self._answer(request, signature)
