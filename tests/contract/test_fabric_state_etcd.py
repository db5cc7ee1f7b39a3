# SPDX-License-Identifier: Apache-2.0
"""What is etcd's own of what device managers share: a real etcd, real processes."""

import base64
import contextlib
import multiprocessing
import re
import threading
import time
import uuid
from concurrent.futures import ProcessPoolExecutor

import pytest

from sriov_agent.exceptions import Unavailable
from sriov_agent.fabric.model import PortStatus
from sriov_agent.fabric.state import ring
from sriov_agent.fabric.state.etcd import Etcd
from sriov_agent.fabric.state.gateway import Gateway
from tests.etcd import member
from tests.fabric import link, want
from tests.frozen import replace
from tools.openstack.processes import free_ports

pytestmark = pytest.mark.etcd

#: Far above what anything here takes: who waits this long fails.
PATIENCE = 60
SWITCHES = [f"leaf{number}" for number in range(1, 41)]
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def prefix():
    return f"/{uuid.uuid4()}/"


@pytest.fixture
def join(etcd, prefix):
    """Starts members that are stopped at the end; a function that says how often one was told."""
    with contextlib.ExitStack() as stack:

        def joined(name="manager1", **options):
            told = threading.Semaphore(0)
            state = member(etcd.url, name, prefix=prefix, **options)
            state.start(told.release)
            stack.callback(state.stop)
            state.told = lambda: told.acquire(timeout=PATIENCE)
            return state

        yield joined
        if etcd.running:
            etcd.resume()
        else:
            etcd.start()


def wait_for(true, what="it"):
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)


def owners(states):
    """By switch the names of those that believe it theirs."""
    return {s: [name for name, state in states.items() if state.mine(s)] for s in SWITCHES}


def answers(call):
    """What it says; ``None`` if it is not available."""
    with contextlib.suppress(Unavailable):
        return call()
    return None


def tell(url, prefix, hosts, sequences):
    """A process of its own: each host says what it wants, in this order."""
    state = member(url, prefix=prefix)
    for sequence in sequences:
        for host in hosts:
            state.put_wants([want(sequence + 1, at=link(host), sequence=sequence)])


def test_many_processes_at_once_neither_lose_a_want_nor_go_back(etcd, prefix):
    hosts = [f"compute{number}" for number in range(5)]
    orders = [range(1, 16), range(15, 0, -1), [*range(1, 16, 2), *range(2, 16, 2)]]
    with ProcessPoolExecutor(len(orders), mp_context=SPAWN) as pool:
        for told in [pool.submit(tell, etcd.url, prefix, hosts, order) for order in orders]:
            told.result(PATIENCE)
    assert set(member(etcd.url, prefix=prefix).wants()) == {
        want(16, at=link(host), sequence=15) for host in hosts
    }


def everything(etcd):
    """Every key that etcd has."""
    found = Gateway([etcd.url]).call("kv/range", {"key": "AA==", "range_end": "AA=="})
    return {base64.b64decode(kv["key"]).decode() for kv in found.get("kvs", ())}


def test_nothing_is_kept_outside_of_its_place(etcd, join, prefix):
    before = everything(etcd)
    state = join("../\n\x00é")
    for text in ("", "/", "a/../b", "\n", "\x00", "🙂", "\udc80", "member/x"):
        state.put_wants([want(2, at=link(host=text, pf=text, port=text))])
        state.set_statuses(text, [PortStatus(switch=text, port=text)])
        with state.hold(text) as fence:
            state.set_owned(text, {text: frozenset({2})}, fence)
            made = everything(etcd) - before
    part = "[A-Za-z0-9._~%-]*"
    place = re.compile(
        f"{prefix}((owned|status|lock)/{part}|member/{part}/[0-9a-f]+|want(/{part}){{6}})"
    )
    assert [key for key in made if not place.fullmatch(key)] == []
    assert len(made) == 8 * 3 + 2


def test_another_manager_is_told_of_what_is_wanted(join):
    one, other = join("manager1", lock_ttl=60), join("manager2", lock_ttl=60)
    wait_for(lambda: sum(map(len, owners({"1": one, "2": other}).values())) == len(SWITCHES))
    told = [want(2), want(2, heard=60.0), want(3, sequence=2)]
    for each in told:
        one.put_wants([each])
    while other.wants() != told[-1:]:
        assert other.told()
    one.drop_wants(told[-1:])
    while other.wants():
        assert other.told()


def test_another_manager_is_told_that_what_was_seen_is_forgotten(etcd, prefix):
    gateway, told = Gateway([etcd.url]), threading.Semaphore(0)
    state = Etcd(gateway, "manager1", prefix=prefix, lock_ttl=60)
    seen = PortStatus(switch="leaf1", port="swp1", seen=frozenset({2}), tried=frozenset({2}))
    state.set_statuses("leaf1", [seen])
    state.start(told.release)
    wait_for(lambda: told.acquire(timeout=0.5) is False)
    for news, status in [
        (False, replace(seen, error="no answer")),
        (True, replace(seen, seen=None)),
        (False, replace(seen, seen=None, error="no answer")),
    ]:
        state.set_statuses("leaf1", [status])
        assert told.acquire(timeout=PATIENCE if news else 0.5) is news
    state.stop()


def test_who_held_a_switch_and_died_has_it_until_its_lease_ends_and_no_longer(etcd, join, prefix):
    dead, admin = member(etcd.url, "dead", prefix=prefix), Gateway([etcd.url])
    taken = False
    other = join("manager2")
    # It was never started: nothing keeps its lease alive.
    with dead.hold("leaf1") as fence:
        while not taken:
            with contextlib.suppress(Unavailable), other.hold("leaf1") as mine:
                taken = True
                assert admin.keep_alive(fence.lease) == 0
                with pytest.raises(Unavailable, match="no longer"):
                    dead.set_owned("leaf1", {"swp1": frozenset({2})}, fence)
                other.set_owned("leaf1", {"swp1": frozenset({3})}, mine)
    assert other.owned("leaf1") == {"swp1": {3}}


def test_a_want_that_is_only_told_once_more_is_no_news(etcd, prefix):
    news = []

    class Told(Etcd):
        def _tell(self, events):
            before = len(told)
            super()._tell(events)
            news.extend((key, len(told) > before) for key, _, _ in events if "want" in key)

    told = []
    state = Told(Gateway([etcd.url]), "manager1", prefix=prefix, lock_ttl=60)
    state.start(lambda: told.append(1))
    wait_for(lambda: told)
    for each in (want(2), want(2, heard=60.0), want(3, sequence=2)):
        state.put_wants([each])
    wait_for(lambda: len(news) == 3)
    state.stop()
    assert [new for _, new in news] == [True, False, True]


def test_a_switch_is_held_by_one_manager(join):
    one, other = join("manager1"), join("manager2")
    with one.hold("leaf1"):
        with pytest.raises(Unavailable, match=r"leaf1.*manager1"), other.hold("leaf1"):
            pytest.fail("held twice")
        with other.hold("leaf2"):
            pass
    with other.hold("leaf1") as fence:
        other.set_owned("leaf1", {"swp1": frozenset({2})}, fence)


def test_a_switch_is_held_for_longer_than_the_time_to_live(join):
    one, other = join("manager1", lock_ttl=5), join("manager2", lock_ttl=5)
    with one.hold("leaf1") as fence:
        for _ in range(14):
            time.sleep(0.5)
            with pytest.raises(Unavailable), other.hold("leaf1"):
                pytest.fail("held twice")
        one.set_owned("leaf1", {"swp1": frozenset({2})}, fence)


def test_who_lost_a_switch_cannot_say_what_is_ours(etcd, join):
    one, other = join("manager1"), join("manager2")
    admin = Gateway([etcd.url])
    with one.hold("leaf1") as lost:
        admin.revoke(lost.lease)
        with pytest.raises(Unavailable, match="no longer"):
            one.set_owned("leaf1", {"swp1": frozenset({2})}, lost)
        with other.hold("leaf1") as fence:
            # Both believe that they hold it.
            with pytest.raises(Unavailable, match="no longer"):
                one.set_owned("leaf1", {"swp1": frozenset({2})}, lost)
            other.set_owned("leaf1", {"swp1": frozenset({3})}, fence)
            with pytest.raises(Unavailable):
                other.set_owned("leaf2", {"swp1": frozenset({3})}, fence)
    assert one.owned("leaf1") == {"swp1": {3}}
    with other.hold("leaf1"):
        pass


def test_every_switch_has_one_owner(join):
    states = {}
    for name in ("manager1", "manager2", "manager3"):
        states[name] = join(name)
        wait_for(lambda: all(len(found) == 1 for found in owners(states).values()))
    before = owners(states)
    assert {name for [name] in before.values()} == set(states)
    states.pop("manager2").stop()
    wait_for(lambda: all(len(found) == 1 for found in owners(states).values()))
    after = owners(states)
    assert all(before[s] in (after[s], ["manager2"]) for s in SWITCHES)


def test_what_is_kept_outlives_etcd_and_managers_come_back(etcd, join):
    state = join()
    state.put_wants([want(2)])
    etcd.stop()
    for call in (state.wants, state.statuses, lambda: state.owned("leaf1")):
        with pytest.raises(Unavailable):
            call()
    with pytest.raises(Unavailable), state.hold("leaf1"):
        pytest.fail("held without etcd")
    wait_for(lambda: answers(lambda: state.mine("leaf1")) is None)
    etcd.start()
    wait_for(lambda: answers(lambda: state.mine("leaf1")))
    assert state.wants() == [want(2)]
    with state.hold("leaf1") as fence:
        state.set_owned("leaf1", {"swp1": frozenset({2})}, fence)


def test_etcd_that_is_not_there_at_first_is_waited_for(etcd, join):
    etcd.stop()
    state = join()
    with pytest.raises(Unavailable):
        state.mine("leaf1")
    with pytest.raises(Unavailable):
        state.put_wants([want(2)])
    etcd.start()
    wait_for(lambda: answers(lambda: state.mine("leaf1")))
    assert state.put_wants([want(2)]) == [want(2)]


def test_who_held_a_switch_while_etcd_slept_does_not_write(etcd, join):
    state = join(lock_ttl=2, timeout=1.0)
    with state.hold("leaf1") as fence:
        etcd.pause()
        with pytest.raises(Unavailable):
            state.set_owned("leaf1", {"swp1": frozenset({2})}, fence)
        wait_for(lambda: answers(lambda: state.mine("leaf1")) is None)
        etcd.resume()
        # etcd ends the lock's lease unless it hears of it first; either way one decides.
        wrote = answers(lambda: state.set_owned("leaf1", {"swp1": frozenset({3})}, fence) or True)
    assert state.owned("leaf1") == ({"swp1": {3}} if wrote else {})
    wait_for(lambda: answers(lambda: state.mine("leaf1")))
    with state.hold("leaf1"):
        pass


def test_the_next_etcd_is_asked_when_one_does_not_answer(etcd, prefix):
    [nobody] = free_ports(1)
    gateway = Gateway([f"http://127.0.0.1:{nobody}", etcd.url], timeout=2.0)
    state = Etcd(gateway, "manager1", prefix=prefix)
    assert state.put_wants([want(2)]) == [want(2)]
    assert state.wants() == [want(2)]


def test_what_cannot_be_read_is_unknown_and_not_empty(etcd, prefix):
    gateway = Gateway([etcd.url])
    state = Etcd(gateway, "manager1", prefix=prefix)
    for key in ("want/a", "status/leaf1", "owned/leaf1"):
        gateway.put(prefix + key, '{"swp1": 5}')
    for call in (state.wants, state.statuses, lambda: state.owned("leaf1")):
        with pytest.raises(Unavailable, match="kept is no"):
            call()


def test_a_member_that_joins_moves_switches_to_itself_alone():
    before = {switch: ring.owner(switch, ["a", "b"]) for switch in SWITCHES}
    after = {switch: ring.owner(switch, ["c", "b", "a"]) for switch in SWITCHES}
    assert all(after[switch] in (before[switch], "c") for switch in SWITCHES)
    assert set(after.values()) == {"a", "b", "c"}
    assert ring.owner("leaf1", []) is None
