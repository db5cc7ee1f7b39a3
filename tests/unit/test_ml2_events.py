# SPDX-License-Identifier: Apache-2.0
"""What Neutron tells its agents, taken into a real table of ports."""

import copy
import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_agent.core.state import Bindings
from sriov_agent.counters import Counters
from sriov_agent.exceptions import InvalidField
from sriov_agent.sources.ml2.events import Endpoint, Events
from sriov_agent.sources.ports import Ports
from tests.ovo import (
    JSON,
    NETWORK_ID,
    POLICY_ID,
    SEGMENT,
    arguments,
    deleted,
    limit,
    named,
    policy,
    port,
    pushed,
    shown,
    spoiled,
    unbound,
)
from tests.topology import HOST, port_id, port_mac

ID = port_id(1)
WOKEN = [frozenset({ID})]


class Questions:
    """What was asked, in its order."""

    def __init__(self):
        self.asked = []

    def ask_ports(self, port_ids):
        self.asked.append(("ports", frozenset(port_ids)))

    def ask_policies(self):
        self.asked.append("policies")

    def ask_all(self):
        self.asked.append("all")

    def ask_not_pushed(self):
        self.asked.append("not pushed")

    def ask_trunks(self):
        self.asked.append("trunks")

    def tell_status(self):
        self.asked.append("status")


class Agent:
    """The events of one host, with a memory of whom they woke and what they made it ask."""

    def __init__(self, path):
        self.ports = Ports(path)
        self.counters = Counters()
        self.questions = Questions()
        self.events = Events(HOST, self.ports, self.counters, self.questions)
        self.endpoint = Endpoint(self.events)
        self.woken = []
        self.events.wake = self.woken.append

    def push(self, *primitives, event_type="updated"):
        """Who was woken by these pushes."""
        return self.call("push", resource_list=list(primitives), event_type=event_type)

    def call(self, method, **given):
        before = len(self.woken)
        self.endpoint.take({"method": method, "args": given})
        return self.woken[before:]

    def asked(self):
        """What was asked since the last time."""
        found, self.questions.asked = self.questions.asked, []
        return found

    def count(self, name):
        return self.counters.snapshot().get(f"events.{name}", 0)

    @property
    def bound(self):
        return self.ports.bindings()


@pytest.fixture
def agent(tmp_path):
    return Agent(tmp_path / "ports.db")


@pytest.fixture
def with_port(agent):
    agent.push(port())
    agent.events.not_pushed({"id": ID, "propagate_uplink_status": True})
    agent.asked()
    return agent


def test_a_port_that_is_bound_here_is_kept_and_woken_and_more_is_asked_of_it(agent):
    assert agent.push(port(name="p")) == WOKEN
    bound = agent.bound.ports[ID]
    assert (bound.mac, bound.vlan, bound.physical_network) == (port_mac(1), 15, "physnet2")
    assert (bound.network_id, bound.status) == (NETWORK_ID, "DOWN")
    assert agent.asked() == []


def test_what_is_older_is_counted_and_dropped(with_port):
    assert with_port.push(port(revision=2, name="old")) == []
    assert with_port.bound.ports[ID].name == "p1"
    assert with_port.count("stale") == 1


def test_the_same_push_again_wakes_nobody(with_port):
    before = with_port.bound
    assert with_port.push(port(), port()) == []
    assert with_port.bound == before


def test_a_push_in_which_nothing_changed_may_be_about_the_uplinks_state(with_port):
    """Neutron's object lacks the field, and pushes the port when that is what changed."""
    with_port.push(port(revision=4))
    assert "not pushed" in with_port.asked()


def test_another_status_wakes_nobody_and_is_told_of(with_port):
    assert with_port.push(port(revision=4, status="ACTIVE")) == []
    assert with_port.bound.ports[ID].status == "ACTIVE"
    assert with_port.asked() == ["status"]


@pytest.mark.parametrize(
    ("changed", "name", "value"),
    [
        ({"admin_state_up": False}, "link_state", "disable"),
        ({"vlan": 20}, "vlan", 20),
        ({"security": named("PortSecurity", port_security_enabled=False)}, "spoofchk", False),
        ({"binding": {"profile": '{"trusted": true}'}}, "trust", True),
        ({"mac_address": port_mac(9)}, "mac", port_mac(9)),
    ],
)
def test_what_changes_wakes(with_port, changed, name, value):
    assert with_port.push(port(revision=4, **changed)) == WOKEN
    assert getattr(with_port.bound.ports[ID], name) == value


@pytest.mark.parametrize(
    "elsewhere",
    [
        unbound(),
        port(revision=4, host="compute2"),
        port(revision=4, binding={"status": "INACTIVE"}),
        port(revision=4, binding={"vif_type": "binding_failed"}),
        port(revision=4, binding={"vnic_type": "normal"}),
    ],
)
def test_a_port_that_is_bound_elsewhere_leaves_and_may_come_back(with_port, elsewhere):
    assert with_port.push(elsewhere) == WOKEN
    assert with_port.bound == Bindings()
    assert with_port.push(port(revision=3)) == []
    assert with_port.push(port(revision=5)) == WOKEN
    assert set(with_port.bound.ports) == {ID}


def test_a_port_of_another_host_is_never_written(agent):
    before = agent.ports.database.path.exists()
    assert agent.push(port(revision=4, host="compute2"), unbound(2)) == []
    assert agent.ports.get(ID) is None
    assert agent.ports.get(port_id(2)) is None
    assert agent.asked() == []
    assert agent.count("ignored") == 2
    assert not before

    assert agent.push(port(revision=3)) == [], "it has moved on since"
    assert agent.ports.get(ID) is None
    assert agent.push(port(revision=5)) == WOKEN


def test_nothing_follows_a_deletion(with_port):
    assert with_port.push(deleted(), event_type="deleted") == WOKEN
    assert with_port.bound == Bindings()
    assert with_port.push(port(revision=99)) == []
    assert with_port.push(deleted(), event_type="deleted") == []
    assert with_port.bound == Bindings()


def test_a_deletion_may_overtake_the_creation(agent):
    assert agent.push(deleted(), event_type="deleted") == []
    assert agent.push(port()) == []
    assert agent.bound == Bindings()


def test_a_deletion_is_also_told_by_itself(with_port):
    assert with_port.call("port_delete", port_id=ID, more=1) == WOKEN
    assert with_port.bound == Bindings()


MESSAGES = st.one_of(
    st.builds(lambda r, v: ("push", port(revision=r, vlan=v)), st.integers(1, 9), st.just(15)),
    st.builds(lambda r: ("push", unbound(revision=r)), st.integers(1, 9)),
    st.builds(lambda r: ("push", port(revision=r, host="compute2")), st.integers(1, 9)),
    st.builds(lambda r: ("shown", shown(revision=r)), st.integers(1, 9)),
    st.just(("deleted", deleted())),
)


def revision(message):
    kind, what = message
    if kind == "deleted":
        return 10
    return (what if kind == "shown" else what["versioned_object.data"])["revision_number"]


def outcome(messages):
    """The row in the end, and whether whoever has to be was woken."""
    with TemporaryDirectory() as directory:
        agent = Agent(Path(directory) / "ports.db")
        for kind, what in messages:
            before = agent.bound.ports.get(ID)
            if kind == "shown":
                woken = agent.call("port_update", port=what, **SEGMENT)
            else:
                event_type = "deleted" if kind == "deleted" else "updated"
                woken = agent.push(copy.deepcopy(what), event_type=event_type)
            after = agent.bound.ports.get(ID)
            assert bool(woken) == ((before is None) != (after is None)) or (before and after)
        assert agent.count("failed") == agent.count("rejected") == 0
        row = agent.ports.get(ID)
        # Whether the uplink's state is propagated is asked for where no message told.
        agent.events.not_pushed({"id": ID, "propagate_uplink_status": True})
        row = agent.ports.get(ID)
    return row if row and row.bound else None


@settings(max_examples=50)
@given(st.data())
def test_whatever_the_order_and_however_often_the_same_row_is_left(data):
    messages = data.draw(st.lists(MESSAGES, min_size=1, max_size=6, unique_by=revision))
    again = data.draw(st.lists(st.sampled_from(messages), max_size=3))
    shuffled = data.draw(st.permutations(messages + again))
    in_order = outcome(sorted(messages, key=revision))
    left = outcome(shuffled)
    assert left == in_order


def test_a_port_that_is_refused_keeps_what_it_has(with_port):
    before = with_port.ports.get(ID)
    assert with_port.push(port(revision=4, binding={"profile": "{"})) == WOKEN
    assert with_port.bound.invalid[ID].startswith("binding:profile")
    assert with_port.ports.get(ID).document == before.document
    assert with_port.ports.get(ID).network_id == before.network_id
    assert with_port.count("rejected") == 1
    assert with_port.push(port(revision=5)) == WOKEN
    assert set(with_port.bound.ports) == {ID}


@pytest.mark.parametrize(
    "bad",
    [
        {"mac_address": 7},
        {"segment": {"network_type": "vxlan"}},
        {"binding": {"vnic_type": "made-up"}},
        {"security": 7},
        {"qos_policy_id": "no-uuid"},
        {"status": 7},
    ],
)
def test_a_new_port_of_this_host_that_is_bad_is_kept_with_its_error(agent, bad):
    assert agent.push(port(**bad)) == WOKEN
    assert set(agent.bound.invalid) == {ID}
    assert agent.count("rejected") == 1


@pytest.mark.parametrize("bad", [{"host": 7}, {"host": "x" * 256}])
def test_a_bad_port_that_is_not_said_to_be_here_is_counted_only(agent, bad):
    assert agent.push(port(binding=bad)) == []
    assert agent.ports.get(ID) is None
    assert agent.count("rejected") == 1


def test_a_bad_object_does_not_hold_back_the_others(agent):
    pushed_ones = [None, 7, port(1, name=5), port(2, revision=None), port(3)]
    agent.push(*pushed_ones)
    assert set(agent.bound.ports) == {port_id(3)}
    assert set(agent.bound.invalid) == {ID}
    assert agent.count("rejected") == 4


def test_the_uplinks_state_is_kept_when_a_push_does_not_tell_it(with_port):
    with_port.events.not_pushed({"id": ID, "propagate_uplink_status": False})
    assert with_port.woken[-1:] == WOKEN
    assert with_port.bound.ports[ID].link_state == "enable"
    with_port.push(port(revision=4, name="renamed"))
    assert with_port.bound.ports[ID].link_state == "enable"
    with_port.push(port(revision=5, admin_state_up=False))
    assert with_port.bound.ports[ID].link_state == "disable"


def test_the_uplinks_state_that_is_known_wakes_nobody(with_port):
    with_port.woken.clear()
    with_port.events.not_pushed({"id": ID, "propagate_uplink_status": True})
    with_port.events.not_pushed({"id": port_id(2), "propagate_uplink_status": True})
    assert with_port.woken == []
    assert with_port.ports.get(port_id(2)) is None


def test_the_subports_of_a_trunk_are_asked_for_and_leave_with_it(with_port):
    with_port.asked()
    woken = len(with_port.woken)
    uplink = {"id": ID, "propagate_uplink_status": True}
    with_port.events.not_pushed(uplink, [[port_id(2), 20]])
    assert with_port.asked() == ["trunks"]
    assert with_port.ports.lacking().sub_ports == {port_id(2)}
    assert with_port.bound.ports == {}

    with_port.events.not_pushed(uplink)
    assert with_port.bound.ports[ID].trunk == ()
    assert with_port.woken[woken:] == [frozenset({ID})] * 2


@pytest.mark.parametrize("entry", [{"id": ID}, {"id": ID, "propagate_uplink_status": None}])
def test_without_the_extension_the_link_is_up_whatever_the_uplink_does(with_port, entry):
    with_port.events.not_pushed(entry)
    assert with_port.bound.ports[ID].link_state == "enable"


def test_a_policy_is_asked_for_once_a_port_has_it_and_gives_the_rates(agent):
    assert agent.push(policy(limit(5000))) == [], "nobody here has it"
    assert agent.ports.policies() == {}
    agent.push(port(qos_policy_id=POLICY_ID))
    assert "policies" in agent.asked()
    assert agent.bound.invalid[ID].startswith("qos_policy_id")
    assert agent.events.policies_in_use() == {POLICY_ID}

    assert agent.push(policy(limit(5000))) == WOKEN
    assert agent.bound.ports[ID].max_tx_rate == 5
    assert agent.push(policy(limit(5000))) == []
    assert agent.push(policy(limit(6000))) == WOKEN
    assert agent.push(policy(limit(6000)), event_type="deleted") == []
    assert agent.bound.ports[ID].max_tx_rate == 6
    assert agent.push(policy()) == WOKEN
    assert agent.bound.ports[ID].max_tx_rate == 0

    agent.asked()
    agent.push(port(revision=4, qos_policy_id=POLICY_ID, name="x"))
    assert "policies" not in agent.asked()


def test_two_ports_share_a_policy(agent):
    agent.push(port(1, qos_policy_id=POLICY_ID), port(2, qos_network_policy_id=POLICY_ID), port(3))
    assert agent.push(policy(limit(5000))) == [frozenset({ID, port_id(2)})]
    rates = {number: agent.bound.ports[port_id(number)].max_tx_rate for number in (1, 2, 3)}
    assert rates == {1: 5, 2: 5, 3: 0}


def test_the_ports_own_policy_goes_before_that_of_its_network(agent):
    other = "11111111-2222-4333-8444-555555555555"
    agent.push(port(qos_policy_id=POLICY_ID, qos_network_policy_id=other))
    assert agent.events.policies_in_use() == {POLICY_ID}


def test_a_policy_that_was_once_in_use_is_kept_up_to_date(agent):
    agent.push(port(qos_policy_id=POLICY_ID), policy(limit(5000)), port(revision=4))
    agent.woken.clear()
    assert agent.push(policy(limit(6000))) == []
    agent.push(port(revision=5, qos_policy_id=POLICY_ID))
    assert agent.bound.ports[ID].max_tx_rate == 6


def test_rates_that_contradict_each_other_are_refused_by_name(agent):
    agent.push(port(qos_policy_id=POLICY_ID))
    agent.push(policy(limit(5000), limit(9000, kind="MinimumBandwidth")))
    assert agent.bound.invalid[ID].startswith("min_tx_rate")


def test_a_list_that_lacks_a_port_unbinds_it(with_port):
    with_port.events.begin_list()
    with_port.woken.clear()
    with_port.events.end_list([])
    assert with_port.woken == WOKEN
    assert with_port.bound == Bindings()
    assert with_port.push(port()) == WOKEN, "and it may come back"


@pytest.mark.parametrize("since", [port(revision=4), port()])
def test_a_list_does_not_unbind_what_was_heard_of_since(with_port, since):
    with_port.events.begin_list()
    with_port.push(since)
    with_port.woken.clear()
    with_port.events.end_list([])
    assert with_port.woken == []
    assert set(with_port.bound.ports) == {ID}
    with_port.events.begin_list()
    with_port.events.end_list([])
    assert with_port.bound == Bindings()


def test_a_list_that_has_all_wakes_nobody(with_port):
    with_port.events.begin_list()
    with_port.woken.clear()
    with_port.events.end_list([ID, port_id(2)])
    assert with_port.woken == []
    assert set(with_port.bound.ports) == {ID}


def test_a_network_that_changed_has_its_ports_asked_for(with_port):
    network = arguments("rpc_network_update")
    assert with_port.call("network_update", **network) == []
    assert with_port.asked() == [("ports", {ID})]
    with_port.call("network_update", network=network["network"] | {"id": port_id(5)})
    assert with_port.asked() == []


@pytest.mark.parametrize("method", ["binding_activate", "binding_deactivate"])
def test_a_binding_that_changed_has_its_port_asked_for(agent, method):
    """Every host hears of it: those that the port does not concern do not ask."""
    agent.call(method, port_id=ID, host=HOST, network_id=NETWORK_ID)
    assert agent.asked() == [("ports", {ID})]
    agent.call(method, port_id=ID, host="compute2", network_id=NETWORK_ID)
    assert agent.asked() == []
    agent.push(port())
    agent.asked()
    agent.call(method, port_id=ID, host="compute2", network_id=NETWORK_ID)
    assert agent.asked() == [("ports", {ID})]


def test_a_cast_tells_what_a_push_lacks(agent):
    args = arguments("rpc_port_update")
    args["port"] = shown(propagate_uplink_status=False)
    assert agent.call("port_update", **(args | SEGMENT)) == WOKEN
    bound = agent.bound.ports[ID]
    assert (bound.link_state, bound.vlan, bound.physical_network) == ("enable", 15, "physnet2")


def test_a_cast_as_it_was_captured(agent):
    args = arguments("rpc_port_update")
    agent.call("port_update", **args)
    bound = agent.bound.ports[args["port"]["id"]]
    assert (bound.plugged_by_nova, bound.pci_slot) == (True, "0000:3b:00.2")
    assert (bound.vlan, bound.physical_network) == (150, "physnet1")


def test_a_cast_that_does_not_say_where_the_port_is_changes_nothing(with_port):
    entry = shown(revision=9)
    del entry["binding:host_id"]
    assert with_port.call("port_update", port=entry, **SEGMENT) == []
    assert set(with_port.bound.ports) == {ID}
    assert with_port.count("rejected") == 1


def test_a_port_that_migrates_is_taken_where_its_active_binding_is(agent):
    agent.push(pushed("push_Port_v1.11_updated_multi_binding"))
    assert agent.bound == Bindings()
    assert agent.count("ignored") == 1


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("push", {}),
        ("push", {"resource_list": None}),
        ("push", {"resource_list": {}}),
        ("push", {"resource_list": [[[[[]]]]]}),
        ("push", {"resource_list": [{"versioned_object.name": ["Port"]}]}),
        ("push", {"resource_list": [deleted() | {"versioned_object.data": 7}]}),
        ("push", {"resource_list": [named("Port", id=None)], "event_type": "deleted"}),
        ("push", {"resource_list": [named("QosPolicy", id=ID, rules=[{}])]}),
        ("port_update", {}),
        ("port_update", {"port": []}),
        ("port_update", {"port": {"id": ID}}),
        ("port_update", {"port": shown(binding_host_id=7)}),
        ("port_delete", {}),
        ("port_delete", {"port_id": "x"}),
        ("network_update", {}),
        ("network_update", {"network": {"id": NETWORK_ID}}),
        ("binding_activate", {"host": HOST}),
        ("binding_deactivate", {"host": HOST, "port_id": {}}),
    ],
)
def test_a_message_that_is_none_is_counted_and_changes_nothing(with_port, method, given, caplog):
    before = with_port.bound
    received = with_port.count("received")
    assert with_port.call(method, **given, unheard_of=1) == []
    assert with_port.bound == before
    assert with_port.count("received") == received + 1
    assert with_port.count("rejected") == 1
    assert with_port.count("failed") == 0
    assert all(line.isprintable() for line in caplog.messages)


HOSTILE = "\x1b[2J\n<b>'\";DROP TABLE port;--\x00\ud800\u202e"


def test_hostile_text_shows_only_escaped(with_port, caplog):
    with caplog.at_level(logging.DEBUG):
        with_port.push(port(revision=4, mac_address=HOSTILE), port(id=HOSTILE))
        with_port.push(port(revision=5, binding={"profile": HOSTILE}), {HOSTILE: HOSTILE})
        with_port.call("port_delete", port_id=HOSTILE)
    assert with_port.bound.invalid[ID].isprintable()
    assert len(caplog.messages) == 5
    assert all(said.isprintable() for said in caplog.messages)


def test_what_cannot_be_kept_is_asked_for_again(tmp_path, caplog):
    (tmp_path / "ports.db").mkdir()
    agent = Agent(tmp_path / "ports.db")
    assert agent.push(port()) == []
    assert agent.asked() == ["all"]
    assert "cannot be kept" in caplog.text


@settings(max_examples=60)
@given(st.lists(spoiled(port(revision=4)) | spoiled(policy(limit(5000))) | JSON, max_size=3), JSON)
def test_whatever_is_pushed_nothing_is_raised(primitives, event_type):
    with TemporaryDirectory() as directory:
        agent = Agent(Path(directory) / "ports.db")
        agent.push(port(qos_policy_id=POLICY_ID))
        agent.push(*primitives, event_type=event_type)
        agent.push(*primitives)
        for method in ("port_update", "port_delete", "network_update", "binding_activate"):
            for value in primitives:
                agent.endpoint.take({"method": method, "args": value})
                agent.endpoint.take({"method": value, "args": {}})
        known, bound = agent.ports.get(ID), agent.bound
    assert agent.count("failed") == 0
    assert (ID in bound.ports) + (ID in bound.invalid) == int(known.bound)


def test_a_listed_port_that_is_none_is_refused(agent):
    for entry in (None, {}, {"id": ID}):
        with pytest.raises(InvalidField):
            agent.events.listed(entry)
