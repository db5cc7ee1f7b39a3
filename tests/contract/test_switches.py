# SPDX-License-Identifier: Apache-2.0
"""What every switch driver does, on a real server; ``tests/switches/rig.py`` is what it needs.

A test of something that not every switch has, or not every rig can play, is made for those that
have it: none is skipped.
"""

import functools
import logging
import multiprocessing
import threading
import time

import pytest

from sriov_agent.exceptions import ConfigError, InvalidField, Refused, Unavailable
from sriov_agent.fabric.model import Applied, Change, PortVlans
from sriov_agent.fabric.switch.loader import load
from tests.switches import victim
from tests.switches.rig import ALL, CUT, CUT_AFTER, CUT_BEFORE, HELD, LIES, SILENT
from tests.switches.rigs import RIGS  # noqa: F401 - pytest_generate_tests finds it
from tests.waiting import until

SECRET = "correct-horse-battery"
OTHER_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIr1WJu8cFmTtkdQbPGAHpWjDDzh4yzXK8kLdJ0p0K9y"
HOSTILE = (
    "{port}; touch {canary};",
    "{port} trunks 9; touch {canary}; true",
    "$(touch {canary})",
    "`touch {canary}`",
    "{port}\ntouch {canary}\n",
    "--help",
    "",
    "{port}</name></interface><interface><name>{other}",
    "{port}' or '1'='1",
    "{port}&amp;",
    "{port}\x00",
    "\u2060{port}",
    "{port}" + "0" * 64,
)
#: far above what anything takes, for machines that others use as well
PATIENCE = 120


def rigs(has=lambda rig: True):
    """Has a test run with the rigs of its module's ``RIGS`` of which this holds."""
    return pytest.mark.rigs(has)


def pytest_generate_tests(metafunc):
    if mark := metafunc.definition.get_closest_marker("rigs"):
        (has,) = mark.args
        found = [
            pytest.param(name, marks=[] if rig.excuse() else [pytest.mark.switch])
            for name, rig in metafunc.module.RIGS.items()
            if has(rig)
        ]
        metafunc.parametrize("rig", found, indirect=True, scope="module")


def playing(*faults):
    return rigs(lambda rig: rig.faults.issuperset(faults))


every_rig = rigs()


@pytest.fixture(scope="module")
def rig(request, tmp_path_factory):
    kind = request.module.RIGS[request.param]
    if reason := kind.excuse() or kind.missing():
        pytest.skip(reason)
    found = kind(tmp_path_factory.mktemp(request.param[:4]))
    try:
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture
def switch(rig):
    """The driver, with VLAN 100 of somebody else on both trunks."""
    for port in rig.trunks:
        rig.put(port, [(100, 100)])
    found = rig.load()
    yield found
    found.close()


def changing(port, add=(), remove=()):
    return lambda ports: {port: Change(add=frozenset(add), remove=frozenset(remove))}


def changed(switch, port, add=(), remove=()):
    """What the port carries after it was told to change."""
    return switch.apply([port], changing(port, add, remove)).after[port].vlans


def patiently(act):
    """What it returns once the switch has time for it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


wait_until = functools.partial(until, patience=PATIENCE)


@every_rig
def test_it_tells_of_itself(rig, switch):
    lines = switch.describe()
    assert lines
    assert all(line and line.isprintable() for line in lines)


@every_rig
def test_what_ports_carry_is_read(rig, switch):
    one, other = rig.trunks
    rig.put(other, [(100, 100), (200, 200)])
    assert switch.read(rig.trunks) == {
        one: PortVlans(vlans=frozenset({100})),
        other: PortVlans(vlans=frozenset({100, 200})),
    }


@every_rig
def test_a_port_that_the_switch_lacks_is_absent(rig, switch):
    (port, _) = rig.trunks
    assert set(switch.read(iter([port, "nosuch0"]))) == {port}
    assert switch.read([]) == {}


@every_rig
def test_one_transaction_reads_decides_changes_and_reads(rig, switch):
    port, other = rig.trunks
    seen = []

    def decide(ports):
        seen.append(ports)
        return {port: Change(add=frozenset({15, 16}))}

    applied = switch.apply(iter(rig.trunks), decide)
    before = PortVlans(vlans=frozenset({100}))
    assert seen == [{port: before, other: before}]
    assert applied == Applied(
        before=seen[0],
        changes={port: Change(add=frozenset({15, 16}))},
        after={port: PortVlans(vlans=frozenset({15, 16, 100})), other: before},
    )
    assert (rig.get(port), rig.get(other)) == ({15, 16, 100}, {100})


@every_rig
def test_both_ways_and_several_ports_in_one_transaction(rig, switch):
    port, other = rig.trunks
    rig.put(port, [(15, 15), (100, 100)])
    before = rig.writes()
    switch.apply(
        rig.trunks,
        lambda ports: {
            port: Change(add=frozenset({16}), remove=frozenset({15})),
            other: Change(add=frozenset({17})),
        },
    )
    assert (rig.get(port), rig.get(other)) == ({16, 100}, {17, 100})
    assert rig.writes() == before + 1


@every_rig
def test_twice_is_once(rig, switch):
    (port, _) = rig.trunks
    assert changed(switch, port, add=[15]) == {15, 100}
    before = rig.writes()
    assert changed(switch, port, add=[15]) == {15, 100}
    assert rig.writes() == before
    assert changed(switch, port, remove=[15]) == {100}
    before = rig.writes()
    assert changed(switch, port, remove=[15]) == {100}
    assert rig.writes() == before
    assert rig.get(port) == {100}


@every_rig
@pytest.mark.parametrize("changes", [{}, None], ids=["no port", "no VLAN"])
def test_no_change_sends_nothing(rig, switch, changes):
    (port, _) = rig.trunks
    before = rig.writes()
    applied = switch.apply([port], lambda ports: {port: Change()} if changes is None else changes)
    assert (applied.changes, applied.after) == ({}, applied.before)
    assert rig.writes() == before


@every_rig
def test_the_last_vlan_never_opens_the_port_to_all(rig, switch):
    (port, _) = rig.trunks
    if switch.needs_a_vlan:
        before = rig.writes()
        with pytest.raises(Refused, match=f"{port}.*all"):
            changed(switch, port, remove=[100])
        assert (rig.get(port), rig.writes()) == ({100}, before)
        assert changed(switch, port, add=[15], remove=[100]) == {15}
    else:
        assert changed(switch, port, remove=[100]) == set()
        assert rig.get(port) == set()


@rigs(lambda rig: rig.opens)
def test_a_port_open_to_all_is_left_so(rig, switch):
    (port, _) = rig.trunks
    rig.put(port, None)
    assert switch.read([port])[port].every
    before = rig.writes()
    assert changed(switch, port, add=[15]) == switch.read([port])[port].vlans
    with pytest.raises(Refused, match=f"{port}.*all"):
        changed(switch, port, remove=[15])
    assert (rig.get(port), rig.writes()) == (ALL, before)


@rigs(lambda rig: rig.access)
def test_an_access_port_is_no_trunk(rig, switch):
    assert not switch.read([rig.access])[rig.access].trunk
    before = rig.writes()
    with pytest.raises(Refused, match=f"{rig.access}.*trunk"):
        changed(switch, rig.access, add=[15])
    assert not switch.read([rig.access])[rig.access].trunk
    assert rig.writes() == before


@rigs(lambda rig: rig.lag[0])
def test_the_aggregate_stands_for_its_member(rig, switch):
    member, aggregate = rig.lag
    rig.put(aggregate, [(100, 100)])
    assert switch.read([member]) == {member: PortVlans(vlans=frozenset({100}), lag=aggregate)}
    applied = switch.apply([member], changing(member, add=[15]))
    assert applied.after == {member: PortVlans(vlans=frozenset({15, 100}), lag=aggregate)}
    assert rig.get(aggregate) == {15, 100}
    assert changed(switch, member, remove=[15]) == {100}
    assert changed(switch, aggregate, add=[16]) == {16, 100}


@rigs(lambda rig: rig.has_ranges)
def test_a_range_of_somebody_else_is_kept_around_what_goes(rig, switch):
    (port, _) = rig.trunks
    rig.put(port, [(90, 110), (200, 201), (300, 300)])
    assert switch.read([port])[port].vlans == {*range(90, 111), 200, 201, 300}
    assert changed(switch, port, remove=[100]) == {*range(90, 111), 200, 201, 300} - {100}
    assert rig.get(port) == {*range(90, 111), 200, 201, 300} - {100}
    before = rig.writes()
    changed(switch, port, add=[95, 200])
    assert rig.writes() == before
    assert changed(switch, port, add=[100], remove=[90, 110, 200]) == {*range(91, 110), 201, 300}


@every_rig
def test_what_decide_raises_leaves_the_switch_as_it_was(rig, switch):
    (port, _) = rig.trunks

    def decide(ports):
        raise RuntimeError("undecided")

    before = rig.writes()
    with pytest.raises(RuntimeError, match="undecided"):
        switch.apply([port], decide)
    assert rig.writes() == before
    assert changed(rig.load(), port, add=[15]) == {15, 100}


@every_rig
def test_a_port_that_was_not_read_is_not_changed(rig, switch):
    port, other = rig.trunks
    before = rig.writes()
    with pytest.raises(Refused, match=other):
        switch.apply([port], changing(other, add=[15]))
    with pytest.raises(Refused, match="nosuch0"):
        switch.apply(["nosuch0"], changing("nosuch0", add=[15]))
    applied = switch.apply(["nosuch0"], lambda ports: {})
    assert applied == Applied(before={}, changes={}, after={})
    assert (rig.get(other), rig.writes()) == ({100}, before)


@every_rig
def test_a_hostile_name_does_nothing_on_the_switch(rig, switch):
    port, other = rig.trunks
    before = rig.writes()
    for hostile in HOSTILE:
        name = hostile.format(port=port, other=other, canary=rig.canary)
        for act in (
            lambda name=name: switch.read([port, name]),
            lambda name=name: switch.apply([name], changing(name, add=[15])),
            lambda name=name: switch.apply([port], changing(name, add=[15])),
        ):
            with pytest.raises((InvalidField, Refused)):
                act()
        assert not rig.canary.exists(), name
        assert rig.get(port) == rig.get(other) == {100}, name
    assert rig.writes() == before


@playing(HELD)
def test_a_switch_that_somebody_holds_is_tried_later(rig, switch):
    (port, _) = rig.trunks
    with rig.fault(HELD):
        with pytest.raises(Unavailable, match=r"(?i)lock|held|busy"):
            changed(switch, port, add=[15])
        assert rig.get(port) == {100}
        assert switch.read([port])[port].vlans == {100}
    assert patiently(lambda: changed(switch, port, add=[15])) == {15, 100}


@playing(CUT)
def test_a_connection_that_is_gone_is_made_again(rig, switch):
    (port, _) = rig.trunks

    def decide(ports):
        with rig.fault(CUT):
            return changing(port, add=[15])(ports)

    with pytest.raises(Unavailable, match=switch.login.name):
        switch.apply([port], decide)
    assert rig.get(port) == {100}
    assert patiently(lambda: changed(switch, port, add=[15])) == {15, 100}


@playing(CUT_BEFORE)
def test_what_was_cut_before_the_commit_is_not_done(rig, switch):
    (port, _) = rig.trunks
    with rig.fault(CUT_BEFORE), pytest.raises(Unavailable):
        changed(switch, port, add=[15])
    assert rig.get(port) == {100}
    assert patiently(lambda: changed(switch, port, add=[15])) == {15, 100}


@playing(CUT_AFTER)
def test_what_was_cut_after_the_commit_is_not_known_to_be_done(rig, switch):
    (port, _) = rig.trunks
    with rig.fault(CUT_AFTER), pytest.raises(Unavailable, match="unknown"):
        changed(switch, port, add=[15])
    assert patiently(lambda: switch.read([port]))[port].vlans == {15, 100}


@playing(SILENT)
def test_an_answer_that_does_not_come_is_not_waited_for(rig, switch):
    (port, _) = rig.trunks
    hasty = rig.load(timeout=5.0)
    with rig.fault(SILENT), pytest.raises(Unavailable):
        changed(hasty, port, add=[15])
    assert patiently(lambda: changed(switch, port, add=[16])) >= {16, 100}


@playing(LIES)
def test_what_is_told_to_be_done_is_what_was_seen(rig, switch):
    (port, _) = rig.trunks
    with rig.fault(LIES):
        applied = switch.apply([port], changing(port, add=[15]))
    assert applied.changes == {port: Change(add=frozenset({15}))}
    assert applied.after == applied.before
    assert rig.get(port) == {100}
    assert changed(switch, port, add=[15]) == {15, 100}


@every_rig
def test_two_writers_at_once_lose_nothing(rig, switch):
    (port, _) = rig.trunks
    failed = []

    def write(vlans):
        mine = rig.load()
        try:
            for vlan in vlans:
                patiently(lambda: changed(mine, port, add=[vlan]))  # noqa: B023 - called here
        except Exception as error:
            failed.append(error)
        finally:
            mine.close()

    writers = [threading.Thread(target=write, args=[range(first, first + 4)]) for first in (20, 30)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failed
    assert rig.get(port) == {*range(20, 24), *range(30, 34), 100}


def spawned(target, rig, port):
    process = multiprocessing.get_context("spawn").Process(
        target=target, args=(rig.driver, rig.login(), port)
    )
    process.start()
    return process


@every_rig
def test_a_manager_killed_while_it_decides_leaves_nothing(rig, switch):
    (port, _) = rig.trunks
    process = spawned(victim.die_deciding, rig, port)
    process.join(PATIENCE)
    assert process.exitcode == -9
    assert rig.get(port) == {100}
    assert patiently(lambda: changed(switch, port, add=[16])) == {16, 100}


@playing(SILENT)
def test_a_manager_killed_before_its_commit_leaves_nothing(rig, switch):
    (port, _) = rig.trunks
    before = rig.writes()
    with rig.fault(SILENT):
        process = spawned(victim.add, rig, port)
        wait_until(lambda: rig.writes() > before or not process.is_alive())
        process.kill()
        process.join()
        assert process.exitcode == -9
    assert rig.get(port) == {100}
    assert patiently(lambda: changed(switch, port, add=[16])) == {16, 100}


@every_rig
def test_a_switch_that_is_not_there_is_named(rig):
    nowhere = rig.load(address="127.0.0.1", port=1, timeout=5.0)
    for act in (
        nowhere.describe,
        lambda: nowhere.read(rig.trunks),
        lambda: nowhere.apply(rig.trunks, lambda ports: {}),
    ):
        with pytest.raises(Unavailable, match=rf"{nowhere.login.name}.*127\.0\.0\.1"):
            act()


@rigs(lambda rig: rig.has_login)
def test_another_host_key_is_refused(rig):
    for host_key in ("", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-ed25519 &&&&", "nonsense"):
        with pytest.raises(ConfigError, match=r"\[switch:.*\] host_key"):
            rig.load(host_key=host_key).read(rig.trunks)
    with pytest.raises(Refused, match="host key"):
        rig.load(host_key=OTHER_HOST_KEY).read(rig.trunks)


@rigs(lambda rig: rig.has_login)
def test_a_login_that_is_refused_says_so_without_the_secret(rig, caplog):
    caplog.set_level(logging.DEBUG)
    (rig.directory / "nonsense").write_text(SECRET)
    for changes in ({"key_file": None}, {"key_file": rig.directory / "nonsense"}):
        intruder = rig.load(password=SECRET, **changes)
        with pytest.raises((Refused, ConfigError)) as raised:
            intruder.read(rig.trunks)
        assert intruder.login.name in str(raised.value)
        assert SECRET not in str(raised.value) + repr(raised.value)
    assert SECRET not in caplog.text


@rigs(lambda rig: rig.has_login)
def test_secrets_are_shown_nowhere(rig, switch, caplog):
    caplog.set_level(logging.DEBUG)
    (port, _) = rig.trunks
    switch = rig.load(password=SECRET)
    changed(switch, port, add=[15])
    assert rig.login().key_file
    assert SECRET not in caplog.text + repr(switch) + repr(switch.login) + str(vars(switch))
    assert "PRIVATE KEY" not in caplog.text


@every_rig
def test_200_vlans_are_one_change(rig, switch):
    (port, _) = rig.trunks
    before = rig.writes()
    assert changed(switch, port, add=range(1001, 1201)) == {100, *range(1001, 1201)}
    assert rig.writes() == before + 1
    assert changed(switch, port, remove=range(1001, 1201)) == {100}
    assert (rig.get(port), rig.writes()) == ({100}, before + 2)


@every_rig
def test_it_can_be_closed_and_used_again(rig, switch):
    (port, _) = rig.trunks
    switch.close()
    assert switch.read([port])[port].vlans == {100}
    switch.close()
    switch.close()
    assert load(rig.driver, rig.login()).read([port])[port].vlans == {100}
