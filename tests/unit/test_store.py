# SPDX-License-Identifier: Apache-2.0
"""The agent's own record on a real file."""

import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_agent.core.model import Cabling, LldpId, Segment
from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.exceptions import Unavailable
from sriov_agent.store import Store, as_json
from tests.frozen import replace
from tests.topology import (
    CABLING,
    LEAF_A,
    LEAF_B,
    PF_A,
    PF_B,
    carried,
    claim,
    neighbor,
    port_id,
    port_mac,
)

ON_1, ON_2 = claim(1, PF_A, 0), claim(2, PF_A, 1)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "agent.db")


def test_a_claim_is_recorded_whole(store):
    given = replace(ON_1, former_mac=port_mac(9))
    store.record(given)
    assert store.claims() == {port_id(1): given}
    assert Store(store.database.path).claims() == {port_id(1): given}


def test_a_port_that_moves_holds_one_vf(store):
    store.record(ON_1)
    store.record(claim(1, PF_B, 3))
    assert store.claims() == {port_id(1): claim(1, PF_B, 3)}


def test_a_vf_that_is_given_to_another_port_is_not_held_by_the_first(store):
    store.record(ON_1)
    store.record(ON_2)
    store.record(claim(2, PF_A, 0))
    assert store.claims() == {port_id(2): claim(2, PF_A, 0)}


CLAIMS = st.builds(claim, st.integers(1, 3), st.just(PF_A), st.integers(0, 2))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.booleans(), CLAIMS), max_size=8))
def test_each_vf_has_one_port_and_each_port_one_vf(tmp_path_factory, steps):
    store = Store(tmp_path_factory.mktemp("store") / "agent.db")
    expected = {}
    for recorded, one in steps:
        if recorded:
            store.record(one)
            expected = {p: c for p, c in expected.items() if p != one.port_id and c.vf != one.vf}
            expected[one.port_id] = one
        else:
            store.drop(one)
            expected = {p: c for p, c in expected.items() if (p, c.vf) != (one.port_id, one.vf)}
        assert store.claims() == expected


def test_only_the_claim_itself_is_dropped(store):
    store.record(ON_1)
    store.drop(claim(1, PF_A, 1))
    store.drop(claim(2, PF_A, 0))
    assert store.claims() == {port_id(1): ON_1}
    store.drop(ON_1)
    store.drop(ON_1)
    assert store.claims() == {}


def test_a_switch_port_is_kept_until_it_is_closed(store):
    store.record_switch_port(LEAF_A)
    store.record_switch_port(LEAF_B)
    assert {at.pf for at in store.switch_ports()} == {PF_A, PF_B}
    store.drop_switch_port(LEAF_A)
    assert store.switch_ports() == [LEAF_B]


def test_a_switch_port_is_kept_once_with_its_names_as_heard_last(store):
    store.record_switch_port(LEAF_A)
    store.record_switch_port(replace(LEAF_A, system_name="renamed", port_description="\x1b[2J"))
    [kept] = store.switch_ports()
    assert kept == LEAF_A
    assert (kept.system_name, kept.port_description) == ("renamed", "\x1b[2J")


@pytest.mark.parametrize(
    "other",
    [
        {"pf": PF_B},
        {"chassis_id": LldpId("local", LEAF_A.chassis_id.value)},
        {"chassis_id": LldpId("mac", "52:54:00:bb:00:09")},
        {"port_id": LldpId("local", "swp1")},
        {"port_id": LldpId("ifname", "swp2")},
    ],
)
def test_switch_ports_that_differ_in_any_id_are_two(store, other):
    store.record_switch_port(LEAF_A)
    store.record_switch_port(replace(LEAF_A, **other))
    assert len(store.switch_ports()) == 2
    store.drop_switch_port(replace(LEAF_A, **other))
    assert store.switch_ports() == [LEAF_A]


MET = PortReport(port_id=port_id(1), state=PortState.MET, claim=ON_1, switch_ports=(LEAF_A,))
UNMET = PortReport(
    port_id=port_id(2), state=PortState.UNMET, unmet=("no free VF",), unsupported=("trust",)
)


def test_the_last_report_takes_the_place_of_the_one_before(store):
    store.save(Report(ports={port_id(1): MET}), {"passes": 1, "events.received": 3})
    store.save(Report(ports={port_id(2): UNMET}), {"passes": 2})
    assert store.status() == {port_id(2): as_json(UNMET)}
    assert store.counters() == {"passes": 2}


def test_saving_a_report_leaves_claims_and_switch_ports(store):
    store.record(ON_1)
    store.record_switch_port(LEAF_A)
    store.save(Report(), {})
    assert (store.claims(), store.switch_ports()) == ({port_id(1): ON_1}, [LEAF_A])


def test_what_is_said_of_a_port():
    assert as_json(MET) == {
        "state": "met",
        "pf": PF_A,
        "vf": ON_1.vf,
        "vf_index": 0,
        "switch": "leaf1",
        "switch_port": "swp1",
        "domain": None,
        "unmet": [],
        "unsupported": [],
    }
    nameless = replace(MET, switch_ports=(replace(LEAF_A, system_name=""),))
    assert as_json(nameless)["switch"] == LEAF_A.chassis_id.value
    assert as_json(UNMET) == {
        "state": "unmet",
        "pf": None,
        "vf": None,
        "vf_index": None,
        "switch": None,
        "switch_port": None,
        "domain": None,
        "unmet": ["no free VF"],
        "unsupported": ["trust"],
    }


def test_a_new_record_is_empty(store):
    assert store.claims() == {}
    assert store.switch_ports() == []
    assert store.status() == {}
    assert store.counters() == {}


def test_a_record_that_cannot_be_read_is_unknown_and_not_empty(tmp_path):
    (tmp_path / "agent.db").mkdir()
    store = Store(tmp_path / "agent.db")
    for call in (store.claims, store.switch_ports, store.status, store.counters):
        with pytest.raises(Unavailable, match=r"agent\.db"):
            call()
    with pytest.raises(Unavailable):
        store.record(ON_1)


def mode_and_owner(path):
    found = path.stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o007, 0o660), (0o077, 0o600)])
def test_the_umask_says_who_else_may_use_the_file(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        Store(tmp_path / "agent.db").claims()
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_makes_belongs_to_whom_the_directory_does_and_what_is_there_stays(tmp_path):
    os.chown(tmp_path, 4001, 4002)
    Store(tmp_path / "agent.db").claims()
    made = {mode_and_owner(path)[1:] for path in tmp_path.iterdir()}
    assert made == {(4001, 4002)}
    theirs = tmp_path / "theirs.db"
    theirs.touch(0o600)
    Store(theirs).claims()
    assert mode_and_owner(theirs) == (0o600, 0, 0)


def test_what_the_last_pass_made_of_lldp_is_kept(store):
    switch = neighbor(capabilities=frozenset({"Router", "Bridge"}), vlans=((15, "web"),))
    held = Cabling(reason="moved", neighbors=(switch,))
    store.save(Report(cabling={PF_A: CABLING[PF_A], PF_B: held}), {})
    kept = store.lldp()
    assert (kept[PF_A]["switch"], kept[PF_A]["switch_port"]) == ("leaf1", "swp1")
    assert (kept[PF_B]["switch"], kept[PF_B]["reason"]) == (None, "moved")
    [shown] = kept[PF_B]["neighbors"]
    assert shown["chassis_id"] == {"subtype": "mac", "value": "52:54:00:bb:00:01"}
    assert (shown["capabilities"], shown["vlans"]) == (["Bridge", "Router"], [[15, "web"]])
    store.save(Report(), {})
    assert store.lldp() == {}


def test_a_record_of_an_earlier_version_is_kept(store):
    store.record(ON_1)
    with store.database.transaction() as db:
        db.execute("DROP TABLE lldp")
        db.execute("DROP TABLE fabric")
        db.execute("DROP TABLE pf")
        db.execute("DROP TABLE tap_status")
        db.execute("DROP TABLE opened")
        db.execute("PRAGMA user_version=1")
    again = Store(store.database.path)
    assert again.claims() == {port_id(1): ON_1}
    again.save(Report(cabling=CABLING), {})
    assert again.lldp().keys() == CABLING.keys()


def test_what_the_last_pass_saw_open_is_kept_apart_from_what_it_wanted(store):
    seen = {LEAF_A: carried(15), LEAF_B: carried()}
    store.save(Report(fabric={LEAF_A: carried(16)}, opened=seen), {})
    assert (store.opened(), store.fabric()) == (seen, {LEAF_A: carried(16)})
    store.save(Report(), {})
    assert store.opened() == {}


def test_what_the_last_pass_wanted_open_is_kept(store):
    wanted = {LEAF_A: frozenset({Segment(15, "net"), Segment(16, tagged=False)}), LEAF_B: carried()}
    store.save(Report(fabric=wanted), {})
    assert store.fabric() == wanted
    assert [link.system_name for link in store.fabric()] == ["leaf1", "leaf2"]
    store.save(Report(), {})
    assert store.fabric() == {}
