# SPDX-License-Identifier: Apache-2.0
"""The ports this host was told of, in SQLite, ordered by ``revision_number``.

``sriovctl`` writes it on a host without OpenStack, the notification listener elsewhere.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sriov_agent.core.state import Bindings, PortBinding
from sriov_agent.database import Database
from sriov_agent.exceptions import InvalidField

_SCHEMA = (
    """
    CREATE TABLE port (
        port_id TEXT PRIMARY KEY,
        revision_number INTEGER NOT NULL,
        bound INTEGER NOT NULL,
        network_id TEXT NOT NULL DEFAULT '',
        document TEXT NOT NULL DEFAULT '{}',
        error TEXT NOT NULL DEFAULT ''
    ) STRICT
    """,
    """
    CREATE TABLE network (
        network_id TEXT PRIMARY KEY,
        revision_number INTEGER NOT NULL,
        vlan INTEGER,
        physical_network TEXT
    ) STRICT
    """,
    """
    CREATE INDEX port_network ON port (network_id)
    """,
)

#: Above every revision Neutron gives: nothing follows a deletion.
_DELETED = 2**62
#: How many ports that are not bound here are kept, against events that come late.
_REMEMBERED = 10_000

Json = object


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """One row: what was last said of a port.

    ``document`` holds the fields of a :class:`PortBinding`; VLAN and physical network may be
    absent there when they come from the network. ``error`` is why the last word was refused.
    """

    port_id: str
    revision_number: int
    bound: bool
    network_id: str = ""
    document: Mapping[str, Json]
    error: str = ""


class Ports:
    """The table of ports. Every method raises ``Unavailable`` if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, _SCHEMA)

    def create(self, binding: PortBinding) -> None:
        """Add a port of the operator's own.

        :raises InvalidField: if its id or MAC is taken
        """
        with self.database.transaction() as db:
            for row in db.execute("SELECT * FROM port WHERE bound").fetchall():
                port = _port(row)
                if port.port_id == binding.port_id:
                    raise InvalidField("id", binding.port_id, "this port exists")
                if port.document.get("mac") == binding.mac:
                    raise InvalidField(
                        "mac_address", binding.mac, f"already the MAC of port {port.port_id}"
                    )
            document = asdict(binding)
            _put(
                db,
                Port(
                    port_id=document.pop("port_id"),
                    revision_number=document.pop("revision_number"),
                    bound=True,
                    document=document,
                ),
            )

    def put(self, port: Port) -> bool:
        """Keep what was said of a port; False if something newer is known already."""
        with self.database.transaction() as db:
            known = _get(db, port.port_id)
            if known and known.revision_number > port.revision_number:
                return False
            _put(db, port)
        return True

    def delete(self, port_id: str) -> bool:
        """The port is gone for good; False if it was not known as bound here."""
        with self.database.transaction() as db:
            known = _get(db, port_id)
            _put(db, Port(port_id=port_id, revision_number=_DELETED, bound=False, document={}))
            db.execute(
                "DELETE FROM port WHERE NOT bound AND rowid <= (SELECT max(rowid) FROM port) - ?",
                (_REMEMBERED,),
            )
        return known is not None and known.bound

    def get(self, port_id: str) -> Port | None:
        """One port, bound or not."""
        with self.database.transaction() as db:
            return _get(db, port_id)

    def all(self) -> list[Port]:
        """Every port that is bound here, by id."""
        with self.database.transaction() as db:
            rows = db.execute("SELECT * FROM port WHERE bound ORDER BY port_id").fetchall()
        return [_port(row) for row in rows]

    def put_network(
        self, network_id: str, revision: int, vlan: int | None, physical_network: str | None
    ) -> frozenset[str]:
        """Keep a network's provider attributes; the ports of it that are bound here."""
        with self.database.transaction() as db:
            db.execute(
                "INSERT INTO network VALUES (?, ?, ?, ?) ON CONFLICT (network_id) DO UPDATE SET "
                "revision_number = excluded.revision_number, vlan = excluded.vlan, "
                "physical_network = excluded.physical_network "
                "WHERE revision_number <= excluded.revision_number",
                (network_id, revision, vlan, physical_network),
            )
            rows = db.execute(
                "SELECT port_id FROM port WHERE bound AND network_id = ?", (network_id,)
            ).fetchall()
        return frozenset(row["port_id"] for row in rows)

    def bindings(self) -> Bindings:
        """The ports bound here, each whole or with what is wrong."""
        with self.database.transaction() as db:
            rows = db.execute("SELECT * FROM port WHERE bound").fetchall()
            networks = {row["network_id"]: row for row in db.execute("SELECT * FROM network")}
        ports: dict[str, PortBinding] = {}
        invalid: dict[str, str] = {}
        for port in map(_port, rows):
            try:
                if port.error:
                    invalid[port.port_id] = port.error
                else:
                    ports[port.port_id] = _binding(port, networks.get(port.network_id))
            except InvalidField as error:
                invalid[port.port_id] = str(error)
        return Bindings(ports=ports, invalid=invalid)


def _binding(port: Port, network: sqlite3.Row | None) -> PortBinding:
    document = dict(port.document)
    for name, field in (
        ("vlan", "provider:segmentation_id"),
        ("physical_network", "provider:physical_network"),
    ):
        if document.get(name) is None:
            if network is None:
                raise InvalidField(
                    "network_id", port.network_id, f"its {field} is not known to this agent yet"
                )
            document[name] = network[name]
            if network[name] is None:
                raise InvalidField(field, None, f"network {port.network_id} has none")
    try:
        return PortBinding(
            port_id=port.port_id,
            revision_number=port.revision_number,
            **{"network_id": port.network_id, **document},  # type: ignore[arg-type]
        )
    except TypeError as error:
        raise InvalidField("port", port.port_id, f"incomplete: {error}") from error


def _get(db: sqlite3.Connection, port_id: str) -> Port | None:
    row = db.execute("SELECT * FROM port WHERE port_id = ?", (port_id,)).fetchone()
    return _port(row) if row else None


def _put(db: sqlite3.Connection, port: Port) -> None:
    db.execute(
        "INSERT OR REPLACE INTO port VALUES (?, ?, ?, ?, ?, ?)",
        (
            port.port_id,
            port.revision_number,
            int(port.bound),
            port.network_id,
            json.dumps(dict(port.document)),
            port.error,
        ),
    )


def _port(row: sqlite3.Row) -> Port:
    return Port(
        port_id=row["port_id"],
        revision_number=row["revision_number"],
        bound=bool(row["bound"]),
        network_id=row["network_id"],
        document=json.loads(row["document"]),
        error=row["error"],
    )
