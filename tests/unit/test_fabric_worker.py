# SPDX-License-Identifier: Apache-2.0
"""One switch, its wants and what becomes of them; time is the test's."""

import itertools
import json
import logging
import threading
import time

import pytest

from sriov_agent.core.model import LldpId
from sriov_agent.exceptions import Unavailable
from sriov_agent.fabric.inventory import Rules
from sriov_agent.fabric.model import Link, PortVlans, Want
from sriov_agent.fabric.state.sqlite import Sqlite
from sriov_agent.fabric.wants import answer, wanted
from sriov_agent.fabric.worker import Policy, Worker
from tests.fakes.managed_switch import ManagedSwitch
from tests.frozen import replace

LEAF1 = LldpId("mac", "52:54:00:bb:00:01")
PF = "0000:3b:00.0"
PATIENCE = 60


class Rig:
    """A worker over a switch in memory, with hosts that want things."""

    def __init__(self, tmp_path, ports, policy=None, needs_a_vlan=True, **rules):
        self.now = 1000.0
        self.rules = Rules(name="leaf1", names=frozenset({"leaf1"}), **rules)
        self.state = Sqlite(tmp_path / "state.db")
        self.switch = ManagedSwitch(ports, needs_a_vlan)
        self.policy = policy or Policy()
        self.told = []
        self._sequence = itertools.count(1)
        self.restart()

    def restart(self):
        self.worker = Worker(
            self.switch,
            self.rules,
            self.state,
            self.policy,
            self.everything,
            self.told.extend,
            lambda: self.now,
        )

    def everything(self):
        return wanted(self.state.wants(), {"leaf1": self.rules}, None)

    def want(self, *vlans, host="compute1", pf=PF, port="swp1"):
        link = Link(host, pf, LEAF1, LldpId("ifname", port))
        want = Want(
            link=link,
            vlans=frozenset(vlans),
            epoch=1,
            sequence=next(self._sequence),
            system_name="leaf1",
        )
        assert self.state.put_wants([want])
        return want

    def step(self, *vlans, **link):
        """Want these, and let the switch be tried."""
        want = self.want(*vlans, **link)
        self.worker.step()
        return self.answer(want)

    def answer(self, want):
        seen = {(s.switch, s.port): s for s in self.state.statuses()}
        return answer(want, self.everything(), seen)

    def wait(self, seconds):
        self.now += seconds
        self.worker.step()


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path, {"swp1": [999], "swp2": [999], "swp3": [7]})


def test_what_is_wanted_is_opened_and_seen(rig):
    said = rig.step(100, 200)
    assert rig.switch.vlans("swp1") == {100, 200, 999}
    assert (said.vlans, said.pending, said.refused, said.error) == ({100, 200}, set(), {}, "")
    assert rig.state.owned("leaf1") == {"swp1": {100, 200}}
    assert [link.host for link in rig.told] == ["compute1"]


def test_what_is_wanted_already_takes_no_transaction(rig):
    rig.step(100)
    reads = rig.switch.reads
    rig.step(100)
    assert (len(rig.switch.commits), rig.switch.reads) == (1, reads)


def test_a_burst_of_many_hosts_is_one_transaction(rig):
    for number in range(100):
        rig.want(100 + number, host=f"compute{number}")
    rig.worker.step()
    assert len(rig.switch.commits) == 1
    assert rig.switch.vlans("swp1") == {*range(100, 200), 999}


def test_a_vlan_is_closed_when_the_last_one_is_gone_and_its_grace_is_over(rig):
    rig.step(100)
    rig.step(100, host="compute2")
    rig.step()
    rig.wait(61)
    assert 100 in rig.switch.vlans("swp1")
    said = rig.step(host="compute2")
    assert said.vlans == set()
    rig.wait(59)
    assert 100 in rig.switch.vlans("swp1")
    rig.wait(2)
    assert rig.switch.vlans("swp1") == {999}
    assert rig.state.owned("leaf1") == {}


def test_a_vlan_wanted_again_within_its_grace_was_never_closed(rig):
    rig.step(100)
    rig.step()
    rig.now += 59
    rig.step(100)
    rig.wait(120)
    assert rig.switch.vlans("swp1") == {100, 999}
    assert len(rig.switch.commits) == 1


def test_a_vlan_that_was_there_before_is_foreign_and_stays(rig):
    assert rig.step(7, port="swp3").vlans == {7}
    assert rig.state.owned("leaf1") == {}
    rig.step(port="swp3")
    rig.wait(61)
    assert rig.switch.vlans("swp3") == {7}


def test_two_pfs_on_one_aggregate_are_one_union(tmp_path):
    member = PortVlans(lag="bond1")
    rig = Rig(tmp_path, {"swp1": member, "swp2": member, "bond1": [999]})
    rig.step(100)
    rig.step(100, 200, pf="0000:3b:00.1", port="swp2")
    assert rig.switch.vlans("bond1") == {100, 200, 999}
    rig.step()
    rig.wait(61)
    assert rig.switch.vlans("bond1") == {100, 200, 999}
    rig.step(pf="0000:3b:00.1", port="swp2")
    rig.wait(61)
    assert rig.switch.vlans("bond1") == {999}
    assert rig.state.owned("leaf1") == {}


class TestTheLastVlanOfATrunk:
    def test_has_the_floor_in_its_place(self, tmp_path):
        rig = Rig(tmp_path, {"swp1": [999]}, floor_vlan=998)
        rig.step(100)
        rig.switch.put("swp1", [100])
        rig.step()
        rig.wait(61)
        assert rig.switch.vlans("swp1") == {998}
        rig.step(100)
        assert rig.switch.vlans("swp1") == {100, 998}

    def test_stays_where_there_is_no_floor(self, rig):
        rig.step(100, 200)
        rig.switch.put("swp1", [100, 200])
        rig.step()
        rig.wait(61)
        assert rig.switch.vlans("swp1") == {100}
        (status,) = rig.state.statuses()
        assert "set floor_vlan" in status.error
        assert rig.state.owned("leaf1") == {"swp1": {100}}

    def test_goes_where_a_port_without_any_carries_none(self, tmp_path):
        rig = Rig(tmp_path, {"swp1": []}, needs_a_vlan=False)
        rig.step(100)
        rig.step()
        rig.wait(61)
        assert rig.switch.vlans("swp1") == set()


@pytest.mark.parametrize(
    ("port", "why"),
    [
        (PortVlans(trunk=False, vlans=frozenset({7})), "is no trunk"),
        (PortVlans(every=True), "carries every VLAN"),
        (None, "has no port swp1"),
    ],
)
def test_a_port_that_cannot_be_used_is_left_and_said_to_be(tmp_path, port, why):
    rig = Rig(tmp_path, {"swp2": [999]} | ({"swp1": port} if port else {}))
    rig.want(100, port="swp2")
    said = rig.step(100)
    assert why in said.error
    assert not said.vlans
    assert rig.switch.vlans("swp2") == {100, 999}
    assert len(rig.switch.commits) == 1


@pytest.mark.parametrize(
    ("rules", "vlan", "why"),
    [
        ({"protected_vlans": frozenset({100})}, 100, "protected_vlans"),
        ({"allowed_vlans": frozenset({300})}, 100, "allowed_vlans"),
        ({"floor_vlan": 100}, 100, "floor_vlan"),
        ({"max_vlans": 2}, 301, "max_vlans"),
        ({}, 1, "allowed_vlans"),
    ],
)
def test_a_vlan_that_may_not_be_holds_back_no_other(tmp_path, rules, vlan, why):
    rig = Rig(tmp_path, {"swp1": [999]}, **rules)
    said = rig.step(300, vlan)
    assert why in said.refused[vlan]
    assert said.vlans == {300}


def test_a_vlan_that_the_switch_refuses_holds_back_no_other(rig):
    rig.switch.forbidden = frozenset({105, 109})
    said = rig.step(*range(100, 112))
    assert said.vlans == set(range(100, 112)) - {105, 109}
    assert said.refused.keys() == {105, 109}
    assert "invalid-value" in said.refused[105]
    assert rig.state.owned("leaf1") == {"swp1": said.vlans}


class TestDrift:
    def test_is_reported_and_left(self, rig):
        want = rig.want(100, 200)
        rig.worker.step()
        rig.switch.put("swp1", [200, 999])
        rig.wait(800)
        said = rig.answer(want)
        assert said.vlans == {200}
        assert "closed on the switch by somebody else" in said.refused[100]
        rig.step(100, 200, 300)
        assert rig.switch.vlans("swp1") == {200, 300, 999}

    def test_is_repaired_when_that_is_asked_for(self, rig):
        rig.step(100, 200)
        rig.switch.put("swp1", [200, 999])
        rig.wait(800)
        assert rig.worker.difference()["swp1"].add == {100}
        rig.worker.repair()
        rig.worker.step()
        assert rig.switch.vlans("swp1") == {100, 200, 999}

    def test_is_repaired_by_itself_where_that_is_configured(self, tmp_path):
        rig = Rig(tmp_path, {"swp1": [999]}, Policy(repair=True))
        rig.step(100)
        rig.switch.put("swp1", [999])
        rig.wait(800)
        assert rig.switch.vlans("swp1") == {100, 999}

    def test_is_known_after_a_restart(self, rig):
        rig.step(100)
        rig.switch.put("swp1", [999])
        rig.wait(800)
        rig.restart()
        rig.worker.step()
        assert rig.switch.vlans("swp1") == {999}


def test_a_switch_that_does_not_answer_is_tried_again_and_not_before_its_time(rig):
    rig.switch.down = True
    said = rig.step(100)
    assert said.vlans is None
    assert "no answer" in said.error
    rig.switch.down = False
    rig.worker.wake()
    assert rig.worker._next() > rig.now
    rig.now += 200
    assert rig.worker._next() <= rig.now
    rig.worker.step()
    assert rig.switch.vlans("swp1") == {100, 999}


def test_a_lost_answer_is_found_out(rig):
    rig.switch.mute = True
    want = rig.want(100)
    rig.worker.step()
    assert rig.answer(want).error
    assert rig.state.owned("leaf1") == {"swp1": {100}}
    rig.switch.mute = False
    rig.wait(200)
    assert rig.answer(want).vlans == {100}
    assert len(rig.switch.commits) == 1
    rig.step()
    rig.wait(61)
    assert rig.switch.vlans("swp1") == {999}


def test_a_yes_is_no_proof(rig):
    rig.switch.deaf = True
    said = rig.step(100)
    assert said.vlans == set()
    assert said.refused == {100: "VLAN 100 was opened, and is not seen to be"}
    assert rig.state.owned("leaf1") == {}


def test_a_stop_between_what_is_said_to_be_ours_and_the_commit_loses_nothing(rig):
    class PowerCut(BaseException):
        pass

    def cut(*_):
        raise PowerCut

    rig.want(100)
    apply = rig.switch.apply
    rig.switch.apply = lambda ports, decide: (decide(rig.switch.read(ports)), cut())
    with pytest.raises(PowerCut):
        rig.worker.step()
    rig.switch.apply = apply
    rig.restart()
    rig.worker.step()
    assert rig.switch.vlans("swp1") == {100, 999}
    assert rig.state.owned("leaf1") == {"swp1": {100}}


def test_a_dry_run_changes_nothing_and_says_what_it_would(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    rig = Rig(tmp_path, {"swp1": [999]}, Policy(dry_run=True))
    said = rig.step(100)
    assert rig.switch.commits == []
    assert "dry_run" in said.error
    assert json.loads(caplog.messages[-1]) == {
        "switch": "leaf1",
        "port": "swp1",
        "for": [f"compute1 {PF}"],
        "added": "100",
        "removed": "",
        "before": "999",
        "result": "dry run",
    }


def test_each_commit_leaves_a_line(rig, caplog):
    caplog.set_level(logging.INFO)
    rig.want(100, host="compute2")
    rig.step(100, 101)
    assert json.loads(caplog.messages[-1]) == {
        "switch": "leaf1",
        "port": "swp1",
        "for": [f"compute1 {PF}", f"compute2 {PF}"],
        "added": "100-101",
        "removed": "",
        "before": "999",
        "after": "100-101,999",
        "result": "seen",
    }


def test_links_that_were_told_the_same_are_not_told_again(rig):
    rig.step(100)
    rig.told.clear()
    rig.wait(800)
    assert rig.told == []


def test_the_thread_gathers_what_comes_while_the_switch_is_busy(rig):
    rig.worker.clock = time.monotonic
    rig.worker._check = rig.worker.clock()
    rig.switch.may.clear()
    rig.want(100)
    rig.worker.start()
    for number in range(50):
        rig.want(200 + number, host=f"node{number}")
        rig.worker.wake()
    rig.switch.may.set()
    done = threading.Event()
    for _ in range(PATIENCE * 20):
        if len(rig.switch.vlans("swp1")) == 52:
            break
        done.wait(0.05)
    rig.worker.stop()
    assert rig.switch.vlans("swp1") == {100, 999, *range(200, 250)}
    assert len(rig.switch.commits) <= 2


def test_another_writer_keeps_this_one_out(rig):
    def held(switch):
        raise Unavailable("another manager holds it")

    rig.state.hold = held
    rig.step(100)
    assert rig.switch.vlans("swp1") == {999}


def test_a_link_without_a_place_closes_nothing(rig):
    rig.step(100)
    rig.rules = replace(rig.rules, ports=("swp9",))
    rig.restart()
    rig.wait(100)
    rig.wait(100)
    assert rig.switch.vlans("swp1") == {100, 999}


def test_a_vlan_of_which_it_was_not_heard_that_it_is_closed_is_opened_again(rig):
    rig.step(100)
    rig.step()
    rig.switch.mute = True
    rig.wait(61)
    assert rig.switch.vlans("swp1") == {999}
    rig.switch.mute, rig.switch.down = False, True
    rig.step(100)
    rig.switch.down = False
    rig.wait(61)
    assert rig.switch.vlans("swp1") == {100, 999}


def test_a_vlan_that_was_closed_by_a_manager_that_died_then_is_opened_again(rig):
    rig.step(100)
    rig.step()
    # It closed it, and could not say so any more.
    rig.switch.put("swp1", {999})
    rig.restart()
    rig.switch.down = True
    rig.step(100)
    rig.switch.down = False
    rig.wait(61)
    assert rig.switch.vlans("swp1") == {100, 999}


def test_a_switch_of_another_manager_is_left_alone_and_looked_at_once_it_is_ours(rig):
    asked, whose = threading.Semaphore(0), iter([False, Unavailable("no etcd"), False, True])

    def mine(switch):
        asked.release()
        answer = next(whose, True)
        if isinstance(answer, Exception):
            raise answer
        return answer

    rig.state.mine = mine
    rig.worker.clock = time.monotonic
    rig.want(100)
    rig.worker.start()
    for _ in range(3):
        assert asked.acquire(timeout=PATIENCE)
        # Until it is told of something it does not ask again.
        assert not asked.acquire(timeout=0.3)
        assert rig.switch.reads == 0
        rig.worker.wake()
    assert asked.acquire(timeout=PATIENCE)
    rig.worker.stop()
    assert rig.switch.vlans("swp1") == {100, 999}
