# SPDX-License-Identifier: Apache-2.0
"""The ports this host was told of, in SQLite, ordered by ``revision_number``.

``sriovctl`` writes it on a host without OpenStack, the notification listener elsewhere.
"""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct, to_builtins
from msgspec.structs import replace

from sriov_agent.core.state import Bindings, PortBinding
from sriov_agent.database import Database
from sriov_agent.exceptions import InvalidField
from sriov_agent.sources.port import Port, binding, trunk_sub_ports
from sriov_agent.sources.trunk import Network

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

_LOOKED_UP = (
    "ALTER TABLE port ADD COLUMN binding_revision INTEGER NOT NULL DEFAULT 0",
    "UPDATE port SET binding_revision = revision_number",
    "ALTER TABLE network ADD COLUMN segments TEXT NOT NULL DEFAULT '[]'",
    "CREATE TABLE sub_port (port_id TEXT PRIMARY KEY, network_id TEXT NOT NULL) STRICT",
)

_VLANS = (
    "CREATE TABLE vlan_alias (alias TEXT PRIMARY KEY, vlan INTEGER NOT NULL UNIQUE) STRICT",
    "CREATE TABLE vlan_range (low INTEGER PRIMARY KEY, high INTEGER NOT NULL) STRICT",
    "CREATE TABLE vlan_blacklist (vlan INTEGER PRIMARY KEY) STRICT",
    "INSERT INTO vlan_range VALUES (101, 4094)",
)

_TAPS = (
    """
    CREATE TABLE tap (
        name TEXT PRIMARY KEY,
        tap_id TEXT NOT NULL UNIQUE,
        bridge TEXT NOT NULL,
        vlan INTEGER NOT NULL,
        addresses TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE mirror (
        name TEXT PRIMARY KEY,
        mirror_id TEXT NOT NULL UNIQUE,
        source TEXT NOT NULL,
        tap TEXT NOT NULL
    ) STRICT
    """,
)

#: Above every revision Neutron gives: nothing follows a deletion.
_DELETED = 2**62
#: How many ports that are not bound here are kept, against events that come late.
_REMEMBERED = 10_000

Json = object
_Around = tuple[Mapping[str, Network], Mapping[str, str], Mapping[str, tuple[int, int]]]
#: What ports that are whole need of networks, subports and QoS policies.
_WHOLE: _Around = ({}, {}, {})


class Lacking(Struct, frozen=True, kw_only=True):
    """Ids of what the ports bound here need and nobody has told: ports whose binding is in doubt,
    networks, and subports of trunks.
    """

    ports: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    sub_ports: frozenset[str] = frozenset()


class Ports:
    """The table of ports. Every method raises ``Unavailable`` if the file cannot be used."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, _SCHEMA, _QOS, _LOOKED_UP, _VLANS, _TAPS)
        #: What the rows were read as last; most are as they were.
        self._read: dict[sqlite3.Row, Port] = {}
        #: What was made of them, beside what else.
        self._made: tuple[object, dict[sqlite3.Row, PortBinding | str]] = None, {}

    def create(self, binding: PortBinding) -> None:
        """Add a port of the operator's own.

        :raises InvalidField: if its id or MAC is taken
        """
        with self.database.transaction() as db:
            add(db, binding)

    def put(self, port: Port) -> bool:
        """Keep what was said of a port; False if something newer is known already."""
        with self.database.transaction() as db:
            known = kept(db, port.port_id)
            if known and known.revision_number > port.revision_number:
                return False
            keep(db, port)
        return True

    def delete(self, port_id: str) -> bool:
        """The port is gone for good; False if it was not known as bound here."""
        with self.database.transaction() as db:
            known = kept(db, port_id)
            keep(db, Port(port_id=port_id, revision_number=_DELETED, bound=False, document={}))
            db.execute(
                "DELETE FROM port WHERE NOT bound AND rowid <= (SELECT max(rowid) FROM port) - ?",
                (_REMEMBERED,),
            )
        return known is not None and known.bound

    def unbind_unchanged(self, known: Port) -> bool:
        """The port is not bound here any more; False if something was heard of it since."""
        with self.database.transaction() as db:
            if kept(db, known.port_id) != known:
                return False
            keep(db, replace(known, bound=False, network_id="", document={}, error=""))
        return True

    def get(self, port_id: str) -> Port | None:
        """One port, bound or not."""
        with self.database.reading() as db:
            return kept(db, port_id)

    def all(self) -> list[Port]:
        """Every port that is bound here, by id."""
        with self.database.reading() as db:
            return bound(db)

    def put_network(self, network: Network) -> frozenset[str]:
        """Keep where a network is; the ports bound here that this changes something for."""
        with self.database.transaction() as db:
            known = _networks(db).get(network.network_id)
            if known and known.revision_number > network.revision_number:
                return frozenset()
            db.execute(
                "INSERT OR REPLACE INTO network VALUES (?, ?, ?, ?, ?)",
                (
                    network.network_id,
                    network.revision_number,
                    network.vlan,
                    network.physical_network,
                    json.dumps(network.segments),
                ),
            )
            if known == replace(network, revision_number=known.revision_number if known else 0):
                return frozenset()
            return _concerned(db, network.network_id)

    def put_sub_ports(self, networks: Mapping[str, str]) -> frozenset[str]:
        """Keep the network ids of subports, which never change; the trunks' parents bound here."""
        with self.database.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO sub_port VALUES (?, ?)", networks.items())
            rows = db.execute("SELECT * FROM port WHERE bound").fetchall()
        return frozenset(
            port.port_id
            for port in map(_port, rows)
            if any(sub_port in networks for sub_port, _ in trunk_sub_ports(port))
        )

    def networks(self) -> frozenset[str]:
        """Ids of the networks of the ports bound here, and of their subports."""
        with self.database.reading() as db:
            ports = [_port(row) for row in db.execute("SELECT * FROM port WHERE bound")]
            of_sub_port = _sub_port_networks(db)
        found = {port.network_id for port in ports}
        for port in ports:
            found |= {of_sub_port.get(sub_port, "") for sub_port, _ in trunk_sub_ports(port)}
        return frozenset(found - {""})

    def lacking(self) -> Lacking:
        """What is not known of the ports bound here."""
        with self.database.reading() as db:
            ports = [_port(row) for row in db.execute("SELECT * FROM port WHERE bound")]
            networks = _networks(db)
            of_sub_port = _sub_port_networks(db)
        wanted: set[str] = set()
        sub_ports: set[str] = set()
        for port in ports:
            mentioned = {sub_port for sub_port, _ in trunk_sub_ports(port)}
            sub_ports |= mentioned - of_sub_port.keys()
            wanted |= {of_sub_port[sub_port] for sub_port in mentioned & of_sub_port.keys()}
            if None in (port.document.get("vlan"), port.document.get("physical_network")):
                wanted.add(port.network_id)
        return Lacking(
            ports=frozenset(port.port_id for port in ports if port.in_doubt),
            networks=frozenset(wanted - networks.keys() - {""}),
            sub_ports=frozenset(sub_ports),
        )

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
        with self.database.reading() as db:
            return _policies(db)

    def bindings(self) -> Bindings:
        """The ports bound here, each whole or with what is wrong."""
        read, (before, known) = self._read, self._made  # another thread may replace them
        with self.database.reading() as db:
            rows = db.execute("SELECT * FROM port WHERE bound").fetchall()
            ports = {row: read[row] if row in read else _port(row) for row in rows}
            whole = all(port.whole for port in ports.values())
            around = _WHOLE if whole else (_networks(db), _sub_port_networks(db), _policies(db))
        known = known if before == around else {}
        made = {
            row: known[row] if row in known else _made(port, *around) for row, port in ports.items()
        }
        self._read, self._made = ports, (around, made)
        return Bindings(
            ports={each.port_id: each for each in made.values() if isinstance(each, PortBinding)},
            invalid={row["port_id"]: why for row, why in made.items() if isinstance(why, str)},
        )


def add(db: sqlite3.Connection, binding: PortBinding) -> None:
    """Add a port of the operator's own, in the caller's transaction.

    :raises InvalidField: if its id or MAC is taken
    """
    for port in bound(db):
        if port.port_id == binding.port_id:
            raise InvalidField("id", binding.port_id, "this port exists")
        if port.document.get("mac") == binding.mac:
            raise InvalidField(
                "mac_address", binding.mac, f"already the MAC of port {port.port_id}"
            )
    document = to_builtins(binding)
    keep(
        db,
        Port(
            port_id=document.pop("port_id"),
            revision_number=document.pop("revision_number"),
            bound=True,
            document=document,
        ),
    )


def bound(db: sqlite3.Connection) -> list[Port]:
    """Every port that is bound here, by id, in the caller's transaction."""
    rows = db.execute("SELECT * FROM port WHERE bound ORDER BY port_id").fetchall()
    return [_port(row) for row in rows]


def _made(
    port: Port,
    networks: Mapping[str, Network],
    of_sub_port: Mapping[str, str],
    policies: Mapping[str, tuple[int, int]],
) -> PortBinding | str:
    """What the port wants, or what is wrong with it."""
    try:
        return port.error or binding(port, networks, of_sub_port, policies)
    except InvalidField as error:
        return str(error)


def _concerned(db: sqlite3.Connection, network_id: str) -> frozenset[str]:
    """The ports bound here that are in the network, or whose trunk has a subport in it."""
    of_sub_port = _sub_port_networks(db)
    return frozenset(
        port.port_id
        for port in map(_port, db.execute("SELECT * FROM port WHERE bound"))
        if port.network_id == network_id
        or any(of_sub_port.get(sub_port) == network_id for sub_port, _ in trunk_sub_ports(port))
    )


def _networks(db: sqlite3.Connection) -> dict[str, Network]:
    return {
        row["network_id"]: Network(
            network_id=row["network_id"],
            revision_number=row["revision_number"],
            vlan=row["vlan"],
            physical_network=row["physical_network"],
            segments=tuple((vlan, name) for vlan, name in json.loads(row["segments"])),
        )
        for row in db.execute("SELECT * FROM network")
    }


def _policies(db: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    rows = db.execute("SELECT * FROM qos_policy")
    return {row["policy_id"]: (row["max_tx_rate"], row["min_tx_rate"]) for row in rows}


def _sub_port_networks(db: sqlite3.Connection) -> dict[str, str]:
    return {row["port_id"]: row["network_id"] for row in db.execute("SELECT * FROM sub_port")}


def kept(db: sqlite3.Connection, port_id: str) -> Port | None:
    """What is known of a port, in the caller's transaction."""
    row = db.execute("SELECT * FROM port WHERE port_id = ?", (port_id,)).fetchone()
    return _port(row) if row else None


def keep(db: sqlite3.Connection, port: Port) -> None:
    """Know this of a port from now on, in the caller's transaction."""
    db.execute(
        "INSERT OR REPLACE INTO port VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            port.port_id,
            port.revision_number,
            int(port.bound),
            port.network_id,
            json.dumps(dict(port.document)),
            port.error,
            port.told_binding,
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
        binding_revision=row["binding_revision"],
    )
