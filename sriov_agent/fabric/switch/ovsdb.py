# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch by its configuration database: OVSDB, RFC 7047, with the standard library alone.

ovsdbapp would hold a copy of the database that says nothing about how old it is, a thread a
switch and TLS files that all switches share, and waits for ever on a server that says nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sriov_agent.core.fields import MAX_VLAN
from sriov_agent.exceptions import ConfigError, Refused, Unavailable, printable
from sriov_agent.fabric.model import Applied, Change, Ports, PortVlans
from sriov_agent.fabric.switch.base import (
    Decide,
    Login,
    Switch,
    effective,
    port_name,
    targets,
)

DATABASE = "Open_vSwitch"
DEFAULT_PORT = 6640
#: what is read of a port; it must all be as it was read when it is changed
COLUMNS = ["interfaces", "vlan_mode", "tag", "trunks"]
#: errors of an operation that may pass (RFC 7047 5.2); of the others each is a no
PASSING = {"aborted", "I/O error", "not owner", "resources exhausted"}
LONGEST_ANSWER = 1 << 26

Operation = dict[str, Any]
Row = Mapping[str, Any]


class Ovsdb(Switch):
    """``address`` is an OVSDB remote, ``tcp:HOST:PORT``, ``ssl:HOST:PORT`` or ``unix:PATH``, or a
    host, for ``tcp`` on ``port`` (6640). ``ssl`` needs ``key_file``, and the options ``cert_file``
    and ``ca_file``: the switch is who has a certificate of this authority.

    Nothing is locked, since OVSDB's locks bind only those who ask for them. A transaction holds
    only if the ports are still as they were read, whoever else writes; if not, that is
    ``Unavailable``. What is reported was read after ovs-vswitchd had taken it.
    """

    def __init__(self, login: Login) -> None:
        super().__init__(login)
        self._kind, self._host, self._port = _remote(login)
        self._tls = _tls(login) if self._kind == "ssl" else None

    def describe(self) -> list[str]:
        with self._connected() as wire:
            columns = ["ovs_version", "db_version", "cur_cfg", "next_cfg"]
            (about,) = wire.transact(_select(DATABASE, columns))[0]["rows"]
            ports = _ports(wire)
        trunks = sum(carried(row).trunk for row in ports.values())
        version = f"Open vSwitch {_one(about['ovs_version']) or 'that does not tell its version'}"
        schema = f"schema {_one(about['db_version']) or 'unknown'}"
        taken = f"ovs-vswitchd has taken configuration {about['cur_cfg']} of {about['next_cfg']}"
        return [f"{version}, {schema}", f"{len(ports)} ports, {trunks} of them trunks", taken]

    def read(self, ports: Iterable[str]) -> Ports:
        names = [port_name(name) for name in ports]
        with self._connected() as wire:
            return _named(_ports(wire), names)

    def apply(self, ports: Iterable[str], decide: Decide) -> Applied:
        names = [port_name(name) for name in ports]
        with self._connected() as wire:
            found = _ports(wire)
            before = _named(found, names)
            changes = effective(before, decide(before), self.needs_a_vlan)
            if not changes:
                return Applied(before=before, changes={}, after=before)
            edits = [
                _edit(port, found[port], made) for port, made in targets(before, changes).items()
            ]
            bump = {"op": "mutate", "table": DATABASE, "where": []}
            wire.transact(
                *itertools.chain.from_iterable(edits),
                {**bump, "mutations": [["next_cfg", "+=", 1]]},
                {"op": "comment", "comment": "sriov-device-manager"},
                {"op": "commit", "durable": True},
                late="somebody else changed the ports in the meantime",
                lost="whether the change was made is unknown",
            )
            return Applied(before=before, changes=changes, after=_named(_ports(wire), names))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[_Wire]:
        """A connection for one call: nothing of an earlier one can be mistaken for an answer."""
        where = f"{self.login.name} ({self.login.address})"
        try:
            connection = self._socket()
        except OSError as error:
            raise Unavailable(f"{where}: {error}") from error
        with connection:
            yield _Wire(connection, where, self.login.timeout)

    def _socket(self) -> socket.socket:
        if self._kind != "unix":
            connection = socket.create_connection((self._host, self._port), self.login.timeout)
            return self._tls.wrap_socket(connection) if self._tls else connection
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.login.timeout)
            connection.connect(self._host)
        except OSError:
            connection.close()
            raise
        return connection


class _Wire:
    """One connection: requests and their answers.

    :param where: whose it is, for messages
    :param timeout: seconds for each answer
    """

    def __init__(self, connection: socket.socket, where: str, timeout: float) -> None:
        self.where = where
        self.timeout = timeout
        self._connection = connection
        self._buffer = b""
        self._last_id = 0

    def transact(
        self, *operations: Operation, late: str = "", lost: str = ""
    ) -> list[dict[str, Any]]:
        """The results of the operations, all of which were done.

        :param late: what it means if what was waited for did not come
        :param lost: what it means if the answer did not come
        :raises Refused: one cannot be done, and none was
        :raises Unavailable: one could not be done now, and none was; or the connection failed
        """
        self._last_id += 1
        try:
            answer = self._answer("transact", [DATABASE, *operations])
        except OSError as error:
            reason = "; ".join(filter(None, [str(error), lost]))
            raise Unavailable(f"{self.where}: {reason}") from error
        if answer.get("error") is not None:
            raise Refused(f"{self.where}: {printable(json.dumps(answer['error']))}")
        results: list[dict[str, Any]] = answer["result"]
        for result in filter(None, results):
            if failed := result.get("error"):
                if failed == "timed out":
                    raise Unavailable(f"{self.where}: {late}")
                kind = Unavailable if failed in PASSING else Refused
                details = printable(result.get("details", ""))
                raise kind(f"{self.where}: {printable(failed)} {details}")
        return results

    def _answer(self, method: str, parameters: list[Any]) -> dict[str, Any]:
        self._send({"id": self._last_id, "method": method, "params": parameters})
        deadline = time.monotonic() + self.timeout
        while True:
            message = self._receive(deadline)
            if message.get("method") == "echo":
                echo = {"id": message.get("id"), "result": message.get("params"), "error": None}
                self._send(echo)
            elif message.get("id") == self._last_id and "method" not in message:
                return message

    def _send(self, message: Mapping[str, Any]) -> None:
        self._connection.settimeout(self.timeout)
        self._connection.sendall(json.dumps(message).encode())

    def _receive(self, deadline: float) -> dict[str, Any]:
        """The next message; they follow one another with nothing between them."""
        while True:
            if self._buffer.endswith(b"}"):
                with contextlib.suppress(ValueError):
                    message, end = json.JSONDecoder().raw_decode(self._buffer.decode())
                    if isinstance(message, dict):
                        self._buffer = self._buffer.decode()[end:].encode()
                        return message
            self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            received = self._connection.recv(1 << 16)
            self._buffer += received
            if not received or len(self._buffer) > LONGEST_ANSWER:
                raise ConnectionError("the connection ended, or it does not speak OVSDB")


def _select(table: str, columns: list[str]) -> Operation:
    return {"op": "select", "table": table, "where": [], "columns": columns}


def _ports(wire: _Wire) -> dict[str, Row]:
    """The rows of all ports, and of members of bonds, as ovs-vswitchd has taken them."""
    selects = (
        _select(DATABASE, ["cur_cfg", "next_cfg"]),
        _select("Port", ["name", *COLUMNS]),
        _select("Interface", ["_uuid", "name"]),
    )
    try:
        results = wire.transact(*selects)
        (state,) = results[0]["rows"]
        if state["cur_cfg"] < state["next_cfg"]:
            taken = {"op": "wait", "timeout": int(wire.timeout * 900), "table": DATABASE}
            taken |= {"where": [["cur_cfg", ">=", state["next_cfg"]]], "until": "!="}
            late = f"ovs-vswitchd has not taken its configuration in {wire.timeout:g} s"
            wire.transact({**taken, "columns": ["cur_cfg"], "rows": []}, late=late)
            results = wire.transact(*selects)
        return rows(results[1]["rows"], results[2]["rows"])
    except (LookupError, TypeError, ValueError) as error:
        raise Unavailable(
            f"{wire.where}: its answer is not as Open vSwitch's: {error!r}"
        ) from error


def rows(listed: Iterable[Row], interfaces: Iterable[Row]) -> dict[str, Row]:
    """The rows of ports by name, and for each member of a bond that of its port with ``lag``.

    :param listed: rows of the table Port, as JSON has them (RFC 7047 5.1)
    :param interfaces: ``_uuid`` and ``name`` of those of the table Interface
    """
    name_of = {row["_uuid"][1]: row["name"] for row in interfaces}
    found: dict[str, Row] = {}
    for row in listed:
        members = [name_of.get(uuid) for _, uuid in _many(row["interfaces"])]
        if len(members) > 1:
            found |= {member: {**row, "lag": row["name"]} for member in members if member}
        found[row["name"]] = row
    return found


def _named(found: Mapping[str, Row], names: Iterable[str]) -> Ports:
    return {name: carried(found[name]) for name in names if name in found}


def carried(row: Row) -> PortVlans:
    """What a port carries by ``vlan_mode``, ``tag`` and ``trunks``: ovs-vswitchd.conf.db(5)."""
    tag, lag, listed = _one(row["tag"]), row.get("lag", ""), _many(row["trunks"])
    mode = _one(row["vlan_mode"]) or ("trunk" if tag is None else "access")
    if mode not in {"trunk", "native-tagged", "native-untagged"}:
        return PortVlans(trunk=False, native=tag, lag=lag)
    native = None if mode == "trunk" else tag
    vlans = {vlan for vlan in listed if 1 <= vlan <= MAX_VLAN}
    if native is not None:
        vlans = vlans | {native} if mode == "native-tagged" else vlans - {native}
    return PortVlans(
        vlans=frozenset() if not listed else frozenset(vlans),
        every=not listed,
        native=native,
        lag=lag,
    )


def _edit(port: str, row: Row, change: Change) -> Iterator[Operation]:
    """What changes a port, if it is as it was read.

    :raises Refused: its list would be empty, which opens it to all VLANs
    """
    # What it carries may be more than what is listed: the VLAN of native-tagged is not.
    if not (set(_many(row["trunks"])) | change.add) - change.remove:
        raise Refused(f"{port}: with an empty list it would be open to all VLANs")
    where = [["name", "==", port]]
    as_it_was = {column: row[column] for column in COLUMNS}
    yield {
        "op": "wait",
        "timeout": 0,
        "table": "Port",
        "where": where,
        "columns": COLUMNS,
        "until": "==",
        "rows": [as_it_was],
    }
    yield {
        "op": "mutate",
        "table": "Port",
        "where": where,
        "mutations": [
            ["trunks", "insert", ["set", sorted(change.add)]],
            ["trunks", "delete", ["set", sorted(change.remove)]],
        ],
    }


def _many(value: Any) -> list[Any]:
    """The members of a set column: a set of one is that one alone."""
    if isinstance(value, list) and value[0] == "set":
        return list(value[1])
    return [value]


def _one(value: Any) -> Any:
    """That of a column with at most one, or ``None``."""
    return next(iter(_many(value)), None)


def _remote(login: Login) -> tuple[str, str, int]:
    """Its kind, host or path, and port."""
    kind, _, rest = login.address.partition(":")
    if kind not in {"tcp", "ssl", "unix"}:
        return "tcp", login.address, login.port or DEFAULT_PORT
    if kind == "unix":
        return kind, rest, 0
    host, _, port = rest.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(
            f"[switch:{login.name}] address: {login.address!r} is not {kind}:HOST:PORT"
        )
    return kind, host.strip("[]"), int(port)


def _tls(login: Login) -> ssl.SSLContext:
    files = {name: login.options.get(name, "") for name in ("ca_file", "cert_file")}
    files["key_file"] = str(login.key_file or "")
    for name, path in files.items():
        if not path:
            raise ConfigError(f"[switch:{login.name}] {name}: ssl needs it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # the certificates of Open vSwitch name no hosts
    try:
        context.load_verify_locations(files["ca_file"])
        context.load_cert_chain(files["cert_file"], files["key_file"])
    except OSError as error:
        paths = ", ".join(files.values())
        raise ConfigError(f"[switch:{login.name}] {paths}: {error}") from error
    return context
