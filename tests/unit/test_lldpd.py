# SPDX-License-Identifier: Apache-2.0
"""lldpd asked by a program in the place of ``lldpcli`` that prints what lldpd 1.0.16 did."""

import queue
import sys
from pathlib import Path

import pytest

from sriov_agent.exceptions import Unavailable
from sriov_agent.host.lldp.discovery import Discovery
from sriov_agent.host.lldp.lldpd import Lldpd
from tests.topology import PF_A, PF_B, pf

SAMPLES = Path(__file__).parents[1] / "samples" / "lldp"
#: Far above what anything here takes.
SECONDS = 60
LLDPCLI = """
import pathlib, sys, time
directory, *rest = sys.argv[1:]
directory = pathlib.Path(directory)
if rest[2] == "watch":
    while not (directory / "over").exists():
        if (directory / "event").exists():
            (directory / "event").unlink()
            print("{}", flush=True)
        time.sleep(0.02)
    sys.exit(1)
assert rest[:3] == ["-f", "json0", "show"] and rest[4:] == ["details"], rest
with (directory / "asked").open("a") as asked:
    asked.write(rest[3][0])
sys.stdout.buffer.write((directory / rest[3]).read_bytes())
"""


class Program:
    """An lldpd that says what the two files ``interfaces`` and ``neighbors`` hold."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "lldpcli.py").write_text(LLDPCLI)
        (directory / "asked").touch()
        self.say("interfaces", "interfaces")
        self.say("neighbors", "self-reflected")
        self.lldpd = Lldpd((sys.executable, str(directory / "lldpcli.py"), str(directory)))

    def say(self, what: str, sample: str) -> None:
        (self.directory / what).write_bytes((SAMPLES / f"{sample}.json0").read_bytes())

    def event(self) -> None:
        (self.directory / "event").touch()

    def end(self) -> None:
        (self.directory / "over").touch()

    def times_asked(self) -> int:
        return (self.directory / "asked").read_text().count("n")


@pytest.fixture
def program(tmp_path):
    return Program(tmp_path)


def cabling(lldpd, *pfs):
    return Discovery([lldpd]).cabling({pf.address: pf for pf in pfs})


def test_a_pf_is_found_by_the_name_it_has_now(program):
    found = cabling(program.lldpd, pf(PF_A, netdev="enp1s0"), pf(PF_B, netdev="ens2"))
    assert found[PF_A].switch_port.system_name == "leaf1"
    assert found[PF_A].switch_port.pf == PF_A
    assert found[PF_B].reason == (
        "lldpd does not listen on ens2: lldpcli configure system interface pattern ens2"
    )


def test_two_switches_are_ambiguous(program):
    program.say("neighbors", "many")
    found = cabling(program.lldpd, pf(PF_A, netdev="enp1s0"))[PF_A]
    assert found.switch_port is None
    assert found.reason.startswith("ambiguous LLDP neighbors: ")
    assert found.reason.isprintable()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("/nonexistent/lldpcli",), "not found: install lldpd"),
        ((), "not found: install lldpd"),
        (("/",), "lldpcli: "),
        (
            (sys.executable, "-c", "import sys; sys.exit('no \\x1b socket')"),
            r"'no \\x1b socket'; is lldpd running\? systemctl start lldpd",
        ),
        ((sys.executable, "-c", "print('{}')"), "json0"),
    ],
)
def test_an_lldpd_that_does_not_answer_is_unknown(command, why):
    with pytest.raises(Unavailable, match=why):
        Lldpd(command).hear({PF_A: pf(PF_A)})


def test_an_lldpd_that_hangs_is_given_up():
    hanging = (sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(Unavailable, match="timed out"):
        Lldpd(hanging, timeout=0.2).hear({PF_A: pf(PF_A)})


def test_it_is_asked_again_each_time_while_nobody_tells_of_changes(program):
    for _ in range(2):
        cabling(program.lldpd, pf(PF_A, netdev="enp1s0"))
    assert program.times_asked() == 2


@pytest.fixture
def watched(program):
    """The program, watched, and where it is noted that something changed."""
    changes = queue.SimpleQueue()
    program.lldpd.start(lambda: changes.put(True))
    yield program, changes
    program.lldpd.stop()


def test_once_watched_it_is_asked_when_it_says_that_something_changed(watched):
    program, changes = watched
    uplink = pf(PF_A, netdev="enp1s0")
    while program.times_asked() < 2:
        cabling(program.lldpd, uplink)
        asked = program.times_asked()
        cabling(program.lldpd, uplink)
        if program.times_asked() == asked:
            break
    asked = program.times_asked()
    assert cabling(program.lldpd, uplink)[PF_A].switch_port

    program.say("neighbors", "none")
    assert cabling(program.lldpd, uplink)[PF_A].switch_port
    assert program.times_asked() == asked
    program.event()
    assert changes.get(timeout=SECONDS)
    assert cabling(program.lldpd, uplink)[PF_A].switch_port is None
    assert program.times_asked() == asked + 1


def test_what_is_remembered_goes_with_the_watch(watched):
    program, changes = watched
    uplink = pf(PF_A, netdev="enp1s0")
    program.event()
    assert changes.get(timeout=SECONDS)
    assert cabling(program.lldpd, uplink)[PF_A].switch_port
    program.say("neighbors", "none")
    program.end()
    assert changes.get(timeout=SECONDS)
    assert cabling(program.lldpd, uplink)[PF_A].switch_port is None
