# SPDX-License-Identifier: Apache-2.0
"""The agent's own record: claims, fabric entries it added, and the last report.

One row a port, unique on the VF. Everything here can be lost: claims are rebuilt from the
source, the interface XML and the kernel.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from sriov_agent.core.lldp import as_json as neighbor_json
from sriov_agent.core.model import Cabling, KnownCabling, LldpId, Segment, SwitchPort
from sriov_agent.core.report import PortReport, Report
from sriov_agent.core.state import Claim
from sriov_agent.core.tap_plan import Status
from sriov_agent.core.topology import pf_json
from sriov_agent.database import Database

_SCHEMA = (
    """
    CREATE TABLE claim (
        port_id TEXT PRIMARY KEY,
        vf TEXT NOT NULL UNIQUE,
        pf TEXT NOT NULL,
        vf_index INTEGER NOT NULL,
        mac TEXT NOT NULL,
        former_mac TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE switch_port (
        pf TEXT NOT NULL,
        chassis_id_subtype TEXT NOT NULL,
        chassis_id TEXT NOT NULL,
        port_id_subtype TEXT NOT NULL,
        port_id TEXT NOT NULL,
        system_name TEXT NOT NULL,
        port_description TEXT NOT NULL,
        PRIMARY KEY (pf, chassis_id_subtype, chassis_id, port_id_subtype, port_id)
    ) STRICT
    """,
    """
    CREATE TABLE cabling (
        pf TEXT PRIMARY KEY,
        chassis_id_subtype TEXT NOT NULL,
        chassis_id TEXT NOT NULL,
        port_id_subtype TEXT NOT NULL,
        port_id TEXT NOT NULL,
        system_name TEXT NOT NULL,
        port_description TEXT NOT NULL,
        carrier_changes INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE status (port_id TEXT PRIMARY KEY, report TEXT NOT NULL) STRICT
    """,
    """
    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT
    """,
)

_VIEWS = (
    "CREATE TABLE lldp (uplink TEXT PRIMARY KEY, cabling TEXT NOT NULL) STRICT",
    "CREATE TABLE fabric (link TEXT PRIMARY KEY, wanted TEXT NOT NULL) STRICT",
)

_TAPS = ("CREATE TABLE tap_status (key TEXT PRIMARY KEY, status TEXT NOT NULL) STRICT",)
_OPENED = ("CREATE TABLE opened (link TEXT PRIMARY KEY, seen TEXT NOT NULL) STRICT",)

_PFS = ("CREATE TABLE pf (address TEXT PRIMARY KEY, pf TEXT NOT NULL) STRICT",)


class Store:
    """The record in one SQLite file. All methods raise ``Unavailable`` if it cannot be used."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, _SCHEMA, _VIEWS, _PFS, _TAPS, _OPENED)

    def owned(self) -> tuple[dict[str, Claim], list[SwitchPort]]:
        """Every claim by port id, and the switch ports, as of one moment."""
        with self.database.reading() as db:
            return _claims(db), _switch_ports(db)

    def claims(self) -> dict[str, Claim]:
        """Every claim by port id."""
        with self.database.reading() as db:
            return _claims(db)

    def record(self, claim: Claim) -> None:
        """The port holds the VF; whoever held either before no longer does."""
        with self.database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO claim VALUES (?, ?, ?, ?, ?, ?)",
                (
                    claim.port_id,
                    claim.vf,
                    claim.pf,
                    claim.index,
                    claim.mac,
                    claim.former_mac,
                ),
            )

    def drop(self, claim: Claim) -> None:
        """Forget this claim; another port's claim on the same VF stays."""
        with self.database.transaction() as db:
            db.execute("DELETE FROM claim WHERE port_id = ? AND vf = ?", (claim.port_id, claim.vf))

    def switch_ports(self) -> list[SwitchPort]:
        """Switch ports on which something was opened and not yet seen closed."""
        with self.database.reading() as db:
            return _switch_ports(db)

    def record_switch_port(self, switch_port: SwitchPort) -> None:
        """Something is about to be opened on it."""
        with self.database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO switch_port VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*_key(switch_port), switch_port.system_name, switch_port.port_description),
            )

    def drop_switch_port(self, switch_port: SwitchPort) -> None:
        """Nothing of ours is open on it any more."""
        with self.database.transaction() as db:
            db.execute(
                "DELETE FROM switch_port WHERE pf = ? AND chassis_id_subtype = ? "
                "AND chassis_id = ? AND port_id_subtype = ? AND port_id = ?",
                _key(switch_port),
            )

    def cabling(self) -> dict[str, KnownCabling]:
        """Where each PF was last believed to be cabled, by PCI address."""
        with self.database.reading() as db:
            rows = db.execute("SELECT * FROM cabling").fetchall()
        return {
            row["pf"]: KnownCabling(
                switch_port=_switch_port(row), carrier_changes=row["carrier_changes"]
            )
            for row in rows
        }

    def record_cabling(self, known: KnownCabling) -> None:
        """Believe this from now on."""
        port = known.switch_port
        with self.database.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO cabling VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (*_key(port), port.system_name, port.port_description, known.carrier_changes),
            )

    def forget_cabling(self, pf: str) -> bool:
        """Believe whatever is heard next; False if nothing was believed."""
        with self.database.transaction() as db:
            return db.execute("DELETE FROM cabling WHERE pf = ?", (pf,)).rowcount > 0

    def save(self, report: Report, counters: Mapping[str, int]) -> None:
        """Keep the last report and the counters for ``sriovctl``."""
        rows = [(port, json.dumps(as_json(entry))) for port, entry in report.ports.items()]
        pfs = [(address, json.dumps(pf_json(pf))) for address, pf in report.pfs.items()]
        cabling = [(at, json.dumps(cabling_json(found))) for at, found in report.cabling.items()]
        fabric, opened = _segments(report.fabric), _segments(report.opened)
        with self.database.transaction() as db:
            db.execute("DELETE FROM pf")
            db.executemany("INSERT INTO pf VALUES (?, ?)", pfs)
            db.execute("DELETE FROM fabric")
            db.executemany("INSERT INTO fabric VALUES (?, ?)", fabric)
            db.execute("DELETE FROM opened")
            db.executemany("INSERT INTO opened VALUES (?, ?)", opened)
            db.execute("DELETE FROM lldp")
            db.executemany("INSERT INTO lldp VALUES (?, ?)", cabling)
            db.execute("DELETE FROM status")
            db.executemany("INSERT INTO status VALUES (?, ?)", rows)
            db.execute("DELETE FROM counter")
            db.executemany("INSERT INTO counter VALUES (?, ?)", counters.items())

    def status(self) -> dict[str, dict[str, Any]]:
        """The last report by port id, as :func:`as_json` made it."""
        with self.database.reading() as db:
            rows = db.execute("SELECT port_id, report FROM status").fetchall()
        return {row["port_id"]: json.loads(row["report"]) for row in rows}

    def lldp(self) -> dict[str, dict[str, Any]]:
        """What the last pass made of LLDP: ``switch, switch_port, reason, neighbors`` by uplink."""
        with self.database.reading() as db:
            rows = db.execute("SELECT uplink, cabling FROM lldp").fetchall()
        return {row["uplink"]: json.loads(row["cabling"]) for row in rows}

    def pfs(self) -> dict[str, dict[str, Any]]:
        """The PFs that the last pass saw, by address, as :func:`pf_json` made them."""
        with self.database.reading() as db:
            rows = db.execute("SELECT address, pf FROM pf").fetchall()
        return {row["address"]: json.loads(row["pf"]) for row in rows}

    def fabric(self) -> dict[SwitchPort, frozenset[Segment]]:
        """What the last pass wanted open on each link."""
        with self.database.reading() as db:
            return _by_link(db.execute("SELECT link, wanted FROM fabric").fetchall())

    def opened(self) -> dict[SwitchPort, frozenset[Segment]]:
        """What the last pass saw open on each link; one that nobody told of is absent."""
        with self.database.reading() as db:
            return _by_link(db.execute("SELECT link, seen FROM opened").fetchall())

    def taps(self) -> list[Status]:
        """Taps and mirrors that were made or were to be, and how the last pass left them."""
        with self.database.reading() as db:
            rows = db.execute("SELECT status FROM tap_status ORDER BY rowid").fetchall()
        said = [json.loads(row["status"]) for row in rows]
        return [Status(**{**status, "unmet": tuple(status["unmet"])}) for status in said]

    def save_taps(self, statuses: Sequence[Status]) -> None:
        """Keep exactly these."""
        rows = [(status.key, json.dumps(to_builtins(status))) for status in statuses]
        with self.database.transaction() as db:
            db.execute("DELETE FROM tap_status")
            db.executemany("INSERT INTO tap_status VALUES (?, ?)", rows)

    def counters(self) -> dict[str, int]:
        """What was counted since the agent started, by name."""
        with self.database.reading() as db:
            return {row["name"]: row["value"] for row in db.execute("SELECT * FROM counter")}


def as_json(report: PortReport) -> dict[str, object]:
    """A port's report for JSON: ``state, pf, vf, vf_index, switch, switch_port, unmet, ...``."""
    claim, at = report.claim, report.switch_ports
    return {
        "state": str(report.state),
        "pf": claim.pf if claim else None,
        "vf": claim.vf if claim else None,
        "vf_index": claim.index if claim else None,
        "switch": ", ".join(port.name for port in at) or None,
        "switch_port": ", ".join(port.port_id.value for port in at) or None,
        "domain": report.domain or None,
        "unmet": list(report.unmet),
        "unsupported": list(report.unsupported),
    }


def cabling_json(cabling: Cabling) -> dict[str, Any]:
    """What is made of LLDP on an uplink, for JSON: ``switch, switch_port, reason, neighbors``."""
    port = cabling.switch_port
    return {
        "switch": port.name if port else None,
        "switch_port": port.port_id.value if port else None,
        "reason": cabling.reason,
        "neighbors": [neighbor_json(neighbor) for neighbor in cabling.neighbors],
    }


def _claims(db: sqlite3.Connection) -> dict[str, Claim]:
    return {
        row["port_id"]: Claim(
            port_id=row["port_id"],
            vf=row["vf"],
            pf=row["pf"],
            index=row["vf_index"],
            mac=row["mac"],
            former_mac=row["former_mac"],
        )
        for row in db.execute("SELECT * FROM claim")
    }


def _switch_ports(db: sqlite3.Connection) -> list[SwitchPort]:
    return [_switch_port(row) for row in db.execute("SELECT * FROM switch_port")]


def _segments(links: Mapping[SwitchPort, Iterable[Segment]]) -> list[tuple[str, str]]:
    """Rows of segments by link; :func:`_by_link` reads them."""
    return [
        (json.dumps(to_builtins(link)), json.dumps(to_builtins(sorted(segments))))
        for link, segments in links.items()
    ]


def _by_link(rows: Iterable[sqlite3.Row]) -> dict[SwitchPort, frozenset[Segment]]:
    return {
        _link(json.loads(link)): frozenset(Segment(**segment) for segment in json.loads(segments))
        for link, segments in rows
    }


def _link(stored: dict[str, Any]) -> SwitchPort:
    ids = {name: LldpId(**stored[name]) for name in ("chassis_id", "port_id")}
    return SwitchPort(**{**stored, **ids})


def _key(switch_port: SwitchPort) -> tuple[str, str, str, str, str]:
    return (
        switch_port.pf,
        switch_port.chassis_id.subtype,
        switch_port.chassis_id.value,
        switch_port.port_id.subtype,
        switch_port.port_id.value,
    )


def _switch_port(row: sqlite3.Row) -> SwitchPort:
    return SwitchPort(
        pf=row["pf"],
        chassis_id=LldpId(row["chassis_id_subtype"], row["chassis_id"]),
        port_id=LldpId(row["port_id_subtype"], row["port_id"]),
        system_name=row["system_name"],
        port_description=row["port_description"],
    )
