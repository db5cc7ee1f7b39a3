# SPDX-License-Identifier: Apache-2.0
"""Questions that wait for a thread: joined, in order, asked again; time is the test's."""

import threading

import pytest

from sriov_agent.exceptions import Unavailable
from sriov_agent.sources.ml2.asking import RETRY_SECONDS, Asking

A, B = "port a", "port b"


class Asked:
    """What was asked, by a clock that only the test moves; questions in ``failing`` fail."""

    def __init__(self):
        self.now = 1000.0
        self.asked = []
        self.failing = {}
        self.asking = Asking(self._ask, clock=lambda: self.now)
        self.put = self.asking.put

    def _ask(self, what, port_ids):
        self.asked.append((what, *sorted(port_ids)))
        if what in self.failing:
            raise self.failing[what]

    def after(self, seconds=0.0):
        """What is asked when so much time has gone by."""
        self.now += seconds
        self.asked.clear()
        while self.asking.step():
            pass
        return self.asked


@pytest.fixture
def asked():
    return Asked()


def test_nothing_is_asked_for_nothing(asked):
    assert asked.after(1e6) == []


def test_what_is_asked_twice_is_one_question(asked):
    asked.put("ports", [A])
    asked.put("list")
    asked.put("ports", [B])
    asked.put("list")
    assert asked.after() == [("ports", A, B), ("list",)]
    assert asked.after(1e6) == []


def test_what_came_together_is_asked_in_an_order(asked):
    for what in ("not pushed", "list", "ports", "policies", "status"):
        asked.put(what)
    order = [("status",), ("policies",), ("ports",), ("list",), ("not pushed",)]
    assert asked.after() == order


def test_what_has_time_waits_and_the_earliest_counts(asked):
    asked.put("list", after=300)
    assert asked.after(299) == []
    asked.put("list", after=5)
    asked.put("list", after=300)
    assert asked.after(5) == [("list",)]
    assert asked.after(1e6) == []


@pytest.mark.parametrize("error", [Unavailable("no answer"), ValueError("a bug")])
def test_what_failed_is_asked_again_ever_later(asked, error, caplog):
    asked.failing = {"ports": error}
    asked.put("ports", [A])
    asked.put("status")
    assert asked.after() == [("status",), ("ports", A)]
    shortest, longest = RETRY_SECONDS
    delay = shortest
    for _ in range(8):
        assert asked.after(0.79 * delay) == []
        assert asked.after(0.42 * delay) == [("ports", A)]
        delay = min(2 * delay, longest)
    assert "ports: " in caplog.text

    asked.failing = {}
    assert asked.after(1.3 * longest) == [("ports", A)]
    assert asked.after(1e6) == []

    asked.failing = {"ports": error}
    asked.put("ports", [A])
    assert asked.after() == [("ports", A)]
    assert asked.after(1.3 * shortest) == [("ports", A)], "it begins anew"


def test_what_fails_does_not_hold_back_what_is_asked_since(asked):
    asked.failing = {"ports": Unavailable("no answer")}
    asked.put("ports", [A])
    asked.after()
    asked.failing = {}
    asked.put("ports", [B])
    assert asked.after() == [("ports", A, B)]


def test_an_error_that_is_no_bug_is_one_line(asked, caplog):
    asked.failing = {"list": Unavailable("no answer")}
    asked.put("list")
    asked.after()
    (record,) = caplog.records
    assert (record.getMessage(), record.exc_info) == ("list: no answer", None)


def test_a_thread_asks_at_once_and_ends_when_it_is_told_to():
    heard, release = threading.Semaphore(0), threading.Semaphore(0)

    def ask(what, port_ids):
        heard.release()
        assert release.acquire(timeout=30)

    asking = Asking(ask)
    thread = threading.Thread(target=asking.run)
    thread.start()
    asking.put("list", after=0.01)
    assert heard.acquire(timeout=30)
    asking.put("list")
    release.release()
    assert heard.acquire(timeout=30), "what came while it was asked is asked as well"
    asking.stop()
    asking.put("list")
    release.release()
    thread.join(30)
    assert not thread.is_alive()
    assert not heard.acquire(blocking=False)
