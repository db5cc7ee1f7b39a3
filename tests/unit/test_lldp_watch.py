# SPDX-License-Identifier: Apache-2.0
"""Hearing from lldpd that something changed, with a program in the place of ``lldpcli``."""

import os
import queue
import sys

import pytest

from sriov_agent.host.lldp.watch import Watch

#: Far above what anything here takes.
SECONDS = 60
SAYS_ITS_ID = "import os, sys; print(os.getpid(), file=open(sys.argv[1], 'w'), flush=True);"
EVENT = "print('{\"lldp-added\": [{}]}', flush=True);"


@pytest.fixture
def watch(tmp_path):
    """Starts a watch over a program, which is given the path of a file of its own."""
    started = []

    def start(program):
        heard = queue.SimpleQueue()
        command = (sys.executable, "-c", program, str(tmp_path / "id"))
        watching = Watch(command, lambda: heard.put(True))
        watching.start()
        started.append(watching)
        return watching, heard

    yield start
    for watching in started:
        watching.stop()


def test_an_event_is_told(watch):
    _, heard = watch(EVENT + "import time; time.sleep(600)")
    assert heard.get(timeout=SECONDS)


def test_when_lldpd_goes_away_its_neighbors_are_looked_at_again(watch):
    _, heard = watch(EVENT)
    for _ in ("the event", "the end"):
        assert heard.get(timeout=SECONDS)


def test_lldpcli_is_asked_for_events_in_the_one_form_that_can_be_read(watch, tmp_path):
    _, heard = watch("import sys; print(sys.argv[2:], file=open(sys.argv[1], 'w'));" + EVENT)
    assert heard.get(timeout=SECONDS)
    assert (tmp_path / "id").read_text() == "['-f', 'json0', 'watch', 'details']\n"


def test_an_lldpd_that_never_answered_is_not_told_of(watch):
    watching, heard = watch("raise SystemExit(1)")
    watching.stop()
    assert heard.empty()


def test_a_program_that_is_not_there_is_no_reason_to_end():
    watching = Watch(["/nonexistent/lldpcli"], lambda: None)
    watching.start()
    watching.stop()


def test_stopping_ends_the_program(watch, tmp_path):
    watching, heard = watch(SAYS_ITS_ID + EVENT + "import time; time.sleep(600)")
    assert heard.get(timeout=SECONDS)
    watching.stop()

    number = int((tmp_path / "id").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
