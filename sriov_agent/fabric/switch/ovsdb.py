# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch by its configuration database, OVSDB."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping

from sriov_agent.core.fields import MAX_VLAN
from sriov_agent.exceptions import ConfigError, Refused, Unavailable
from sriov_agent.fabric.model import Applied, Change, Ports, PortVlans
from sriov_agent.fabric.switch.base import (
    Decide,
    Login,
    Switch,
    effective,
    port_name,
    targets,
)
from sriov_agent.ovsdb import DATABASE, Operation, Row, Wire, changed, many, one, select

DEFAULT_PORT = 6640
#: what is read of a port; it must all be as it was read when it is changed
COLUMNS = ["interfaces", "vlan_mode", "tag", "trunks"]


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
            (about,) = wire.transact(select(DATABASE, columns))[0]["rows"]
            ports = _ports(wire)
        trunks = sum(carried(row).trunk for row in ports.values())
        version = f"Open vSwitch {one(about['ovs_version']) or 'that does not tell its version'}"
        schema = f"schema {one(about['db_version']) or 'unknown'}"
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
            operations = itertools.chain.from_iterable(edits)
            wire.transact(
                *changed(*operations, by="sriov-device-manager"),
                late="somebody else changed the ports in the meantime",
                lost="whether the change was made is unknown",
            )
            return Applied(before=before, changes=changes, after=_named(_ports(wire), names))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Wire]:
        """A connection for one call: nothing of an earlier one can be mistaken for an answer."""
        where = f"{self.login.name} ({self.login.address})"
        try:
            connection = self._socket()
        except OSError as error:
            raise Unavailable(f"{where}: {error}") from error
        with connection:
            yield Wire(connection, where, self.login.timeout)

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


def _ports(wire: Wire) -> dict[str, Row]:
    """The rows of all ports, and of members of bonds, as ovs-vswitchd has taken them."""
    selects = (
        select("Port", ["name", *COLUMNS]),
        select("Interface", ["_uuid", "name"]),
    )
    try:
        ports, interfaces = wire.settled(*selects)
        return rows(ports["rows"], interfaces["rows"])
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
        members = [name_of.get(uuid) for _, uuid in many(row["interfaces"])]
        if len(members) > 1:
            found |= {member: {**row, "lag": row["name"]} for member in members if member}
        found[row["name"]] = row
    return found


def _named(found: Mapping[str, Row], names: Iterable[str]) -> Ports:
    return {name: carried(found[name]) for name in names if name in found}


def carried(row: Row) -> PortVlans:
    """What a port carries by ``vlan_mode``, ``tag`` and ``trunks``: ovs-vswitchd.conf.db(5)."""
    tag, lag, listed = one(row["tag"]), row.get("lag", ""), many(row["trunks"])
    mode = one(row["vlan_mode"]) or ("trunk" if tag is None else "access")
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
    if not (set(many(row["trunks"])) | change.add) - change.remove:
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
