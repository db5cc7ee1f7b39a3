# SPDX-License-Identifier: Apache-2.0
"""``rpc``: sriov-device-manager configures the switches; requests as in ``exec``, by a call.

A call is answered as soon as what is wanted is stored. What became of it is told later, by a cast
to this host; if that is lost, the next look at everything asks.
"""

import logging
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
        self._client = messaging.client(self._transport, messaging.MANAGER_TOPIC, options.timeout)
        self._listener: messaging.Listener | None = None

    def start(self, changed: Callable[[SwitchPort], None]) -> None:
        self._listener = messaging.Listener(
            self._transport,
            messaging.AGENT_TOPIC,
            self.host,
            _Endpoint(changed),
            threads=1,
            peer=PEER,
        )
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
