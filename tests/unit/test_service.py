# SPDX-License-Identifier: Apache-2.0
"""The agent as a whole on a machine without the PF it is configured for, and its timers."""

import contextlib
import sqlite3
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.backoff import Backoff
from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.core.state import PortBinding, Scope
from sriov_agent.exceptions import ConfigError, Pending
from sriov_agent.service import Agent
from sriov_agent.sources.ports import Ports
from tests.topology import port_id, port_mac
from tests.waiting import PATIENCE, until

PF = "no-such-pf"
MAPPED = f"[sriov_nic]\nphysical_device_mappings = physnet2:{PF}\n"


class Host:
    def __init__(self, directory, more=MAPPED):
        config = directory / "sriov-agent.conf"
        config.write_text(
            "[DEFAULT]\nhost = compute1\n"
            f"[agent]\nstate_path = {directory}/state\n"
            "retry_min = 0.1\nretry_max = 0.2\n"
            "[local]\npoll_interval = 0.05\n"
            f"[lldp]\ncommand = {sys.executable},-c,pass\n"
            f"{more}"
        )
        self.conf = options.register(cfg.ConfigOpts())
        self.conf([f"--config-file={config}"])
        self.ports = Ports(options.ports_path(self.conf))

    @contextlib.contextmanager
    def agent(self):
        """The agent in a thread, which has ended when this ends."""
        agent = Agent(self.conf)
        thread = threading.Thread(target=agent.run, daemon=True)
        thread.start()
        try:
            yield agent
            assert thread.is_alive(), "the agent ended by itself"
        finally:
            agent.stop()
            thread.join(PATIENCE)
        assert not thread.is_alive(), "the agent does not stop"

    def create(self, number, **given):
        self.ports.create(
            PortBinding(
                port_id=port_id(number),
                mac=port_mac(number),
                vlan=15,
                physical_network="physnet2",
                **given,
            )
        )


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def reported(agent, number):
    return until(lambda: agent.store.status().get(port_id(number)))


def test_a_port_without_its_pf_is_unmet_and_says_why(host):
    host.create(1)
    with host.agent() as agent:
        entry = reported(agent, 1)
        assert (entry["state"], entry["vf"]) == ("unmet", None)
        (why,) = entry["unmet"]
        assert "physnet2" in why
        assert agent.store.claims() == {}


def test_it_goes_on_and_takes_a_second_port(host):
    with host.agent() as agent:
        host.create(1)
        reported(agent, 1)
        host.create(2, pci_slot="0000:3b:00.2")
        assert reported(agent, 2)["state"] == "unmet"
        assert reported(agent, 1)["state"] == "unmet"


def test_what_is_unmet_is_tried_again(host):
    host.create(1)
    with host.agent() as agent:
        reported(agent, 1)
        passes = agent.counters.snapshot()["passes"]
        until(lambda: agent.counters.snapshot()["passes"] >= passes + 3)
        assert agent.counters.snapshot().get("passes.failed", 0) == 0


def test_a_port_that_goes_is_reported_no_longer(host):
    host.create(1)
    with host.agent() as agent:
        reported(agent, 1)
        host.ports.delete(port_id(1))
        until(lambda: port_id(1) not in agent.store.status())


def test_a_stop_changes_nothing_and_a_start_goes_on(host):
    host.create(1)
    with host.agent() as agent:
        before = reported(agent, 1)
    assert agent.store.status()[port_id(1)] == before
    assert set(host.ports.bindings().ports) == {port_id(1)}
    host.create(2)
    with host.agent() as agent:
        assert reported(agent, 2)["state"] == "unmet"


def test_it_stops_before_it_began(host):
    agent = Agent(host.conf)
    agent.stop()
    thread = threading.Thread(target=agent.run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert agent.counters.snapshot().get("passes", 0) == 0


def test_it_leaves_no_thread_behind(host):
    before = set(threading.enumerate())
    with host.agent() as agent:
        until(lambda: agent.counters.snapshot().get("passes"))
        assert set(threading.enumerate()) > before
    # What others serve in this process ends its threads when it likes, and starts none now.
    until(lambda: set(threading.enumerate()) <= before)


def test_a_table_that_cannot_be_read_is_unknown_and_not_empty(host):
    host.create(1)
    path = host.ports.database.path
    with host.agent() as agent:
        before = reported(agent, 1)
        with host.ports.database.transaction() as db:
            db.execute("PRAGMA user_version=99")
        until(lambda: agent.counters.snapshot().get("passes.failed"))
        assert agent.store.status() == {port_id(1): before}
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute(f"PRAGMA user_version={len(host.ports.database.versions)}")
        connection.close()
        host.create(2)
        assert reported(agent, 2)["state"] == "unmet"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[agent]\n", "physical_device_mappings"),
        ("[sriov_nic]\nphysical_device_mappings = physnet2\n", "physical_device_mappings"),
        (f"{MAPPED}[fabric]\nhook = nosuch\n", "[fabric] hook"),
        (f"{MAPPED}[fabric]\nhook = exec\n", "[hook_exec] command"),
    ],
    ids=["no-pf", "no-device", "no-driver", "no-command"],
)
def test_a_configuration_that_cannot_work_is_named(tmp_path, text, named):
    with pytest.raises(ConfigError) as error:
        Agent(Host(tmp_path, text).conf)
    assert named in str(error.value)


def test_what_is_waited_for_is_not_tried_again_when_it_was_due_before(tmp_path):
    def unmet(why):
        entry = PortReport(port_id=port_id(1), state=PortState.UNMET, unmet=(why,))
        return Report(ports={port_id(1): entry})

    agent = Agent(Host(tmp_path, MAPPED).conf)
    scope = Scope(frozenset({port_id(1)}))
    agent._reschedule(unmet("VLAN 15 not seen open"), scope)
    assert agent._backoff.known() == {port_id(1)}
    for pending in (Pending(), Pending("refused")):
        agent._reschedule(unmet(f"VLAN 15 not seen open: {pending}"), scope)
        assert agent._backoff.next() == float("inf")
        assert agent._backoff.known() == {port_id(1)}
    agent._reschedule(Report(ports={}), scope)
    assert agent._backoff.known() == frozenset()


def due_at(backoff):
    """When the only thing that waits is due."""
    when = backoff.next()
    assert backoff.due(when) == backoff.known()
    return when


def test_nothing_waits_at_first():
    backoff = Backoff(1, 60)
    assert backoff.next() == float("inf")
    assert backoff.due(float("inf")) == backoff.known() == frozenset()


def test_what_fails_again_waits_twice_as_long_up_to_the_longest():
    backoff = Backoff(1, 8)
    for delay in (1, 2, 4, 8, 8, 8):
        backoff.failed("a", 1000)
        assert 1000 + 0.8 * delay <= due_at(backoff) <= 1000 + 1.2 * delay


def test_what_fails_after_an_answer_was_waited_for_waits_twice_as_long():
    backoff = Backoff(1, 60)
    backoff.waits("a")
    assert backoff.known() == frozenset()
    for delay in (1, 2, 4, 8):
        backoff.failed("a", 1000)
        assert 1000 + 0.8 * delay <= due_at(backoff) <= 1000 + 1.2 * delay
        backoff.waits("a")
        assert backoff.next() == float("inf")


def test_what_succeeded_starts_over():
    backoff = Backoff(1, 60)
    for _ in range(5):
        backoff.failed("a", 0)
    backoff.succeeded("a")
    assert backoff.next() == float("inf")
    backoff.failed("a", 0)
    assert due_at(backoff) <= 1.2


def test_each_waits_by_itself():
    backoff = Backoff(1, 60)
    for _ in range(6):
        backoff.failed("a", 0)
    backoff.failed("b", 0)
    assert backoff.known() == {"a", "b"}
    assert backoff.due(1.5) == {"b"}
    backoff.succeeded("b")
    assert backoff.known() == {"a"}
    backoff.succeeded("never failed")


def test_a_shortest_above_the_longest_is_the_longest():
    backoff = Backoff(10, 1)
    for _ in range(3):
        backoff.failed("a", 0)
        assert 8 <= due_at(backoff) <= 12


def test_not_all_come_due_at_once():
    backoff = Backoff(1, 60)
    for number in range(50):
        backoff.failed(str(number), 0)
    assert len(backoff.due(backoff.next())) < 50


@given(
    shortest=st.floats(0.1, 100),
    longest=st.floats(0.1, 100),
    now=st.floats(0, 1e6),
    times=st.integers(1, 40),
)
def test_a_wait_is_never_below_the_shortest_nor_above_the_longest(shortest, longest, now, times):
    backoff = Backoff(shortest, longest)
    for _ in range(times):
        backoff.failed("a", now)
        waits = due_at(backoff) - now
        assert waits >= 0.79 * shortest
        assert waits <= 1.21 * max(shortest, longest)
