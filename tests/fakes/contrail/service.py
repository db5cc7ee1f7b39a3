# SPDX-License-Identifier: Apache-2.0
"""An HTTP service on loopback that can be told to misbehave, and that remembers what it was asked.

It answers each request in a thread of its own, keeps connections open between requests, and may
be stopped and started again on the same port.
"""

import contextlib
import itertools
import json
import re
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


@dataclass
class Request:
    """What was asked. ``status`` is what was answered, ``None`` if nothing; ``done``: it acted.

    ``pairs`` is the query as it came, names that come again included.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    raw: bytes
    status: int | None = None
    done: bool = False
    pairs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def body(self) -> Any:
        """From JSON; as text, where it is none; ``None``, where there is none."""
        if not self.raw:
            return None
        try:
            return json.loads(self.raw)
        except ValueError:
            return self.raw.decode(errors="replace")


class Answer(NamedTuple):
    """An answer; a body that is no text is JSON."""

    status: int = 200
    body: Any = ""
    content_type: str = "text/html; charset=UTF-8"
    headers: Mapping[str, str] = {}


@dataclass
class _Fault:
    method: str | None
    path: str
    times: int | None
    seconds: float = 0
    answer: Answer | None = None
    after: bool = False

    def matches(self, request: Request) -> bool:
        return (
            self.times != 0
            and self.method in {None, request.method}
            and re.search(self.path, request.path) is not None
        )

    def used(self) -> "_Fault":
        if self.times is not None:
            self.times -= 1
        return self


class Dropped(Exception):
    """The connection is closed without an answer."""


@dataclass
class _Run:
    """One time between start and stop."""

    server: ThreadingHTTPServer
    thread: threading.Thread
    stopped: threading.Event = field(default_factory=threading.Event)
    connections: set[socket.socket] = field(default_factory=set)


class Service:
    """``respond`` is for the kinds of service to write; it is called by one thread at a time.

    Faults are given with ``method`` (any, if ``None``) and ``path``, a regular expression that is
    searched in the path, and count ``times``. ``after``: the request is carried out all the same.
    """

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None):
        self.requests: list[Request] = []
        self.lock = threading.RLock()
        self._port = port
        self._tls = tls
        self._faults: list[_Fault] = []
        self._run: _Run | None = None

    def respond(self, request: Request) -> Answer:
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def start(self) -> Self:
        if self._run:
            return self
        server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        server.daemon_threads = True
        self._port = server.server_port
        if self._tls:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        self._run = _Run(server, thread)
        thread.start()
        return self

    def stop(self) -> None:
        """As if it died: who waits for an answer gets none, open connections are closed."""
        run, self._run = self._run, None
        if run is None:
            return
        run.stopped.set()
        run.server.shutdown()
        run.thread.join()
        run.server.server_close()
        with self.lock:
            connections = list(run.connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def drop(
        self, times: int | None = 1, method: str | None = None, path: str = "", after: bool = False
    ) -> None:
        """Close the connection without an answer."""
        self._fault(_Fault(method, path, times, after=after))

    def delay(
        self, seconds: float, times: int | None = 1, method: str | None = None, path: str = ""
    ) -> None:
        """Begin with a request only after a while. A delay adds to other faults."""
        self._fault(_Fault(method, path, times, seconds))

    def fail(
        self,
        status: int,
        times: int | None = 1,
        method: str | None = None,
        path: str = "",
        after: bool = False,
        body: str | None = None,
    ) -> None:
        """Answer with this status."""
        text = f"the fake was told to answer {status}" if body is None else body
        self._fault(_Fault(method, path, times, answer=Answer(status, text), after=after))

    def heal(self) -> None:
        """Forget the faults that are left."""
        with self.lock:
            self._faults.clear()

    def calls(self, method: str | None = None, path: str = "") -> list[Request]:
        """The requests so far, with the same choice as for faults."""
        with self.lock:
            return [one for one in self.requests if _Fault(method, path, None).matches(one)]

    def forget(self) -> None:
        """Forget the requests so far."""
        with self.lock:
            self.requests.clear()

    def _fault(self, fault: _Fault) -> None:
        with self.lock:
            self._faults.append(fault)

    def _faults_for(self, request: Request) -> tuple[float, _Fault | None]:
        with self.lock:
            matching = [fault for fault in self._faults if fault.matches(request)]
            delays = [fault.used().seconds for fault in matching if fault.seconds]
            others = itertools.islice((fault for fault in matching if not fault.seconds), 1)
            return sum(delays), next((fault.used() for fault in others), None)

    def answer_to(self, request: Request, run: _Run) -> Answer:
        """What goes back, after all faults.

        :raises Dropped: if nothing does
        """
        with self.lock:
            self.requests.append(request)
        seconds, fault = self._faults_for(request)
        if run.stopped.wait(seconds) if seconds else run.stopped.is_set():
            raise Dropped
        if fault and not fault.after:
            return _faulty(fault)
        with self.lock:
            if run.stopped.is_set():
                raise Dropped
            answer = self.respond(request)
            request.done = True
        return _faulty(fault) if fault else answer


def _faulty(fault: _Fault) -> Answer:
    if fault.answer is None:
        raise Dropped
    return fault.answer


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            self.run = service._run
            with service.lock:
                if self.run:
                    self.run.connections.add(self.connection)

        def finish(self) -> None:
            with service.lock:
                if self.run:
                    self.run.connections.discard(self.connection)
            with contextlib.suppress(OSError):
                super().finish()

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                super().handle()

        def answer(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            pairs = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urllib.parse.unquote(url.path)
            request = Request(self.command, path, dict(pairs), self.headers, raw, pairs=pairs)
            try:
                if self.run is None:
                    raise Dropped
                answer = service.answer_to(request, self.run)
            except Dropped:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            request.status = answer.status
            text, content_type = answer.body, answer.content_type
            if not isinstance(text, str):
                text, content_type = json.dumps(text), "application/json"
            body = text.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

        def log_message(self, *_: object) -> None:
            pass

    return Handler
