# SPDX-License-Identifier: Apache-2.0
"""``rpc``: sriov-device-manager configures the switches; requests as in ``exec``, by a call.

A call is answered as soon as what is wanted is stored. What became of it is told later, by a cast
to this host; if that is lost, the next look at everything asks.
"""

import logging
import threading
import uuid
import warnings
from collections.abc import Callable, Mapping

from oslo_config import cfg

with warnings.catch_warnings():
    # Its dependencies import eventlet where it is installed; nothing here uses it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import oslo_messaging

from sriov_agent import messaging
from sriov_agent.core.link import from_json
from sriov_agent.core.model import SwitchPort
from sriov_agent.core.signature import sign
from sriov_agent.exceptions import ConfigError, InvalidField, Refused, Unavailable
from sriov_agent.hook.base import Json, JsonHook
from sriov_agent.secret import secret_file

LOG = logging.getLogger(__name__)

EXCHANGE, TOPIC, AGENT_TOPIC = "sriov-agent", "sriov-device-manager", "sriov-agent-fabric"
#: How often a message is sent again before the call fails; the agent asks again anyway.
SEND_RETRIES = 1
#: Between two tries to listen, when the broker refuses.
RETRY_SECONDS = 10.0
PEER = "sriov-device-manager"


class RpcHook(JsonHook):
    """Calls sriov-device-manager on the broker of ``[hook_rpc] transport_url``."""

    separates = True

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf.host)
        options = conf.hook_rpc
        self._key_file = options.key_file
        self._key()
        self._transport = messaging.transport(conf, options.transport_url)
        self._client = oslo_messaging.get_rpc_client(
            self._transport,
            oslo_messaging.Target(exchange=EXCHANGE, topic=TOPIC, version="1.0"),
            timeout=options.timeout,
            retry=SEND_RETRIES,
        )
        self._listener: Listener | None = None

    def start(self, changed: Callable[[SwitchPort], None]) -> None:
        self._listener = Listener(self._transport, self.host, changed)
        self._listener.start()

    def stop(self) -> None:
        if self._listener:
            self._listener.stop()
        self._transport.cleanup()

    def ask(self, request: Mapping[str, Json]) -> Json:
        answer = self._call(request)
        epoch = answer.get("epoch")
        if isinstance(epoch, int) and epoch >= self._epoch:
            # This host's clock was set back: what it says now is later all the same.
            self._epoch = epoch + 1
            answer = self._call({**request, "epoch": self._epoch})
        return answer

    def owned(self) -> list[SwitchPort]:
        answer = self.ask(self._request("owned"))
        listed = answer.get("links") if isinstance(answer, Mapping) else None
        if not isinstance(listed, list):
            raise Refused("the device manager's answer has no list 'links'")
        try:
            return [from_json(entry) for entry in listed]
        except InvalidField as error:
            raise Refused(f"the device manager's answer: {error}") from error

    def _call(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        context = {"request_id": f"req-{uuid.uuid4()}"}
        key = self._key()
        signature = sign(key, request) if key else None
        try:
            answer = self._client.call(context, "ask", request=request, signature=signature)
        except oslo_messaging.MessagingTimeout as error:
            raise Unavailable(
                f"sriov-device-manager did not answer on {messaging.broker(self._transport)}: does "
                "one run there?"
            ) from error
        except oslo_messaging.RemoteError as error:
            raise Unavailable(
                f"sriov-device-manager failed ({error.exc_type}); its log has more under "
                f"{context['request_id']}"
            ) from error
        except Exception as error:
            # Beside those of oslo.messaging, errors of the libraries below it come through.
            said = messaging.explained(error, PEER)
            raise Unavailable(f"{messaging.broker(self._transport)}: {said}") from error
        if not isinstance(answer, Mapping):
            raise Refused("the device manager's answer is no object")
        return answer

    def _key(self) -> str:
        """This host's key, "" if what it asks is not signed."""
        if not self._key_file:
            return ""
        try:
            return secret_file(self._key_file, "[hook_rpc] key_file").decode("ascii")
        except UnicodeDecodeError as error:
            raise ConfigError(f"[hook_rpc] key_file {self._key_file}: {error}") from error


class Listener:
    """Hears, on the broker, of which links of this host something new is known."""

    def __init__(
        self,
        transport: "oslo_messaging.Transport",
        host: str,
        changed: Callable[[SwitchPort], None],
    ) -> None:
        self._transport = transport
        self._target = oslo_messaging.Target(exchange=EXCHANGE, topic=AGENT_TOPIC, server=host)
        self._endpoint = _Endpoint(changed)
        self._stop = threading.Event()
        self._server: oslo_messaging.rpc.RPCServer | None = None
        self._thread = threading.Thread(target=self._listen, name="fabric news", daemon=True)

    def start(self) -> None:
        """Begin, as soon as the broker can be reached."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
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
                messaging.reach(self._transport)
                server.start(override_pool_size=1)
            except Exception as error:
                said = messaging.explained(error, PEER)
                LOG.error("%s: %s", messaging.broker(self._transport), said)
                self._stop.wait(RETRY_SECONDS)
            else:
                self._server = server
                return


@messaging.version_of("1.0")
class _Endpoint:
    def __init__(self, changed: Callable[[SwitchPort], None]) -> None:
        self._changed = changed

    def changed(self, context: object, links: Json) -> None:
        """Something new is known of these links."""
        try:
            found = [from_json(link) for link in links] if isinstance(links, list) else []
        except InvalidField as error:
            LOG.warning("news of the device manager is left out: %s", error)
            return
        for link in found:
            self._changed(link)
