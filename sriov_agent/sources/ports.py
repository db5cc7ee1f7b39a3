# SPDX-License-Identifier: Apache-2.0
"""The ports this host was told of, in SQLite, ordered by ``revision_number``.

``sriovctl`` writes it on a host without OpenStack, the notification listener elsewhere.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from sriov_agent.core.model import LinkState
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

_QOS = (
    """
    CREATE TABLE qos_policy (
        policy_id TEXT PRIMARY KEY,
        max_tx_rate INTEGER NOT NULL,
        min_tx_rate INTEGER NOT NULL
    ) STRICT
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
    absent there when they come from the network. A ``qos_policy_id`` gives the rates, and
    ``propagate_uplink_status`` tells ``auto`` from ``enable``. ``error`` is why the last word was
    refused.
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
        self.database = Database(path, _SCHEMA, _QOS)

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

    def unbind(self, port_id: str) -> bool:
        """The port is not bound here any more, whatever its revision; False if it was not."""
        with self.database.transaction() as db:
            query = "UPDATE port SET bound = 0 WHERE port_id = ? AND bound"
            return db.execute(query, (port_id,)).rowcount > 0

    def put_policy(self, policy_id: str, max_tx_rate: int, min_tx_rate: int) -> frozenset[str]:
        """Keep what a QoS policy makes of rates, in Mbit/s; the ports bound here that have it."""
        with self.database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO qos_policy VALUES (?, ?, ?)",
                (policy_id, max_tx_rate, min_tx_rate),
            )
            rows = db.execute("SELECT * FROM port WHERE bound").fetchall()
        ports = map(_port, rows)
        return frozenset(
            port.port_id for port in ports if port.document.get("qos_policy_id") == policy_id
        )

    def keep_policies(self, policy_ids: frozenset[str]) -> None:
        """Forget the QoS policies but these: nobody says any more what the others are."""
        with self.database.transaction() as db:
            rows = db.execute("SELECT policy_id FROM qos_policy").fetchall()
            gone = [(row["policy_id"],) for row in rows if row["policy_id"] not in policy_ids]
            db.executemany("DELETE FROM qos_policy WHERE policy_id = ?", gone)

    def policies(self) -> dict[str, tuple[int, int]]:
        """(max_tx_rate, min_tx_rate) in Mbit/s by QoS policy."""
        with self.database.transaction() as db:
            rows = db.execute("SELECT * FROM qos_policy").fetchall()
        return {row["policy_id"]: (row["max_tx_rate"], row["min_tx_rate"]) for row in rows}

    def bindings(self) -> Bindings:
        """The ports bound here, each whole or with what is wrong."""
        with self.database.transaction() as db:
            rows = db.execute("SELECT * FROM port WHERE bound").fetchall()
            networks = {row["network_id"]: row for row in db.execute("SELECT * FROM network")}
            policies = {row["policy_id"]: row for row in db.execute("SELECT * FROM qos_policy")}
        ports: dict[str, PortBinding] = {}
        invalid: dict[str, str] = {}
        for port in map(_port, rows):
            try:
                if port.error:
                    invalid[port.port_id] = port.error
                else:
                    network = networks.get(port.network_id)
                    ports[port.port_id] = _binding(port, network, policies)
            except InvalidField as error:
                invalid[port.port_id] = str(error)
        return Bindings(ports=ports, invalid=invalid)


def _binding(
    port: Port, network: sqlite3.Row | None, policies: Mapping[object, sqlite3.Row]
) -> PortBinding:
    document = dict(port.document)
    policy_id = document.pop("qos_policy_id", None)
    if policy_id is not None:
        if policy_id not in policies:
            raise InvalidField("qos_policy_id", policy_id, "its rules are not known yet")
        document["max_tx_rate"] = policies[policy_id]["max_tx_rate"]
        document["min_tx_rate"] = policies[policy_id]["min_tx_rate"]
    propagated = document.pop("propagate_uplink_status", True)
    if not propagated and document.get("link_state") == LinkState.AUTO:
        document["link_state"] = LinkState.ENABLE
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
