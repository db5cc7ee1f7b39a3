# SPDX-License-Identifier: Apache-2.0
"""The Open vSwitch of this host and what host taps take of it: rows of OVSDB.

Ours are the ports and mirrors that say so in ``external_ids``. Source: ovs-vswitchd.conf.db(5).
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sriov_agent.core.tap_actions import (
    MakeMirror,
    MakePort,
    OvsAction,
    RemoveMirror,
    RemovePort,
    SetTag,
)
from sriov_agent.core.taps import Ovs, OvsMirror, OvsPort
from sriov_agent.exceptions import Unavailable
from sriov_agent.ovsdb import Operation, Row, Wire, changed, many, one, select

#: Keys of ``external_ids`` with the ids of taps and mirrors.
TAP, MIRROR = "sriov-agent-tap", "sriov-agent-mirror"

_SELECTS = (
    select("Bridge", ["name", "ports", "mirrors"]),
    select("Port", ["_uuid", "name", "tag", "vlan_mode", "interfaces", "external_ids"]),
    select("Interface", ["_uuid", "error"]),
    select(
        "Mirror",
        "_uuid external_ids select_all select_src_port select_dst_port output_port".split(),
    ),
)


class OpenVswitch:
    """Talks to the database over its socket; each call is a connection of its own.

    :param timeout: seconds for each answer
    """

    def __init__(self, path: Path, timeout: float = 10.0) -> None:
        self.path = path
        self.timeout = timeout

    def look(self) -> Ovs:
        """Bridges and ports, as ovs-vswitchd has taken them.

        :raises Unavailable: if it does not answer
        """
        with self._wire() as wire:
            try:
                return read(*(result["rows"] for result in wire.settled(*_SELECTS)))
            except (LookupError, TypeError, ValueError) as error:
                raise Unavailable(f"{self.path}: not as Open vSwitch's: {error!r}") from error

    def apply(self, action: OvsAction) -> None:
        """Carry it out, if what it is about is as it was seen.

        :raises Refused: if the database refuses
        :raises Unavailable: if it does not answer, or has changed in the meantime
        """
        with self._wire() as wire:
            wire.transact(
                *changed(*operations(action), by="sriov-agent"),
                late="somebody else changed it in the meantime",
                lost="whether the change was made is unknown",
            )

    @contextmanager
    def _wire(self) -> Iterator[Wire]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            try:
                connection.settimeout(self.timeout)
                connection.connect(str(self.path))
            except OSError as error:
                raise Unavailable(f"{self.path}: {error}") from error
            yield Wire(connection, str(self.path), self.timeout)


def read(bridges: list[Row], ports: list[Row], interfaces: list[Row], mirrors: list[Row]) -> Ovs:
    """What rows of these tables say, as JSON has them (RFC 7047 5.1)."""
    bridge_of = {uuid: row["name"] for row in bridges for uuid in _uuids(row["ports"])}
    mirror_of = {uuid: row["name"] for row in bridges for uuid in _uuids(row["mirrors"])}
    name_of = {row["_uuid"][1]: row["name"] for row in ports}
    error_of = {row["_uuid"][1]: one(row["error"]) or "" for row in interfaces}
    found = [
        OvsPort(
            name=row["name"],
            uuid=row["_uuid"][1],
            bridge=bridge_of.get(row["_uuid"][1], ""),
            tag=one(row["tag"]) if one(row["vlan_mode"]) in (None, "access") else None,
            tap_id=_external_ids(row).get(TAP, ""),
            error="; ".join(filter(None, map(error_of.get, _uuids(row["interfaces"])))),
        )
        for row in ports
    ]
    return Ovs(
        bridges=frozenset(row["name"] for row in bridges),
        ports={port.name: port for port in found},
        mirrors=tuple(
            OvsMirror(
                mirror_id=_external_ids(row)[MIRROR],
                uuid=row["_uuid"][1],
                bridge=mirror_of.get(row["_uuid"][1], ""),
                source=_source(row, name_of),
                output=name_of.get("".join(_uuids(row["output_port"])), ""),
            )
            for row in mirrors
            if MIRROR in _external_ids(row)
        ),
    )


def operations(action: OvsAction) -> Iterator[Operation]:
    """What carries it out."""
    match action:
        case MakePort(tap_id, name, bridge, vlan):
            yield _is_there("Bridge", ["name", "==", bridge], {"name": bridge})
            interface = {"name": name, "type": "internal"}
            yield {"op": "insert", "table": "Interface", "row": interface, "uuid-name": "leg"}
            row = {"name": name, "tag": vlan, "vlan_mode": "access"}
            row |= {"interfaces": ["named-uuid", "leg"], "external_ids": _map(TAP, tap_id)}
            yield {"op": "insert", "table": "Port", "row": row, "uuid-name": "port"}
            yield _member(bridge, "ports", "insert", ["named-uuid", "port"])
        case SetTag(port, vlan):
            yield _port(port)
            row = {"tag": vlan, "vlan_mode": "access"}
            yield {"op": "update", "table": "Port", "where": _where(port.uuid), "row": row}
        case RemovePort(port):
            yield _port(port)
            yield _member(port.bridge, "ports", "delete", ["uuid", port.uuid])
        case MakeMirror(mirror_id, name, bridge, source, output):
            yield _port(source)
            yield _port(output)
            of = ["uuid", source.uuid]
            row = {"name": name, "select_src_port": of, "select_dst_port": of}
            row |= {"output_port": ["uuid", output.uuid], "external_ids": _map(MIRROR, mirror_id)}
            yield {"op": "insert", "table": "Mirror", "row": row, "uuid-name": "mirror"}
            yield _member(bridge, "mirrors", "insert", ["named-uuid", "mirror"])
        case RemoveMirror(mirror):
            yield _member(mirror.bridge, "mirrors", "delete", ["uuid", mirror.uuid])


def _is_there(table: str, where: list[Any], row: Row) -> Operation:
    """What fails the transaction if no row is like this."""
    wait = {"op": "wait", "timeout": 0, "table": table, "where": [where], "until": "=="}
    return {**wait, "columns": list(row), "rows": [dict(row)]}


def _port(port: OvsPort) -> Operation:
    return _is_there("Port", _where(port.uuid)[0], {"name": port.name})


def _where(uuid: str) -> list[list[Any]]:
    return [["_uuid", "==", ["uuid", uuid]]]


def _member(bridge: str, column: str, how: str, uuid: list[str]) -> Operation:
    mutate = {"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]]}
    return {**mutate, "mutations": [[column, how, ["set", [uuid]]]]}


def _map(key: str, value: str) -> list[Any]:
    return ["map", [[key, value]]]


def _external_ids(row: Row) -> dict[str, str]:
    return dict(row["external_ids"][1])


def _uuids(value: Any) -> list[str]:
    return [uuid for _, uuid in (many(value) if value[0] == "set" else [value])]


def _source(row: Row, name_of: dict[str, str]) -> str:
    """The one port that is mirrored in both directions, "" if it is not like that."""
    incoming, outgoing = _uuids(row["select_src_port"]), _uuids(row["select_dst_port"])
    if incoming != outgoing or len(incoming) != 1 or row["select_all"]:
        return ""
    return name_of.get(incoming[0], "")
