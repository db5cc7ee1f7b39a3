# SPDX-License-Identifier: Apache-2.0
"""The hook in a thread of its own: who asks does not wait, and is woken."""

import threading

import pytest

from sriov_agent.exceptions import Pending, Refused, Unavailable
from sriov_agent.hook.background import Background
from tests.fakes.switches import Fabric
from tests.topology import LEAF_A, LEAF_B, carried

PATIENCE = 60


class Slow(Fabric):
    """A fabric that does nothing until it may."""

    def __init__(self):
        super().__init__()
        self.may = threading.Event()
        self.breaks = None
        self.asked = []

    def read(self, switch_ports):
        assert self.may.wait(PATIENCE)
        return super().read(switch_ports)

    def apply(self, link, wanted):
        self.asked.append(wanted[link])
        assert self.may.wait(PATIENCE)
        if self.breaks:
            raise self.breaks
        return super().apply(link, wanted)


class Asked:
    """A hook in the background, and which PFs it had woken the agent for."""

    def __init__(self):
        self.hook = Slow()
        self.woken = []
        self.news = threading.Semaphore(0)
        self.fabric = Background(self.hook, self._answered)

    def _answered(self, pf):
        self.woken.append(pf)
        self.news.release()

    def answer(self):
        """Let the hook do what it was asked, which was not done before, and wait for news."""
        self.hook.may.set()
        self.wait()

    def wait(self):
        assert self.news.acquire(timeout=PATIENCE), "nothing was answered"


@pytest.fixture
def asked():
    asked = Asked()
    asked.fabric.start()
    yield asked
    asked.hook.may.set()
    asked.fabric.stop()


def known(asked):
    """An answer for both links is there."""
    assert asked.fabric.read([LEAF_A, LEAF_B], again=True) == ({}, {})
    asked.answer()
    asked.wait()
    asked.hook.may.clear()


def test_a_link_that_was_not_read_yet_is_unknown_and_the_agent_is_woken_for_it(asked):
    asked.hook.open = {LEAF_A: carried(15)}
    assert asked.fabric.read([LEAF_A], again=True) == ({}, {})
    asked.answer()
    assert asked.fabric.read([LEAF_A], again=False) == ({LEAF_A: carried(15)}, {})
    assert asked.woken == [LEAF_A.pf]


def test_what_was_seen_stands_until_it_was_looked_at_again(asked):
    known(asked)
    asked.hook.open = {LEAF_B: carried(99)}
    seen, _ = asked.fabric.read([LEAF_A, LEAF_B], again=True)
    assert seen == {LEAF_A: frozenset(), LEAF_B: frozenset()}
    asked.answer()
    assert asked.woken[2:] == [LEAF_B.pf]
    assert asked.fabric.read([], again=False)[0][LEAF_B] == carried(99)


def test_what_cannot_be_read_any_more_is_unknown_and_says_why(asked):
    known(asked)
    asked.hook.down = True
    asked.hook.may.set()
    asked.fabric.read([LEAF_A], again=True)
    asked.wait()
    seen, errors = asked.fabric.read([LEAF_A], again=False)
    assert LEAF_A not in seen
    assert errors == {LEAF_A: "device manager: no answer"}


def test_asking_does_not_wait_and_the_same_is_not_asked_twice(asked):
    known(asked)
    for _ in range(3):
        with pytest.raises(Unavailable, match="not answered yet"):
            asked.fabric.apply(LEAF_A, {LEAF_A: carried(15)})
    asked.answer()
    asked.fabric.apply(LEAF_A, {LEAF_A: carried(15)})
    assert asked.hook.asked == [carried(15)]
    assert asked.fabric.read([], again=False)[0][LEAF_A] == carried(15)


def test_of_what_waits_to_be_asked_the_last_counts(asked):
    known(asked)
    for vlans in ((15,), (15, 16), (15, 16, 17)):
        with pytest.raises(Unavailable):
            asked.fabric.apply(LEAF_A, {LEAF_A: carried(*vlans)})
    asked.answer()
    assert asked.hook.open[LEAF_A] == carried(15, 16, 17)
    assert carried(15, 16) not in asked.hook.asked


def test_a_refusal_is_told_once_and_then_asked_again(asked):
    known(asked)
    asked.hook.forbidden = {15}
    with pytest.raises(Unavailable):
        asked.fabric.apply(LEAF_A, {LEAF_A: carried(15)})
    asked.answer()
    with pytest.raises(Refused, match="VLAN 15"):
        asked.fabric.apply(LEAF_A, {LEAF_A: carried(15)})
    asked.hook.forbidden = set()
    asked.hook.may.clear()
    for _ in range(2):
        with pytest.raises(Pending, match=r"VLAN 15.*; asked again, and not answered yet"):
            asked.fabric.apply(LEAF_A, {LEAF_A: carried(15)})
    with pytest.raises(Pending, match=r"^asked, and not answered yet"):
        asked.fabric.apply(LEAF_A, {LEAF_A: carried(16)})
    with pytest.raises(Pending, match=r"^asked, and not answered yet"):
        asked.fabric.apply(LEAF_A, {LEAF_A: carried(15)})
    asked.answer()
    asked.fabric.apply(LEAF_A, {LEAF_A: carried(15)})


def test_a_hook_that_breaks_is_unavailable_and_the_thread_goes_on(asked):
    known(asked)
    asked.hook.breaks = ZeroDivisionError("no")
    with pytest.raises(Unavailable):
        asked.fabric.apply(LEAF_A, {LEAF_A: carried(15)})
    asked.answer()
    with pytest.raises(Unavailable, match="ZeroDivisionError"):
        asked.fabric.apply(LEAF_A, {LEAF_A: carried(15)})
    assert LEAF_A not in asked.fabric.read([], again=False)[0]
    asked.hook.breaks = None
    asked.fabric.read([LEAF_A], again=True)
    asked.answer()
    assert asked.fabric.read([], again=False)[0][LEAF_A] == frozenset()


def test_one_refused_vlan_holds_back_no_other(asked):
    known(asked)
    asked.hook.forbidden = {16}
    with pytest.raises(Unavailable):
        asked.fabric.apply(LEAF_A, {LEAF_A: carried(15, 16, 17)})
    asked.answer()
    assert asked.hook.open[LEAF_A] == carried(15, 17)
