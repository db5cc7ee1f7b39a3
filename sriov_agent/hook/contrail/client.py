# SPDX-License-Identifier: Apache-2.0
"""HTTP to the config API: several servers, tokens, deadlines. It knows no object of Contrail's.

Source: section 1.1 of the contract. The API's errors are plain text, so only the status counts.
"""

import contextlib
import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from sriov_agent.exceptions import ConfigError, Refused, Unavailable, printable

Json = Any

#: A call of the hook ends after this many times ``timeout``, whatever it still had to do.
CALL_TIMEOUTS = 6
#: So often a request is sent that is answered 500, which the API says to bad input as well.
TRIES = 3
_FIRST_DELAY = 0.2
#: After so many failures in a row a server is left alone for a while.
_BREAKS_AT = 2
_FIRST_REST = 1.0
_LONGEST_REST = 60.0
_ANSWER_BYTES = 64 << 20
_SAID = 200


@dataclass(frozen=True)
class Credentials:
    """How Keystone knows the agent: by password, or by application credential."""

    auth_url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    project_name: str = ""
    user_domain_name: str = "Default"
    project_domain_name: str = "Default"
    application_credential_id: str = ""
    application_credential_secret: str = field(default="", repr=False)


@dataclass(frozen=True)
class Answer:
    """``body`` is the JSON of a 200; ``said`` the beginning of any other answer, escaped."""

    status: int
    body: Json = None
    said: str = ""


@dataclass
class _Server:
    url: str
    failures: int = 0
    rests_until: float = 0.0


class _NoAnswer(Exception):
    """This server did not answer; another may."""


class Api:
    """One client, for one thread.

    :param servers: base URLs, in the order of preference
    :param timeout: seconds to connect, and between bytes
    :param verify: path of the CA certificates; ``True``: the system's
    :param clock: monotonic seconds; like ``sleep`` and ``chance`` (0 to 1) a seam for tests
    :raises ConfigError: if keystoneauth1 is not installed, or a URL cannot be used
    """

    def __init__(
        self,
        servers: Sequence[str],
        credentials: Credentials,
        *,
        timeout: float = 10.0,
        verify: str | bool = True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        for url in servers:
            _check("api_servers", url)
        if not servers:
            raise ConfigError("[hook_contrail] api_servers: expected at least one URL")
        self.timeout = timeout
        self.clock = clock
        self._sleep = sleep
        self._chance = chance
        self._servers = [_Server(url.rstrip("/")) for url in servers]
        self._until: float | None = None
        self._needs_token = False
        self._connect(credentials, verify)

    def _connect(self, credentials: Credentials, verify: str | bool) -> None:
        try:
            from keystoneauth1 import exceptions, session  # noqa: PLC0415
            from keystoneauth1.identity import v3  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError(
                "[fabric] hook = contrail needs keystoneauth1: pip install 'sriov-agent[contrail]'"
            ) from error
        self._http = session.Session(verify=verify, timeout=self.timeout)
        self._http.session.trust_env = False
        self._errors = exceptions
        self._auth: v3.Password | v3.ApplicationCredential | None = None
        if not credentials.auth_url:
            return
        _check("auth_url", credentials.auth_url)
        self._auth_url = credentials.auth_url
        if credentials.application_credential_id:
            self._auth = v3.ApplicationCredential(
                credentials.auth_url,
                credentials.application_credential_secret,
                credentials.application_credential_id,
            )
        else:
            self._auth = v3.Password(
                credentials.auth_url,
                username=credentials.username,
                password=credentials.password,
                user_domain_name=credentials.user_domain_name,
                project_name=credentials.project_name,
                project_domain_name=credentials.project_domain_name,
            )

    @contextlib.contextmanager
    def deadline(self) -> Iterator[None]:
        """All requests within end in :data:`CALL_TIMEOUTS` times ``timeout``; none starts later."""
        outer = self._until
        if outer is None:
            self._until = self.clock() + CALL_TIMEOUTS * self.timeout
        try:
            yield
        finally:
            self._until = outer

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Json = None,
    ) -> Answer:
        """The answer of the first server that gives one; 504 is returned where it may have acted.

        A request may have been carried out more than once: what is made has a uuid of its own.

        :raises Unavailable: if none answered in time
        :raises Refused: if the credentials are
        """
        with self.deadline():
            failed = 0
            broken = 0
            while True:
                server = self._next_server()
                try:
                    answer = self._authorized(server, method, path, query, body)
                except _NoAnswer as error:
                    self._failed(server)
                    failed += 1
                    if failed > len(self._servers):
                        raise Unavailable(f"Contrail API {server.url}: {error}") from error
                    continue
                if answer.status in (502, 503) or (answer.status == 504 and method == "GET"):
                    self._failed(server)
                    failed += 1
                    if failed > len(self._servers):
                        raise Unavailable(f"Contrail API {server.url}: HTTP {answer.status}")
                    continue
                server.failures = 0
                if answer.status < 500 or answer.status == 504:
                    return answer
                broken += 1
                if broken >= TRIES:
                    raise Unavailable(
                        f"Contrail API {server.url}: {method} {path}: HTTP {answer.status} "
                        f"{answer.said}"
                    )
                self._pause(_FIRST_DELAY * 2 ** (broken - 1))

    def _next_server(self) -> _Server:
        now = self.clock()
        for server in self._servers:
            if server.rests_until <= now:
                return server
        first = min(self._servers, key=lambda server: server.rests_until)
        raise Unavailable(
            f"Contrail API: none of {', '.join(sorted(s.url for s in self._servers))} answers; "
            f"tried again in {first.rests_until - now:.0f} s"
        )

    def _failed(self, server: _Server) -> None:
        """Go on with the other servers; leave this one alone if it failed before."""
        server.failures += 1
        self._servers.remove(server)
        self._servers.append(server)
        if server.failures >= _BREAKS_AT:
            rest = min(_LONGEST_REST, _FIRST_REST * 2 ** min(server.failures - _BREAKS_AT, 10))
            server.rests_until = self.clock() + rest * (0.5 + self._chance() / 2)

    def _pause(self, seconds: float) -> None:
        self._sleep(min(seconds * (0.5 + self._chance()), self._left()))

    def _left(self) -> float:
        """Seconds until the deadline.

        :raises Unavailable: if there are none
        """
        left = (self._until or 0.0) - self.clock()
        if left <= 0:
            raise Unavailable(
                f"Contrail API: no end in {CALL_TIMEOUTS * self.timeout:g} s "
                "([hook_contrail] timeout); the next pass goes on"
            )
        return left

    def _authorized(
        self,
        server: _Server,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json,
    ) -> Answer:
        """The answer, with a token once the API has asked for one, and a new one if need be."""
        used = self._needs_token
        answer = self._once(server, method, path, query, body)
        if answer.status != 401:
            return answer
        if self._auth is None:
            raise Refused(
                f"Contrail API {server.url} wants a token: set [hook_contrail] auth_url and "
                "username, or application_credential_id"
            )
        if used:
            self._auth.invalidate()
        self._needs_token = True
        answer = self._once(server, method, path, query, body)
        if answer.status == 401:
            raise Refused(
                f"Contrail API {server.url} accepts no token of {self._auth_url}: "
                "look whether both use the same Keystone"
            )
        return answer

    def _once(
        self,
        server: _Server,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Json,
    ) -> Answer:
        headers = {"Accept": "application/json", **self._token()}
        options: dict[str, Any] = {} if body is None else {"json": body}
        try:
            answer = self._http.request(
                server.url + path,
                method,
                headers=headers,
                params=dict(query or {}),
                authenticated=False,
                raise_exc=False,
                redirect=False,
                log=False,
                stream=True,
                timeout=min(self.timeout, self._left()),
                **options,
            )
            with answer:
                raw = self._bounded(answer.iter_content(1 << 16))
        except (self._errors.ClientException, OSError) as error:
            raise _NoAnswer(_cause(error)) from error
        if answer.status_code != 200:
            said = printable(raw[:_SAID].decode("utf-8", "replace"), _SAID)
            return Answer(answer.status_code, said=said)
        try:
            return Answer(200, json.loads(raw) if raw else None)
        except (ValueError, RecursionError) as error:
            raise _NoAnswer(f"{method} {path}: the answer is no JSON") from error

    def _bounded(self, parts: Iterator[bytes]) -> bytes:
        raw = bytearray()
        for part in parts:
            raw += part
            self._left()
            if len(raw) > _ANSWER_BYTES:
                raise _NoAnswer(f"an answer of more than {_ANSWER_BYTES >> 20} MiB")
        return bytes(raw)

    def _token(self) -> dict[str, str]:
        if self._auth is None or not self._needs_token:
            return {}
        self._left()
        try:
            token = self._auth.get_token(self._http)
        except self._errors.HttpError as error:
            status = error.http_status
            if status >= 500 or status in (408, 429):
                raise Unavailable(f"Keystone {self._auth_url}: HTTP {status}") from None
            raise Refused(
                f"Keystone {self._auth_url}: HTTP {status}: look at the credentials in "
                "[hook_contrail]"
            ) from None
        except (self._errors.ClientException, OSError) as error:
            raise Unavailable(f"Keystone {self._auth_url}: {_cause(error)}") from error
        return {"X-Auth-Token": token or ""}


def _cause(error: Exception) -> str:
    """What went wrong, without the layers that it came through."""
    text = str(error)
    return printable(text.partition("Caused by ")[2] or text, _SAID)


def _check(option: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable or "@" in parts.netloc:
        raise ConfigError(
            f"[hook_contrail] {option}: expected http or https URLs, without a password"
        )
