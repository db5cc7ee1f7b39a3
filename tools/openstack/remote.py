# SPDX-License-Identifier: Apache-2.0
"""A Neutron's switches, for who is in the lab guest and cannot reach its processes.

``GET /`` tells where it is, as JSON; ``POST /openstack`` with a JSON list runs the ``openstack``
command, ``POST /broker/stop`` and the like do what their names say.
"""

import json
import subprocess
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tools.openstack.api import Api
from tools.openstack.stack import LOOPBACK_FROM_GUEST, Stack

TIMEOUT_SECONDS = 120


class Remote:
    """Serves the switches of ``stack`` on loopback until :meth:`close`.

    :param more: what else is done, by path, with what was given as JSON
    """

    def __init__(
        self, stack: Stack, more: Mapping[str, Callable[[Any], object]] | None = None
    ) -> None:
        actions: dict[str, Callable[[Any], object]] = {
            "/broker/stop": lambda _: stack.broker.stop(),
            "/broker/start": lambda _: stack.broker.start(),
            "/server/restart": lambda _: stack.restart_server(),
            "/openstack": lambda arguments: stack.openstack(*arguments),
            "/rabbitmqctl": lambda arguments: stack.broker.control(*arguments),
            **(more or {}),
        }
        facts = {
            "url": stack.url.replace("127.0.0.1", LOOPBACK_FROM_GUEST),
            "conf_file": str(stack.guest_conf_file),
            "broker_port": stack.broker.port,
        }

        class Handler(BaseHTTPRequestHandler):
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._answer(200, facts)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                given = json.loads(self.rfile.read(length) or "null")
                try:
                    self._answer(200, actions[self.path](given))
                except subprocess.CalledProcessError as error:
                    self._answer(409, error.stderr)
                except Exception as error:
                    self._answer(500, repr(error))

            def _answer(self, status: int, value: object) -> None:
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.guest_url = f"http://{LOOPBACK_FROM_GUEST}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class Neutron:
    """The Neutron behind the switches at ``url``, seen from the guest."""

    def __init__(self, url: str) -> None:
        self._url = url
        facts = requests.get(url, timeout=TIMEOUT_SECONDS).json()
        self.url: str = facts["url"]
        self.conf_file: str = facts["conf_file"]
        self.broker_port: int = facts["broker_port"]

    def api(self, *arguments: Any) -> Api:
        """See :meth:`tools.openstack.stack.Stack.api`."""
        return Api(self.url, *arguments)

    def do(self, action: str, given: Any = None) -> Any:
        """What became of an action: ``broker/stop``, ``broker/start``, ``server/restart``.

        :raises RuntimeError: it failed
        """
        answer = requests.post(f"{self._url}/{action}", json=given, timeout=TIMEOUT_SECONDS)
        if not answer.ok:
            raise RuntimeError(f"{action}: {answer.text}")
        return answer.json()

    def openstack(self, *arguments: str) -> str:
        """What the ``openstack`` command prints."""
        printed: str = self.do("openstack", arguments)
        return printed
