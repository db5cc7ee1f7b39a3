# SPDX-License-Identifier: Apache-2.0
"""Ports and VLANs of a host without OpenStack: what ``sriovctl`` decides, in the table of ports.

Each decision is one transaction that no other process writes in: no VLAN or MAC is taken twice.
"""

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sriov_agent.core.netspec import NetSpec, together
from sriov_agent.core.state import PortBinding
from sriov_agent.core.vlans import Vlans, free_mac
from sriov_agent.exceptions import InvalidField
from sriov_agent.sources.port import Port
from sriov_agent.sources.ports import Ports, add, bound


class Registry:
    """Every method raises ``Unavailable`` if the file cannot be used.

    :param octets: that many random octets, for MAC addresses
    """

    def __init__(self, ports: Ports, octets: Callable[[int], bytes] = os.urandom) -> None:
        self.database = ports.database
        self.octets = octets

    def vlans(self) -> Vlans:
        """What is decided."""
        with self.database.reading() as db:
            return read_vlans(db)

    def change(self, decide: Callable[[Vlans], Vlans]) -> Vlans:
        """Decide on what is decided already; what then holds. If ``decide`` raises, nothing is."""
        with self.database.transaction() as db:
            decided = decide(read_vlans(db))
            write_vlans(db, decided)
        return decided

    def create(
        self,
        wanted: Sequence[tuple[NetSpec, Mapping[str, Any]]],
        problems: Sequence[InvalidField] = (),
    ) -> list[PortBinding]:
        """Add ports of the operator's own, all or none.

        :param wanted: the network of each, and the other fields of its :class:`PortBinding`
        :param problems: what is known to be wrong with others, so that all is told at once
        :raises InvalidField: if one cannot be, or there are ``problems``
        """
        wrong = list(problems)
        made: list[PortBinding] = []
        specs = [spec for spec, _ in wanted]
        macs = {spec.mac for spec in specs if spec.mac}
        with self.database.transaction() as db:
            vlans = read_vlans(db).naming(spec.vlan for spec in specs if isinstance(spec.vlan, int))
            for spec, others in wanted:
                taken = macs | {str(port.document.get("mac")) for port in bound(db)}
                try:
                    if isinstance(spec.vlan, str) and spec.vlan not in vlans.aliases:
                        vlans = vlans.with_alias(spec.vlan)
                    binding = PortBinding(
                        mac=spec.mac or free_mac(taken, self.octets),
                        vlan=vlans.aliases[spec.vlan] if isinstance(spec.vlan, str) else spec.vlan,
                        physical_network=spec.physical_network,
                        vnic_type=spec.vnic_type,
                        **others,
                    )
                    add(db, binding)
                except InvalidField as error:
                    wrong.append(spec.wrong(error) if spec.text else error)
                else:
                    vlans = vlans.naming(segment.vlan for segment in binding.segments())
                    made.append(binding)
            if wrong:
                raise together(wrong)
            write_vlans(db, vlans)
        return made


def read_vlans(db: sqlite3.Connection) -> Vlans:
    """What is decided about VLANs, in the caller's transaction."""
    used: dict[int, list[str]] = {}
    for port in bound(db):
        for vlan in _tags(port):
            used.setdefault(vlan, []).append(port.port_id)
    taps: dict[int, list[str]] = {}
    for row in db.execute("SELECT name, vlan FROM tap ORDER BY name"):
        taps.setdefault(row["vlan"], []).append(row["name"])
    return Vlans(
        aliases={
            row["alias"]: row["vlan"]
            for row in db.execute("SELECT * FROM vlan_alias ORDER BY alias")
        },
        ranges=tuple(
            (row["low"], row["high"]) for row in db.execute("SELECT * FROM vlan_range ORDER BY low")
        ),
        blacklist=frozenset(row["vlan"] for row in db.execute("SELECT * FROM vlan_blacklist")),
        used={vlan: tuple(ports) for vlan, ports in used.items()},
        taps={vlan: tuple(names) for vlan, names in taps.items()},
    )


def _tags(port: Port) -> set[int]:
    """The VLANs that a port is in, as its document says."""
    trunk = port.document.get("trunk")
    said = [port.document.get("vlan")]
    said += [segment.get("vlan") for segment in trunk] if isinstance(trunk, list) else []
    return {vlan for vlan in said if isinstance(vlan, int) and vlan}


def write_vlans(db: sqlite3.Connection, vlans: Vlans) -> None:
    """Keep what is decided about VLANs, in the caller's transaction."""
    db.execute("DELETE FROM vlan_alias")
    db.executemany("INSERT INTO vlan_alias VALUES (?, ?)", vlans.aliases.items())
    db.execute("DELETE FROM vlan_range")
    db.executemany("INSERT INTO vlan_range VALUES (?, ?)", vlans.ranges)
    db.execute("DELETE FROM vlan_blacklist")
    db.executemany("INSERT INTO vlan_blacklist VALUES (?)", [(v,) for v in vlans.blacklist])
