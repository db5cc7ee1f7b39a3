# SPDX-License-Identifier: Apache-2.0
"""The watch over lldpd, with a program in the place of lldpcli."""

import sys
import threading

import pytest

from sriov_agent.host.lldp.watch import Watch

SECONDS = 30
SAYS_ONCE_AND_STAYS = "print('{}', flush=True); import time; time.sleep(600)"
SAYS_ONCE_AND_ENDS = "print('{}', flush=True)"


@pytest.fixture
def watch():
    started = []

    def watch(command, times):
        heard = threading.Semaphore(0)
        started.append(Watch(command, heard.release))
        started[-1].start()
        return all(heard.acquire(timeout=SECONDS) for _ in range(times))

    yield watch
    before = threading.active_count()
    for each in started:
        each.stop()
    assert threading.active_count() == before - len(started)


def test_what_lldpd_says_wakes_once(watch):
    assert watch([sys.executable, "-c", SAYS_ONCE_AND_STAYS], times=1)


def test_that_lldpd_goes_away_wakes_too_and_it_is_asked_again(watch):
    assert watch([sys.executable, "-c", SAYS_ONCE_AND_ENDS], times=3)


def test_without_lldpcli_it_still_stops(watch, tmp_path):
    assert watch([str(tmp_path / "lldpcli")], times=0)
