# SPDX-License-Identifier: Apache-2.0
"""Ports and VLANs of a host without OpenStack on a real file: all or nothing, and never twice."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sriov_agent.core.model import Segment
from sriov_agent.core.netspec import NetSpec
from sriov_agent.core.vlans import DEFAULT_RANGES, Vlans
from sriov_agent.database import Database
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.sources.ports import _LOOKED_UP, _QOS, _SCHEMA, Ports
from sriov_agent.sources.vlans import Registry
from tests.topology import binding, port_id, port_mac

PATIENCE = 60


@pytest.fixture
def registry(tmp_path):
    return Registry(Ports(tmp_path / "ports.db"))


def ports(registry):
    return Ports(registry.database.path).bindings().ports


def wanted(*vlans, macs=(), first=1, **others):
    """A port for each VLAN, and the MAC that it asks for if it does."""
    return [
        (
            NetSpec(
                vlan=vlan,
                physical_network="physnet2",
                mac=dict(enumerate(macs)).get(number),
                text=str(vlan),
            ),
            {"port_id": port_id(first + number), **others},
        )
        for number, vlan in enumerate(vlans)
    ]


def test_what_is_decided_survives(registry):
    assert registry.vlans() == Vlans()
    decided = registry.change(
        lambda vlans: vlans.with_alias("DMZ").with_ranges([(300, 399), (5, 5)]).blacklisting({7, 8})
    )
    again = Registry(Ports(registry.database.path)).vlans()
    assert again == decided
    assert again.aliases == {"DMZ": 101}
    assert again.ranges == ((5, 5), (300, 399))
    assert again.blacklist == {7, 8}


def test_what_is_refused_changes_nothing(registry):
    with pytest.raises(InvalidField, match="there already"):
        registry.change(lambda vlans: vlans.with_alias("DMZ").with_alias("DMZ"))
    assert registry.vlans() == Vlans()


def test_an_alias_takes_a_vlan_at_its_first_use_and_keeps_it(registry):
    made = registry.create(wanted("DMZ", "CORE", "DMZ"))
    assert [port.vlan for port in made] == [101, 102, 101]
    assert ports(registry) == {port.port_id: port for port in made}
    registry.change(lambda vlans: vlans.with_ranges([(300, 399)]))
    (later,) = registry.create(wanted("DMZ", first=9))
    assert later.vlan == 101
    assert registry.vlans().used == {
        101: (port_id(1), port_id(3), port_id(9)),
        102: (port_id(2),),
    }


def test_numbers_named_by_hand_leave_the_range_and_stay_out_of_it(registry):
    made = registry.create(wanted("DMZ", 101, 102))
    assert [port.vlan for port in made] == [103, 101, 102]
    Ports(registry.database.path).delete(port_id(2))
    registry.create(wanted(0, first=7, trunk=(Segment(104), Segment(103))))
    assert registry.vlans().blacklist == {101, 102, 104}
    assert registry.change(lambda vlans: vlans.with_alias("CORE")).aliases["CORE"] == 105


def test_a_number_that_an_alias_has_is_that_alias(registry):
    registry.create(wanted("DMZ"))
    registry.create(wanted(101, first=2))
    assert registry.vlans().blacklist == frozenset()
    for number in (1, 2):
        with pytest.raises(InvalidField, match="in use"):
            registry.change(lambda vlans: vlans.without_alias("DMZ"))
        Ports(registry.database.path).delete(port_id(number))
    registry.change(lambda vlans: vlans.without_alias("DMZ"))
    assert registry.vlans() == Vlans()


def test_one_that_is_wrong_leaves_nothing_and_all_that_is_wrong_is_told(registry):
    registry.change(lambda vlans: vlans.with_ranges([(200, 200)]))
    before = registry.vlans()
    Ports(registry.database.path).create(binding(9, vlan=0))
    asked = wanted("A", "B", 300, 301, macs=[port_mac(1), None, port_mac(9), port_mac(1)])
    problem = InvalidField("net", "0", "vlan 0: out of range")
    with pytest.raises(InvalidField) as caught:
        registry.create(asked, [problem])
    assert str(caught.value) == (
        f"{problem}; net 'B': alias 'B': no VLAN is free in 200: see sriovctl vlan range; "
        f"net '300': mac_address '{port_mac(9)}': already the MAC of port {port_id(9)}; "
        f"net '301': mac_address '{port_mac(1)}': already the MAC of port {port_id(1)}"
    )
    assert list(ports(registry)) == [port_id(9)]
    assert registry.vlans() == before

    with pytest.raises(InvalidField, match="net '0'"):
        registry.create(wanted(300), [problem])
    assert list(ports(registry)) == [port_id(9)]


def test_a_mac_that_is_made_is_neither_a_ports_nor_one_that_is_asked_for(tmp_path):
    drawn = iter([*b"\1\2\2\3\3\4"])
    registry = Registry(
        Ports(tmp_path / "ports.db"), lambda octets: bytes(octets - 1) + bytes([next(drawn)])
    )
    mac = "02:00:00:00:00:0{}".format
    Ports(registry.database.path).create(binding(9, mac=mac(1)))
    made = registry.create(wanted(5, 5, 5, macs=[None, mac(3)]))
    assert [port.mac for port in made] == [mac(2), mac(3), mac(4)]


def test_a_file_of_before_has_the_ranges_that_a_new_one_has(tmp_path):
    path = tmp_path / "ports.db"
    document = json.dumps({"mac": port_mac(1), "vlan": 101, "physical_network": "physnet2"})
    with Database(path, _SCHEMA, _QOS, _LOOKED_UP).transaction() as db:
        db.execute("INSERT INTO port VALUES (?, 1, 1, '', ?, '', 1)", (port_id(1), document))
    registry = Registry(Ports(path))
    assert registry.vlans() == Vlans(ranges=DEFAULT_RANGES, used={101: (port_id(1),)})
    (port,) = registry.create(wanted("DMZ", first=2))
    assert port.vlan == 102


def test_a_file_that_cannot_be_used_is_named(registry):
    registry.vlans()
    connection = sqlite3.connect(registry.database.path)
    connection.execute("DROP TABLE vlan_alias")
    connection.close()
    with pytest.raises(Unavailable, match=r"ports\.db"):
        registry.create(wanted("DMZ"))
    assert ports(registry) == {}


CREATE = """
import sys
from pathlib import Path
from sriov_agent.sources.ports import Ports
from sriov_agent.sources.vlans import Registry
from tests.unit.test_registry import wanted
path, number = Path(sys.argv[1]), int(sys.argv[2])
# Few MACs, which each process draws in the same order.
octets = iter(range(256))
registry = Registry(Ports(path), lambda count: bytes([*bytes(count - 1), next(octets)]))
sys.stdin.read()
for turn in range(5):
    asked = wanted(f"own-{number}-{turn}", f"shared-{turn}", first=100 * number + 10 * turn + 1)
    registry.create(asked)
"""


def test_processes_that_create_at_once_never_take_the_same_vlan_or_mac(registry):
    count = 4
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(registry.database.path), str(number)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
        )
        for number in range(count)
    ]
    for process in started:
        process.stdin.close()
    assert [process.wait(PATIENCE) for process in started] == [0] * count
    made = ports(registry).values()
    assert len({port.mac for port in made}) == len(made) == count * 5 * 2
    vlans = registry.vlans()
    assert sorted(vlans.aliases.values()) == list(range(101, 101 + 5 * count + 5))
    assert {len(vlans.used[vlans.aliases[f"shared-{turn}"]]) for turn in range(5)} == {count}
