# SPDX-License-Identifier: Apache-2.0
"""Host taps and mirrors of a host without OpenStack: what ``sriovctl`` decides, beside its VLANs.

Each decision is one transaction that no other process writes in: no name is taken twice, and no
tap is in a VLAN whose alias is deleted at the same time.
"""

import json
import sqlite3
from collections.abc import Callable, Collection

from sriov_agent.core.taps import Mirror, Tap, Taps, free_name
from sriov_agent.core.vlans import Vlans
from sriov_agent.exceptions import InvalidField
from sriov_agent.sources.ports import Ports, bound
from sriov_agent.sources.vlans import read_vlans, write_vlans


class TapRegistry:
    """Every method raises ``Unavailable`` if the file cannot be used."""

    def __init__(self, ports: Ports) -> None:
        self.database = ports.database

    def taps(self) -> Taps:
        """What is wanted."""
        with self.database.reading() as db:
            return _read(db)

    def change(self, decide: Callable[[Taps], Taps]) -> Taps:
        """Decide on what is wanted already; what then is. If ``decide`` raises, nothing changes."""
        with self.database.transaction() as db:
            wanted = decide(_read(db))
            _write(db, wanted)
        return wanted

    def create(
        self,
        tap_id: str,
        bridge: str,
        vlan: int | str,
        *,
        name: str = "",
        addresses: Collection[str] = (),
        taken: Collection[str] = (),
    ) -> Tap:
        """Add a tap. An alias that is new takes a VLAN.

        :param vlan: VLAN id, or the alias of one
        :param name: "" for one that is free
        :param taken: names of interfaces that are no taps
        :raises InvalidField: if it cannot be
        """
        with self.database.transaction() as db:
            vlans, wanted = read_vlans(db), _read(db)
            number, vlans = _number(vlans, vlan)
            tap = Tap(
                tap_id=tap_id,
                name=name or free_name(number, {*wanted.taps, *taken}),
                bridge=bridge,
                vlan=number,
                addresses=tuple(addresses),
            )
            _write(db, wanted.with_tap(tap))
            write_vlans(db, vlans)
        return tap

    def create_mirror(self, mirror_id: str, name: str, *, source: str, tap: str) -> Mirror:
        """Add a mirror.

        :raises InvalidField: if it cannot be; the ports of this host are no sources
        """
        with self.database.transaction() as db:
            for port in bound(db):
                if source in (port.port_id, port.document.get("name")):
                    raise InvalidField(
                        "source",
                        source,
                        "a port has a VF, whose frames pass the NIC and no bridge of this host: "
                        "name a port of the tap's bridge",
                    )
            mirror = Mirror(mirror_id=mirror_id, name=name, source=source, tap=tap)
            _write(db, _read(db).with_mirror(mirror))
        return mirror


def _number(vlans: Vlans, vlan: int | str) -> tuple[int, Vlans]:
    """The VLAN's id, and what holds of VLANs when it is used."""
    if isinstance(vlan, int):
        return vlan, vlans.naming([vlan])
    if vlan not in vlans.aliases:
        vlans = vlans.with_alias(vlan)
    return vlans.aliases[vlan], vlans


def _read(db: sqlite3.Connection) -> Taps:
    taps = [
        Tap(
            tap_id=row["tap_id"],
            name=row["name"],
            bridge=row["bridge"],
            vlan=row["vlan"],
            addresses=tuple(json.loads(row["addresses"])),
        )
        for row in db.execute("SELECT * FROM tap ORDER BY name")
    ]
    mirrors = [
        Mirror(mirror_id=row["mirror_id"], name=row["name"], source=row["source"], tap=row["tap"])
        for row in db.execute("SELECT * FROM mirror ORDER BY name")
    ]
    return Taps(
        taps={tap.name: tap for tap in taps}, mirrors={mirror.name: mirror for mirror in mirrors}
    )


def _write(db: sqlite3.Connection, wanted: Taps) -> None:
    db.execute("DELETE FROM mirror")
    db.execute("DELETE FROM tap")
    db.executemany(
        "INSERT INTO tap VALUES (?, ?, ?, ?, ?)",
        [
            (tap.name, tap.tap_id, tap.bridge, tap.vlan, json.dumps(tap.addresses))
            for tap in wanted.taps.values()
        ],
    )
    db.executemany(
        "INSERT INTO mirror VALUES (?, ?, ?, ?)",
        [(each.name, each.mirror_id, each.source, each.tap) for each in wanted.mirrors.values()],
    )
