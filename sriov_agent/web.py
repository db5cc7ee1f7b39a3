# SPDX-License-Identifier: Apache-2.0
"""A small HTTP listener: a few pages, made when they are asked for. It only answers GET."""

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from msgspec import Struct

from sriov_agent.exceptions import ConfigError

LOG = logging.getLogger(__name__)

#: Nothing of a page may load or send anything, unless the page says so itself.
_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_REQUEST_SECONDS = 30


class Page(Struct, frozen=True):
    """An answer; ``policy`` is its Content-Security-Policy."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    policy: str = _POLICY


class Web:
    """Listens on an address and port.

    :param pages: what is served, by path
    """

    def __init__(self, address: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> None:
        self.address = address
        self.port = port
        self.pages = pages
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Begin.

        :raises ConfigError: if the address cannot be listened on
        """
        pages, local = self.pages, _loopback(self.address)

        class Handler(BaseHTTPRequestHandler):
            timeout = _REQUEST_SECONDS

            def do_GET(self) -> None:
                page = _page(pages, self.path.partition("?")[0])
                if local and not _loopback(_host(self.headers.get("Host", ""))):
                    # A page of somebody else whose name was made to lead here (DNS rebinding).
                    page = Page(b"this is for this host alone\n", status=403)
                self.send_response_only(page.status)
                self.send_header("Content-Type", page.content_type)
                self.send_header("Content-Length", str(len(page.body)))
                self.send_header("Content-Security-Policy", page.policy)
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Referrer-Policy", "no-referrer")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(page.body)

            def log_message(self, format: str, *args: object) -> None:
                LOG.debug(format, *args)

        class Server(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
            daemon_threads = True
            block_on_close = False

        try:
            self._server = Server((self.address, self.port), Handler)
        except OSError as error:
            raise ConfigError(
                f"[metrics] listen {self.address} and port {self.port}: {error}"
            ) from error
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, name="web", daemon=True).start()

    def stop(self) -> None:
        """End."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()


def health(why: str) -> Page:
    """200 for what is well, 503 with ``why`` for what is not."""
    return Page(f"{why or 'ok'}\n".encode(), status=503 if why else 200)


def _page(pages: Mapping[str, Callable[[], Page]], path: str) -> Page:
    if path not in pages:
        return Page(f"there are: {', '.join(pages)}\n".encode(), status=404)
    try:
        return pages[path]()
    except Exception:
        LOG.exception("%s cannot be shown", path)
        return Page(b"this failed; the log says why\n", status=500)


def _host(header: str) -> str:
    """The name or address in a header ``Host``."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
