# SPDX-License-Identifier: Apache-2.0
"""The table of ports on a real file: order, networks, two writers at once, and who watches it."""

import json
import os
import queue
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_agent.core.model import Segment
from sriov_agent.core.state import PortBinding
from sriov_agent.database import Database
from sriov_agent.exceptions import InvalidField, Unavailable
from sriov_agent.sources.local import Local
from sriov_agent.sources.port import Port
from sriov_agent.sources.ports import _SCHEMA, Lacking, Ports
from sriov_agent.sources.trunk import Network
from tests.frozen import replace
from tests.topology import binding, port_id, port_mac

NETWORK = "340265cf-63b7-4093-ac7c-675df9d8b6be"
DOCUMENT = {"mac": port_mac(1), "vlan": 15, "physical_network": "physnet2"}
PATIENCE = 30


def port(number=1, revision=1, **given):
    asked = {"bound": True, "document": DOCUMENT | {"mac": port_mac(number)}}
    return Port(port_id=port_id(number), revision_number=revision, **(asked | given))


@pytest.fixture
def ports(tmp_path):
    return Ports(tmp_path / "ports.db")


@pytest.fixture
def unprivileged():
    """Whatever user runs the tests, file permissions count."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_port_that_was_created_is_bound_as_it_was_given(ports):
    given = binding(
        1, pci_slot="0000:3b:02.0", name="\x1b[31m", qos=3, trust=True, link_state="disable"
    )
    ports.create(given)
    assert ports.bindings().ports == {port_id(1): given}
    assert ports.bindings().invalid == {}


def test_an_id_or_a_mac_is_given_once(ports):
    ports.create(binding(1))
    with pytest.raises(InvalidField, match="this port exists") as caught:
        ports.create(binding(1, mac=port_mac(9)))
    assert caught.value.field == "id"
    with pytest.raises(InvalidField, match=f"already the MAC of port {port_id(1)}") as caught:
        ports.create(binding(2, mac=port_mac(1)))
    assert caught.value.field == "mac_address"
    assert ports.bindings().ports == {port_id(1): binding(1)}


def test_what_was_deleted_may_be_created_again(ports):
    ports.create(binding(1))
    assert ports.delete(port_id(1)) is True
    assert ports.bindings().ports == {}
    ports.create(binding(1))
    assert set(ports.bindings().ports) == {port_id(1)}


@pytest.mark.parametrize("revisions", [[1, 2, 3], [3, 1, 2], [2, 2], [3, 2, 1], [1, 3, 2]])
def test_the_newest_word_is_kept_in_whatever_order_they_come(ports, revisions):
    newest = 0
    for revision in revisions:
        assert ports.put(port(revision=revision)) is (revision >= newest)
        newest = max(newest, revision)
    assert ports.get(port_id(1)) == port(revision=newest)


def test_a_deletion_is_the_last_word_also_when_it_comes_first(ports):
    assert ports.delete(port_id(1)) is False
    assert ports.put(port(revision=2**62 - 1)) is False
    assert ports.bindings().ports == {}

    ports.put(port(2))
    assert ports.delete(port_id(2)) is True
    assert ports.delete(port_id(2)) is False
    assert ports.put(port(2, revision=2)) is False
    assert ports.get(port_id(2)).bound is False


def test_a_port_that_left_is_known_but_not_listed(ports):
    ports.put(port(2))
    ports.put(port(1))
    ports.put(port(3, bound=False, document={}))
    assert [row.port_id for row in ports.all()] == [port_id(1), port_id(2)]
    assert ports.get(port_id(3)) == port(3, bound=False, document={})
    assert ports.get(port_id(4)) is None
    assert set(ports.bindings().ports) == {port_id(1), port_id(2)}


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=6))
def test_the_table_says_what_the_newest_word_says(words):
    with tempfile.TemporaryDirectory() as directory:
        ports = Ports(Path(directory) / "ports.db")
        newest = None
        for revision, bound in words:
            said = port(revision=revision, bound=bound)
            ports.put(said)
            if newest is None or revision >= newest.revision_number:
                newest = said
        assert ports.get(port_id(1)) == newest
        assert (port_id(1) in ports.bindings().ports) is bool(newest and newest.bound)


BARE = {"mac": port_mac(1)}


def test_vlan_and_physical_network_come_from_the_network(ports):
    ports.put(port(network_id=NETWORK, document=BARE))
    assert ports.put_network(Network(NETWORK, 1, 150, "physnet1")) == {port_id(1)}
    [found] = ports.bindings().ports.values()
    assert (found.vlan, found.physical_network) == (150, "physnet1")


def test_a_network_of_several_segments_gives_the_vlan_of_the_ports_own(ports):
    several = Network(NETWORK, 1, segments=((15, "physnet2"), (16, "physnet1")))
    ports.put_network(several)
    ports.put(port(network_id=NETWORK, document=BARE | {"physical_network": "physnet1"}))
    ports.put(port(2, network_id=NETWORK, document={"mac": port_mac(2)}))
    ports.put(port(3, network_id=NETWORK, document=BARE | {"physical_network": "physnet3"}))
    found = ports.bindings()
    assert found.ports[port_id(1)].vlan == 16
    assert found.invalid == {
        port_id(2): f"provider:physical_network None: network {NETWORK} is in several",
        port_id(3): f"provider:segmentation_id None: network {NETWORK} has none",
    }


OTHER = "340265cf-63b7-4093-ac7c-675df9d8b6bf"
PARENT = BARE | {"physical_network": "physnet2", "sub_ports": [[port_id(8), 15], [port_id(9), 16]]}


def test_the_vlans_of_a_trunk_are_those_of_its_subports(ports):
    ports.put(port(network_id=NETWORK, document=PARENT))
    assert ports.lacking() == Lacking(
        networks=frozenset({NETWORK}), sub_ports=frozenset({port_id(8), port_id(9)})
    )
    assert ports.put_sub_ports({port_id(8): OTHER, port_id(9): NETWORK}) == {port_id(1)}
    assert ports.lacking() == Lacking(networks=frozenset({NETWORK, OTHER}))
    assert ports.put_network(Network(OTHER, 1, 15, "physnet2")) == {port_id(1)}
    several = Network(NETWORK, 1, segments=((16, "physnet2"), (7, "physnet1")))
    assert ports.put_network(several) == {port_id(1)}

    assert ports.bindings().invalid[port_id(1)].endswith("twice in one trunk")
    ports.put(port(network_id=NETWORK, document=PARENT | {"vlan": 0}))
    [found] = ports.bindings().ports.values()
    assert found.trunk == (Segment(15, OTHER), Segment(16, NETWORK))
    ports.put_network(Network(OTHER, 2, 15, "physnet1"))
    assert "has no VLAN on physnet2" in ports.bindings().invalid[port_id(1)]
    assert ports.lacking() == Lacking()
    assert ports.networks() == {NETWORK, OTHER}


def test_the_parents_own_network_is_untagged(ports):
    ports.put(port(network_id=NETWORK, document=PARENT | {"vlan": 30, "trunk_vlans": [99]}))
    ports.put_sub_ports({port_id(8): OTHER, port_id(9): OTHER})
    both = Network(OTHER, 1, 15, "physnet2")
    ports.put_network(both)
    assert "segmentation_id 16: network" in ports.bindings().invalid[port_id(1)]

    document = PARENT | {"vlan": 30, "sub_ports": [[port_id(8), 15]]}
    ports.put(port(network_id=NETWORK, document=document))
    [found] = ports.bindings().ports.values()
    assert found.vlan == 0
    assert found.trunk == (Segment(15, OTHER), Segment(30, NETWORK, tagged=False))


def test_the_vlans_of_a_profile_have_no_network(ports):
    document = BARE | {"physical_network": "physnet2", "vlan": 0, "trunk_vlans": [15, 16]}
    ports.put(port(network_id=NETWORK, document=document))
    [found] = ports.bindings().ports.values()
    assert found.trunk == (Segment(15), Segment(16))


def test_a_port_whose_binding_is_older_than_its_newest_word_is_in_doubt(ports):
    ports.put(port(revision=4, binding_revision=3))
    assert ports.get(port_id(1)).in_doubt
    assert ports.lacking() == Lacking(ports=frozenset({port_id(1)}))
    ports.put(port(revision=4))
    assert ports.lacking() == Lacking()
    ports.put(port(2, revision=4, binding_revision=3, bound=False))
    assert ports.lacking() == Lacking()


def test_a_port_is_unbound_unless_something_was_heard_since(ports):
    ports.put(port())
    known = ports.get(port_id(1))
    ports.put(port(revision=2))
    assert ports.unbind_unchanged(known) is False
    assert set(ports.bindings().ports) == {port_id(1)}
    assert ports.unbind_unchanged(ports.get(port_id(1))) is True
    assert ports.bindings().ports == {}
    assert ports.put(port(revision=2)) is True, "it may come back"


def test_a_table_of_the_version_before_is_taken_over(tmp_path):
    Database(tmp_path / "ports.db", _SCHEMA).connect().close()
    with sqlite3.connect(tmp_path / "ports.db") as db:
        row = (port_id(1), 3, 1, NETWORK, json.dumps(DOCUMENT), "")
        db.execute("INSERT INTO port VALUES (?, ?, ?, ?, ?, ?)", row)
        db.execute("INSERT INTO network VALUES (?, 1, 15, 'physnet2')", (NETWORK,))
    ports = Ports(tmp_path / "ports.db")
    assert ports.get(port_id(1)) == port(revision=3, network_id=NETWORK)
    assert ports.lacking() == Lacking()


def test_what_the_port_says_itself_comes_before_its_network(ports):
    ports.put_network(Network(NETWORK, 1, 150, "physnet1"))
    ports.put(port(network_id=NETWORK, document=DOCUMENT | {"vlan": 0}))
    [found] = ports.bindings().ports.values()
    assert (found.vlan, found.physical_network) == (0, "physnet2")


def test_a_change_of_a_network_concerns_its_ports_that_are_bound_here(ports):
    for number, network, bound in ((1, NETWORK, True), (2, NETWORK, False), (3, "other", True)):
        ports.put(port(number, network_id=network, bound=bound))
    assert ports.put_network(Network(NETWORK, 1, 150, "physnet1")) == {port_id(1)}
    assert ports.put_network(Network(NETWORK, 2, 151, "physnet1")) == {port_id(1)}
    assert ports.put_network(Network("nobody's", 1, 15, "physnet1")) == frozenset()


def test_an_older_word_on_a_network_is_not_kept(ports):
    ports.put(port(network_id=NETWORK, document=BARE))
    ports.put_network(Network(NETWORK, 2, 151, "physnet1"))
    ports.put_network(Network(NETWORK, 1, 150, "physnet9"))
    [found] = ports.bindings().ports.values()
    assert (found.vlan, found.physical_network) == (151, "physnet1")


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (None, "network_id .*provider:segmentation_id is not known to this agent yet"),
        ((None, None), f"provider:segmentation_id None: network {NETWORK} has none"),
        ((150, None), f"provider:physical_network None: network {NETWORK} has none"),
    ],
)
def test_a_port_without_a_usable_network_is_invalid_and_the_others_are_not(ports, network, why):
    ports.put(port(network_id=NETWORK, document=BARE))
    ports.put(port(2))
    if network:
        ports.put_network(Network(NETWORK, 1, *network))
    found = ports.bindings()
    assert set(found.ports) == {port_id(2)}
    assert re.match(why, found.invalid[port_id(1)])


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "network_id"),
        ({"vlan": 15, "physical_network": "physnet2"}, "incomplete"),
        (DOCUMENT | {"mac": None}, "mac_address"),
        (DOCUMENT | {"vlan": "15"}, "vlan"),
        (DOCUMENT | {"unheard_of": 1}, "incomplete"),
        (DOCUMENT | {"link_state": ["auto"]}, "link_state"),
    ],
)
def test_a_document_that_makes_no_port_is_invalid(ports, document, says):
    ports.put(port(document=document))
    assert says in ports.bindings().invalid[port_id(1)]
    assert ports.bindings().ports == {}


def test_a_port_whose_last_word_was_refused_is_invalid_until_the_next(ports):
    ports.put(port(error="mac_address 5: expected a MAC address"))
    assert ports.bindings().invalid == {port_id(1): "mac_address 5: expected a MAC address"}
    ports.put(port(revision=2))
    assert set(ports.bindings().ports) == {port_id(1)}


POLICY = "cfe3a419-88e4-41d2-97e7-cb69fcee688d"


def with_policy(number, **given):
    fields = DOCUMENT | {"mac": port_mac(number), "qos_policy_id": POLICY}
    return port(number, document=fields | given)


def test_a_port_waits_for_the_rules_of_its_policy_and_follows_them(ports):
    ports.put(with_policy(1))
    ports.put(port(2))
    assert ports.bindings().invalid == {
        port_id(1): f"qos_policy_id '{POLICY}': its rules are not known yet"
    }
    assert ports.put_policy(POLICY, 5, 2) == {port_id(1)}
    found = ports.bindings().ports
    assert (found[port_id(1)].max_tx_rate, found[port_id(1)].min_tx_rate) == (5, 2)
    assert (found[port_id(2)].max_tx_rate, found[port_id(2)].min_tx_rate) == (0, 0)
    assert ports.put_policy(POLICY, 6, 0) == {port_id(1)}
    assert ports.bindings().ports[port_id(1)].max_tx_rate == 6
    assert ports.policies() == {POLICY: (6, 0)}


def test_a_policy_wakes_no_port_that_left(ports):
    ports.put(with_policy(1))
    ports.unbind(port_id(1))
    assert ports.put_policy(POLICY, 5, 0) == frozenset()


def test_policies_that_nobody_has_are_forgotten(ports):
    ports.put(with_policy(1))
    ports.put_policy(POLICY, 5, 0)
    ports.put_policy("other", 1, 0)
    ports.keep_policies(frozenset({POLICY, "unheard of"}))
    assert ports.policies() == {POLICY: (5, 0)}
    ports.keep_policies(frozenset())
    assert ports.policies() == {}


def test_rates_that_contradict_each_other_are_refused(ports):
    ports.put(with_policy(1))
    ports.put_policy(POLICY, 5, 9)
    assert ports.bindings().invalid[port_id(1)].startswith("min_tx_rate 9")


@pytest.mark.parametrize(
    ("propagated", "asked", "seen"),
    [
        (True, "auto", "auto"),
        (False, "auto", "enable"),
        (False, "disable", "disable"),
        (True, "disable", "disable"),
        (None, "auto", "auto"),
    ],
)
def test_a_link_follows_its_uplink_where_that_is_propagated(ports, propagated, asked, seen):
    told = {} if propagated is None else {"propagate_uplink_status": propagated}
    ports.put(port(document=DOCUMENT | {"link_state": asked, **told}))
    assert ports.bindings().ports[port_id(1)].link_state == seen


def test_a_port_that_is_unbound_keeps_its_row_and_may_come_back(ports):
    ports.put(port(revision=5))
    assert ports.unbind(port_id(1)) is True
    assert ports.unbind(port_id(1)) is False
    assert ports.unbind(port_id(2)) is False
    assert ports.bindings().ports == {}
    assert ports.all() == []
    assert ports.get(port_id(1)) == replace(port(revision=5), bound=False)
    assert ports.put(port(revision=4)) is False
    assert ports.put(port(revision=5)) is True
    assert set(ports.bindings().ports) == {port_id(1)}


def in_threads(*calls):
    """Run them at once and return what each returned or raised."""
    ready, results = threading.Barrier(len(calls)), {}

    def run(number, call):
        ready.wait()
        try:
            results[number] = call()
        except (InvalidField, Unavailable) as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=item) for item in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [results[number] for number in range(len(calls))]


def test_threads_that_find_no_file_make_one_together(tmp_path):
    path = tmp_path / "new" / "ports.db"
    calls = [lambda n=n: Ports(path).create(binding(n)) for n in range(1, 9)]
    assert in_threads(*calls) == [None] * 8
    assert set(Ports(path).bindings().ports) == {port_id(n) for n in range(1, 9)}


def test_of_two_that_create_the_same_port_one_is_refused(tmp_path):
    path = tmp_path / "ports.db"
    results = in_threads(*[lambda: Ports(path).create(binding(1))] * 4)
    assert results.count(None) == 1
    assert sum(isinstance(result, InvalidField) for result in results) == 3


CREATE = """
import sys
from pathlib import Path
from sriov_agent.sources.ports import Ports
from tests.topology import binding
sys.stdin.read()
Ports(Path(sys.argv[1])).create(binding(int(sys.argv[2])))
"""


def test_processes_that_find_no_file_make_one_together(tmp_path):
    path = tmp_path / "new" / "ports.db"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(path), str(number)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
        )
        for number in (1, 2, 3)
    ]
    for process in started:
        process.stdin.close()
    assert [process.wait(PATIENCE) for process in started] == [0, 0, 0]
    assert set(Ports(path).bindings().ports) == {port_id(n) for n in (1, 2, 3)}


def test_a_transaction_that_fails_leaves_nothing(ports):
    ports.put(port())

    def fail_half_way():
        with ports.database.transaction() as db:
            db.execute("DELETE FROM port")
            db.execute("DELETE FROM unheard_of")

    with pytest.raises(Unavailable, match="no such table"):
        fail_half_way()
    assert ports.get(port_id(1)) == port()


def test_a_file_of_another_version_is_left_alone(ports):
    ports.put(port())
    with sqlite3.connect(ports.database.path) as db:
        db.execute("PRAGMA user_version=9")
    with pytest.raises(Unavailable, match=f"schema version 9, not {len(ports.database.versions)}"):
        ports.bindings()
    with pytest.raises(Unavailable):
        ports.put(port(2))


def test_a_file_that_is_no_database_is_unknown_and_kept(ports):
    ports.database.path.write_bytes(b"not SQLite" * 1000)
    for call in (ports.bindings, ports.all, lambda: ports.put(port())):
        with pytest.raises(Unavailable, match=r"ports\.db"):
            call()
    assert ports.database.path.read_bytes() == b"not SQLite" * 1000


def test_a_path_below_a_file_is_unknown(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable):
        Ports(tmp_path / "file" / "ports.db").bindings()


def test_a_directory_that_may_not_be_used_is_unknown(unprivileged):
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0)
        with pytest.raises(Unavailable):
            Ports(Path(directory) / "ports.db").bindings()
        Path(directory).chmod(0o700)


@pytest.fixture
def watched(ports):
    """(a table another process would open, keys that ``Local`` woke) with the watch running."""
    ports.put(port(9))
    woken = queue.Queue()
    local = Local(Ports(ports.database.path), poll_interval=0.01)
    local.start(woken.put)
    yield ports, woken
    local.stop()


def test_local_wakes_with_exactly_the_ports_that_changed(watched):
    ports, woken = watched
    ports.put(port(1))
    assert woken.get(timeout=PATIENCE) == {port_id(1)}

    with ports.database.transaction() as db:
        db.execute("UPDATE port SET revision_number = 99 WHERE port_id = ?", (port_id(1),))
        db.execute("DELETE FROM port WHERE port_id = ?", (port_id(9),))
    assert woken.get(timeout=PATIENCE) == {port_id(1), port_id(9)}

    ports.delete(port_id(1))
    assert woken.get(timeout=PATIENCE) == {port_id(1)}


def test_local_wakes_nobody_for_a_change_that_is_none(watched):
    ports, woken = watched
    ports.put(ports.get(port_id(9)))
    ports.put_network(Network(NETWORK, 1, 150, "physnet1"))
    ports.put(port(2))
    assert woken.get(timeout=PATIENCE) == {port_id(2)}


def test_local_goes_on_after_its_file_was_unusable(watched):
    ports, woken = watched
    ports.put(port(1))
    assert woken.get(timeout=PATIENCE) == {port_id(1)}
    with sqlite3.connect(ports.database.path) as db:
        db.execute("PRAGMA user_version=9")
        db.execute("DELETE FROM port WHERE port_id = ?", (port_id(1),))
    assert woken.get(timeout=PATIENCE) is None
    with sqlite3.connect(ports.database.path) as db:
        db.execute(f"PRAGMA user_version={len(ports.database.versions)}")

    ports.put(port(2))
    keys = set()
    while keys != {port_id(1), port_id(2)}:
        keys |= woken.get(timeout=PATIENCE) or set()


def test_local_stops_and_says_nothing_more(ports):
    ports.put(port(9))
    woken = queue.Queue()
    local = Local(ports, poll_interval=0.01)
    local.start(woken.put)
    ports.put(port(1))
    assert woken.get(timeout=PATIENCE) == {port_id(1)}
    local.stop()
    ports.put(port(2))
    assert woken.empty()
    assert "local" not in {thread.name for thread in threading.enumerate()}
    assert local.bindings() == ports.bindings()
    assert isinstance(local.bindings().ports[port_id(2)], PortBinding)
    assert replace(local.bindings().ports[port_id(2)], revision_number=0) == binding(2)
