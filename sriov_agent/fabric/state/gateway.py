# SPDX-License-Identifier: Apache-2.0
"""etcd by its gateway: JSON over HTTP, at /v3/ since etcd 3.4.

The gateway knows no client by its certificate: who is to be told apart has a name and a password
(https://etcd.io/docs/v3.4/op-guide/authentication/).
"""

import base64
import json
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from msgspec import Struct

with warnings.catch_warnings():
    # It imports eventlet where it is installed; nothing here uses it.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    from etcd3gw.client import Etcd3Client
    from etcd3gw.exceptions import ConnectionFailedError, ConnectionTimeoutError, Etcd3Exception

from sriov_agent.exceptions import ConfigError, Unavailable, printable

_PORT = 2379
#: Calls at a time; requests keeps ten connections, of which one watches and one keeps leases.
_CALLS = 8

Json = dict[str, Any]


class Record(Struct, frozen=True):
    """A key's value, and the revisions that a transaction can compare."""

    value: str
    created: int
    modified: int


class Gateway:
    """An etcd cluster. Used by any thread.

    :param urls: ``https://192.0.2.5:2379`` and so on; one that does not answer has the next in its
        place
    :param timeout: seconds to connect, and to wait for an answer
    :param ca_file: CA certificates that etcd's descends from; ``None``: those of requests
    :param cert_file: this client's certificate, with ``key_file``, where etcd asks for one
    :param user: name in etcd, with ``password``, where etcd has users
    :raises ConfigError: if none of it can work
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout: float = 5.0,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        user: str = "",
        password: str = "",
    ) -> None:
        files = {"ca": ca_file, "cert": cert_file, "key": key_file}
        for name, path in files.items():
            if path and not path.is_file():
                raise ConfigError(f"[device_manager] etcd_{name}_file: {path} is no file")
        if bool(cert_file) != bool(key_file):
            raise ConfigError("[device_manager] etcd_cert_file and etcd_key_file: both, or neither")
        if not urls:
            raise ConfigError("[device_manager] etcd_urls: none")
        ca, cert, key = (str(path) if path else None for path in files.values())
        self._clients = [_client(url, timeout, ca, cert, key) for url in urls]
        self._user = user
        self._password = password
        self._calls = threading.BoundedSemaphore(_CALLS)

    def read(self, prefix: str) -> dict[str, Record]:
        """What is kept below a prefix that ends with a slash, by key."""
        answer = self.call("kv/range", {"key": _encoded(prefix), "range_end": _end(prefix)})
        return {_decoded(kv["key"]): _record(kv) for kv in answer.get("kvs", ())}

    def get(self, key: str) -> Record | None:
        """What is kept there."""
        answer = self.call("kv/range", {"key": _encoded(key)})
        return next(map(_record, answer.get("kvs", ())), None)

    def commit(self, compare: Json, *changes: Json) -> int:
        """A transaction.

        :return: its revision; 0 if it does not compare, and nothing was changed
        """
        answer = self.call("kv/txn", {"compare": [compare], "success": changes})
        return int(answer["header"]["revision"]) if answer.get("succeeded") else 0

    def put(self, key: str, value: str) -> None:
        """Keep this value, whatever was there."""
        self.call("kv/put", put(key, value)["request_put"])

    def grant(self, seconds: int) -> int:
        """A new lease, that ends after so long if it is not kept alive."""
        return int(self.call("lease/grant", {"TTL": seconds})["ID"])

    def keep_alive(self, lease: int) -> int:
        """Begin a lease's time anew; this does not wait for other calls.

        :return: its seconds; 0 if it has ended
        """
        answer = self._tried("lease/keepalive", {"ID": lease})
        if "result" not in answer:
            raise Unavailable(f"etcd: {printable(json.dumps(answer))}")
        return int(answer["result"].get("TTL", 0))

    def revoke(self, lease: int) -> None:
        """End a lease, and all keys that have it; nothing if it has ended."""
        try:
            self.call("lease/revoke", {"ID": lease})
        except Unavailable as error:
            if "lease not found" not in str(error):
                raise

    def call(self, path: str, body: Json) -> Json:
        """One call and its answer. It may be made twice.

        :raises Unavailable: if etcd did not answer, or refused
        """
        with self._calls:
            return self._tried(path, body)

    def watch(self, prefix: str, idle: float) -> Iterator[list[Json]]:
        """Changes below a prefix as they come; first an empty list, once it watches.

        :param idle: seconds without any after which it ends
        :raises Unavailable: when it ends, always
        """
        client = self._clients[0]
        wanted: Json = {"key": _encoded(prefix), "range_end": _end(prefix), "prev_kv": True}
        request: Json = {"create_request": wanted}
        try:
            self._log_in_once(client)
            with client.session.post(
                client.get_url("watch"),
                json=request,
                stream=True,
                timeout=(client.timeout, idle),
            ) as answer:
                for line in filter(None, answer.iter_lines()):
                    result = json.loads(line).get("result", {"canceled": True})
                    if result.get("canceled"):
                        raise Unavailable(f"etcd: {printable(line.decode('utf-8', 'replace'))}")
                    yield result.get("events", [])
        except (Etcd3Exception, OSError, ValueError, AttributeError) as error:
            raise Unavailable(f"etcd: {_reason(error)}") from error
        raise Unavailable("etcd: the watch ended")

    def _tried(self, path: str, body: Json) -> Json:
        last: Exception | None = None
        # Once more than there are members: a connection that was kept may be no more.
        for _ in range(len(self._clients) + 1):
            client = self._clients[0]
            try:
                return self._post(client, path, body)
            except (Etcd3Exception, OSError, ValueError, KeyError) as error:
                last = error
                self._turn_away_from(client)
                if not isinstance(error, ConnectionFailedError):
                    break
        raise Unavailable(f"etcd: {_reason(last)}") from last

    def _post(self, client: Etcd3Client, path: str, body: Json) -> Json:
        fresh = self._log_in_once(client)
        try:
            return cast(Json, client.post(client.get_url(path), json=body))
        except (ConnectionFailedError, ConnectionTimeoutError):
            raise
        except Etcd3Exception:
            # It may be that the token is not known any more, which etcd says in many ways.
            if not self._user or fresh:
                raise
            client.session.headers.pop("Authorization", None)
            self._log_in_once(client)
            return cast(Json, client.post(client.get_url(path), json=body))

    def _log_in_once(self, client: Etcd3Client) -> bool:
        """Get a token if there is none; whether it is new."""
        if not self._user or "Authorization" in client.session.headers:
            return False
        login = {"name": self._user, "password": self._password}
        answer = client.post(client.get_url("auth/authenticate"), json=login)
        client.session.headers["Authorization"] = answer["token"]
        return True

    def _turn_away_from(self, client: Etcd3Client) -> None:
        if self._clients[0] is client:
            self._clients = [*self._clients[1:], client]


def created(key: str, revision: int) -> Json:
    """Compare: the key was made by this revision; 0: there is none."""
    return {
        "key": _encoded(key),
        "target": "CREATE",
        "result": "EQUAL",
        "create_revision": revision,
    }


def modified(key: str, revision: int) -> Json:
    """Compare: the key was last written by this revision; 0: there is none."""
    return {"key": _encoded(key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}


def put(key: str, value: str, lease: int = 0) -> Json:
    """Change: keep a value, as long as the lease lasts."""
    return {"request_put": {"key": _encoded(key), "value": _encoded(value), "lease": lease}}


def delete(key: str) -> Json:
    """Change: forget a key."""
    return {"request_delete_range": {"key": _encoded(key)}}


def change(event: Json) -> tuple[str, str | None, str | None]:
    """Of an event the key, and its value before and after; ``None`` where there was none."""
    kv, before = event["kv"], event.get("prev_kv")
    after = None if event.get("type") == "DELETE" else _decoded(kv.get("value", ""))
    return _decoded(kv["key"]), _decoded(before.get("value", "")) if before else None, after


def _client(
    url: str, timeout: float, ca: str | None, cert: str | None, key: str | None
) -> Etcd3Client:
    try:
        at = urlsplit(url)
        port = at.port or _PORT
        usable = at.scheme in {"http", "https"} and at.hostname and not at.path.strip("/")
    except ValueError:
        usable = False
    if not usable or "@" in url:
        # It may have a password in it.
        shown = printable(url.rpartition("@")[2])
        raise ConfigError(f"[device_manager] etcd_urls: {shown}: not like https://192.0.2.5:2379")
    client = Etcd3Client(
        host=str(at.hostname),
        port=port,
        protocol=at.scheme,
        ca_cert=ca,
        cert_cert=cert,
        cert_key=key,
        timeout=timeout,
    )
    # Neither a proxy nor other CA certificates because the environment has some.
    client.session.trust_env = False
    return client


def _record(kv: Mapping[str, str]) -> Record:
    return Record(
        value=_decoded(kv.get("value", "")),
        created=int(kv["create_revision"]),
        modified=int(kv["mod_revision"]),
    )


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", "replace")


def _end(prefix: str) -> str:
    """What follows all keys that begin with a prefix that ends with a slash."""
    return _encoded(prefix[:-1] + chr(ord("/") + 1))


def _reason(error: Exception | None) -> str:
    """What etcd said, or the connection."""
    detail = getattr(error, "detail_text", None)
    return printable(detail or f"{type(error).__name__}: {error}", limit=300)
