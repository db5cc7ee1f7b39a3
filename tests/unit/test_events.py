# SPDX-License-Identifier: Apache-2.0
"""Events taken into a real table of ports: what is kept of them, and who is woken."""

import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sriov_agent.core.state import Bindings
from sriov_agent.counters import Counters
from sriov_agent.exceptions import Unavailable
from sriov_agent.sources.events import Events
from sriov_agent.sources.ports import Ports

SAMPLES = Path(__file__).parents[1] / "samples" / "neutron"
HOST = "compute1"
NETWORK = "340265cf-63b7-4093-ac7c-675df9d8b6be"


def captured(name):
    return json.loads((SAMPLES / f"{name}.json").read_text())["oslo.message"]["payload"]


PORT = captured("port.create.end_admin")["port"] | {
    "binding:profile": {"pci_slot": "0000:3b:02.0", "physical_network": "physnet1"}
}
ID = PORT["id"]
OTHER = captured("port.create.end_member")["port"]["id"]
NET = captured("network.create.end")["network"]
NO_VLAN = {"binding:vif_details": {}, "binding:profile": {}}


def member_view(**fields):
    hidden = ("binding:host_id", "binding:profile", "binding:vif_type", "binding:vif_details")
    return {key: value for key, value in PORT.items() if key not in hidden} | fields


class Listener:
    """Events with a memory of whom they woke."""

    def __init__(self, path):
        self.counters = Counters()
        self.ports = Ports(path)
        self.woken = []
        self.events = Events(HOST, self.ports, self.counters)
        self.events.wake = self.woken.append

    def take(self, event_type, payload):
        """Take one in and return who was woken by it."""
        before = len(self.woken)
        self.events.take(f"{event_type}.end", payload)
        return self.woken[before:]

    def port(self, **fields):
        return self.take("port.update", {"port": PORT | fields})

    def count(self, name):
        return self.counters.snapshot().get(f"events.{name}", 0)

    @property
    def bound(self):
        return self.ports.bindings()


@pytest.fixture
def listener(tmp_path):
    return Listener(tmp_path / "ports.db")


@pytest.fixture
def with_port(listener):
    listener.port()
    return listener


def test_a_port_that_is_created_here_is_bound_and_woken(listener):
    assert listener.take("port.create", {"port": PORT}) == [frozenset({ID})]

    port = listener.bound.ports[ID]
    assert (port.mac, port.vlan, port.physical_network) == (PORT["mac_address"], 150, "physnet1")
    assert (port.revision_number, port.pci_slot) == (3, "0000:3b:02.0")
    assert listener.counters.snapshot() == {"events.received": 1}


def test_an_update_replaces_what_was_known(with_port):
    assert with_port.port(revision_number=4, admin_state_up=False) == [frozenset({ID})]
    assert with_port.bound.ports[ID].link_state == "disable"


def test_what_is_older_than_what_is_known_is_counted_and_dropped(with_port):
    assert with_port.port(revision_number=2, name="old") == []
    assert with_port.bound.ports[ID].name == "p-host"
    assert with_port.count("stale") == 1


def test_the_same_event_again_changes_nothing(with_port):
    before = with_port.bound
    with_port.port()
    assert with_port.bound == before
    assert with_port.count("rejected") == with_port.count("failed") == 0


def test_nothing_follows_a_deletion(with_port):
    deletion = {"port": PORT, "port_id": ID}
    assert with_port.take("port.delete", deletion) == [frozenset({ID})]
    assert with_port.bound.ports == {}

    assert with_port.take("port.delete", deletion) == []
    assert with_port.port(revision_number=99) == []
    assert with_port.bound.ports == {}


def test_a_deletion_may_overtake_the_creation(listener):
    assert listener.take("port.delete", {"port_id": ID}) == []
    assert listener.port() == []
    assert listener.bound.ports == {}
    assert listener.count("stale") == 1


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"binding:host_id": "compute2"},
        {"binding:host_id": None, "binding:vif_type": "unbound"},
        {"binding:host_id": "", "binding:vif_type": "unbound", "binding:vif_details": {}},
        {"binding:vif_type": "binding_failed", "binding:vif_details": {}},
        {"binding:vnic_type": "normal"},
    ],
)
def test_a_port_that_is_bound_elsewhere_leaves_and_may_come_back(with_port, elsewhere):
    assert with_port.port(revision_number=4, **elsewhere) == [frozenset({ID})]
    assert with_port.bound.ports == {}
    assert with_port.port(revision_number=3) == [], "the past does not bring it back"
    assert with_port.bound.ports == {}
    assert with_port.port(revision_number=5) == [frozenset({ID})]
    assert set(with_port.bound.ports) == {ID}


def test_a_port_of_another_host_is_ignored(listener):
    assert listener.port(revision_number=4, **{"binding:host_id": "compute2"}) == []
    assert listener.bound == Bindings()
    assert listener.count("ignored") == 1

    assert listener.port(revision_number=3) == [], "it has moved on since"
    assert listener.bound == Bindings()
    assert listener.count("stale") == 1


def test_a_members_view_adds_to_what_is_known(with_port):
    view = member_view(revision_number=4, name="renamed", port_security_enabled=False)
    assert with_port.take("port.update", {"port": view}) == [frozenset({ID})]

    port = with_port.bound.ports[ID]
    assert (port.name, port.spoofchk, port.revision_number) == ("renamed", False, 4)
    assert (port.vlan, port.physical_network, port.pci_slot) == (150, "physnet1", "0000:3b:02.0")


def test_a_members_view_leaves_the_port_in_its_network(listener):
    listener.take("network.create", {"network": NET})
    listener.port(**NO_VLAN)
    listener.take("port.update", {"port": member_view(revision_number=4, name="renamed")})
    port = listener.bound.ports[ID]
    assert (port.name, port.vlan) == ("renamed", 150)
    moved = NET | {"provider:segmentation_id": 151, "revision_number": 2}
    assert listener.take("network.update", {"network": moved}) == [frozenset({ID})]


def test_a_members_view_does_not_say_that_a_port_is_here(listener):
    assert listener.take("port.create", {"port": member_view()}) == []
    assert listener.bound == Bindings()
    other = member_view(**{"binding:vnic_type": "normal"}) | {"id": OTHER}
    assert listener.take("port.create", {"port": other}) == []
    assert listener.ports.get(OTHER) is None, "it can never become one of ours"
    assert listener.count("ignored") == 2


@pytest.mark.parametrize("known", [False, True])
def test_a_members_view_that_overtakes_the_administrators_loses_nothing(listener, known):
    if known:
        listener.port(revision_number=1, **{"binding:profile": {}, "binding:vif_details": {}})
    view = member_view(revision_number=4, name="renamed", admin_state_up=False)
    listener.take("port.update", {"port": view})
    assert listener.port() == [frozenset({ID})]

    port = listener.bound.ports[ID]
    assert (port.name, port.link_state, port.revision_number) == ("renamed", "disable", 4)
    assert (port.vlan, port.pci_slot) == (150, "0000:3b:02.0")
    assert listener.ports.lacking().ports == {ID}, "what revision 4 says of the binding is unheard"
    assert listener.port(revision_number=2) == []
    assert listener.count("stale") == 1
    assert listener.port(revision_number=4, name="renamed", admin_state_up=False) == [
        frozenset({ID})
    ]
    assert listener.ports.lacking().ports == frozenset()


def test_an_overtaken_administrators_view_may_say_that_the_port_left(with_port):
    with_port.take("port.update", {"port": member_view(revision_number=5)})
    assert with_port.port(revision_number=4, **{"binding:host_id": None}) == [frozenset({ID})]
    assert with_port.bound.ports == {}
    assert with_port.port() == [], "the past does not bring it back"
    assert with_port.bound.ports == {}


def test_what_is_wrong_in_a_newer_members_view_stays_wrong(with_port):
    with_port.take("port.update", {"port": member_view(revision_number=5, mac_address=5)})
    with_port.port(revision_number=4)
    assert with_port.bound.invalid[ID].startswith("mac_address")
    with_port.port(revision_number=5)
    assert with_port.bound.invalid == {}


WORDS = [
    PORT | {"revision_number": 1},
    member_view(revision_number=2, name="two"),
    PORT | {"revision_number": 3, "name": "three", "binding:vif_details": {"vlan": 151}},
    member_view(revision_number=4, name="four", admin_state_up=False),
]


@settings(max_examples=24)
@given(st.permutations(WORDS))
def test_words_of_a_port_come_to_the_same_in_every_order(words):
    with TemporaryDirectory() as directory:
        listener = Listener(Path(directory) / "ports.db")
        for word in words:
            listener.take("port.update", {"port": word})
        port = listener.bound.ports[ID]
    assert (port.name, port.link_state, port.revision_number) == ("four", "disable", 4)
    assert (port.vlan, port.pci_slot) == (151, "0000:3b:02.0")


def test_a_look_up_is_taken_like_an_event_and_wakes_for_what_changed(with_port):
    with_port.woken.clear()
    with_port.events.looked_up([PORT])
    assert with_port.woken == []
    with_port.events.looked_up([PORT | {"revision_number": 4, "name": "new"}])
    assert with_port.woken == [frozenset({ID})]
    with_port.events.looked_up([], [NET])
    with_port.woken.clear()
    with_port.events.looked_up([], [NET])
    assert with_port.woken == []
    with_port.events.gone(with_port.ports.get(ID))
    assert with_port.woken == [frozenset({ID})]
    assert with_port.bound == Bindings()


def test_the_subports_of_a_trunk_may_change_without_a_revision(with_port):
    trunk = {"sub_ports": [{"port_id": OTHER, "segmentation_type": "vlan", "segmentation_id": 15}]}
    assert with_port.port(trunk_details=trunk) == [frozenset({ID})]
    assert with_port.ports.lacking().sub_ports == {OTHER}
    assert with_port.port() == [frozenset({ID})]
    assert set(with_port.bound.ports) == {ID}


def test_a_members_view_does_not_bring_back_a_port_that_left(with_port):
    with_port.port(revision_number=4, **{"binding:host_id": "compute2"})
    assert with_port.take("port.update", {"port": member_view(revision_number=5)}) == []
    assert with_port.bound.ports == {}


def test_a_port_waits_for_its_network(listener):
    listener.port(**NO_VLAN)
    assert "not known to this agent yet" in listener.bound.invalid[ID]

    assert listener.take("network.create", {"network": NET}) == [frozenset({ID})]
    port = listener.bound.ports[ID]
    assert (port.vlan, port.physical_network) == (150, "physnet1")

    moved = NET | {"provider:segmentation_id": 151, "revision_number": 2}
    assert listener.take("network.update", {"network": moved}) == [frozenset({ID})]
    assert listener.bound.ports[ID].vlan == 151
    listener.take("network.update", {"network": NET})
    assert listener.bound.ports[ID].vlan == 151


def test_a_network_without_ports_here_wakes_nobody_and_is_known_to_the_next_port(listener):
    assert listener.take("network.create", {"network": NET}) == []
    listener.port(**NO_VLAN)
    assert listener.bound.ports[ID].vlan == 150
    assert listener.take("network.delete", {"network_id": NETWORK}) == []


BAD_FIELDS = [
    {"mac_address": "ff:ff:ff:ff:ff:ff"},
    {"mac_address": None},
    {"network_id": "net1"},
    {"name": 7},
    {"admin_state_up": "yes"},
    {"binding:vnic_type": "made-up"},
    {"binding:vnic_type": ["direct"]},
    {"binding:profile": {"pci_slot": "any"}},
    {"binding:profile": "{}"},
    {"binding:vif_details": {"vlan": 4095}},
    {"binding:vif_details": {"vlan": "9" * 5000}},
    {"binding:vif_details": [150]},
]


@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_a_port_keeps_what_it_has_when_an_update_of_it_is_bad(with_port, bad):
    before = with_port.ports.get(ID)
    assert with_port.port(revision_number=4, **bad) == [frozenset({ID})]

    assert with_port.bound.ports == {}
    assert with_port.bound.invalid[ID].startswith(next(iter(bad)))
    kept = with_port.ports.get(ID)
    assert {**kept.document, "vnic_type": "direct"} == before.document
    assert kept.network_id == before.network_id
    assert with_port.count("rejected") == 1
    assert with_port.count("failed") == 0

    assert with_port.port(revision_number=5) == [frozenset({ID})]
    assert set(with_port.bound.ports) == {ID}


def test_a_bad_members_view_is_mended_by_a_good_one(with_port):
    before = with_port.ports.get(ID).document
    with_port.take("port.update", {"port": member_view(revision_number=4, mac_address=5)})
    assert with_port.bound.invalid[ID].startswith("mac_address")
    assert with_port.ports.get(ID).document == before

    with_port.take("port.update", {"port": member_view(revision_number=5)})
    assert with_port.bound.ports[ID].revision_number == 5


def test_a_binding_that_was_refused_is_not_mended_by_a_view_without_it(with_port):
    with_port.port(revision_number=4, **{"binding:vnic_type": "made-up"})
    refused = with_port.bound.invalid[ID]

    with_port.take("port.update", {"port": member_view(revision_number=5)})
    assert with_port.bound.invalid == {ID: refused}
    with_port.port(revision_number=6)
    assert set(with_port.bound.ports) == {ID}


@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_a_new_port_of_this_host_that_is_bad_is_kept_with_its_error(listener, bad):
    assert listener.port(**bad) == [frozenset({ID})]
    assert listener.bound.invalid[ID].startswith(next(iter(bad)))
    assert listener.count("rejected") == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"binding:host_id": [HOST]},
        {"binding:host_id": "compute2", "binding:vif_type": 1},
    ],
)
def test_a_bad_port_that_is_not_said_to_be_here_is_counted_only(listener, bad):
    assert listener.port(**bad) == []
    assert listener.ports.get(ID) is None
    assert listener.count("rejected") == 1


@pytest.mark.parametrize("bad", [{"id": None}, {"id": "../x"}, {"revision_number": "4"}])
def test_a_port_that_cannot_be_told_apart_or_ordered_is_counted_only(with_port, bad):
    before = with_port.bound
    assert with_port.port(**bad) == []
    assert with_port.bound == before
    assert with_port.count("rejected") == 1


def test_a_bad_port_among_several_does_not_hold_back_the_others(listener):
    other = PORT | {"id": OTHER, "mac_address": "fa:16:3e:31:59:08"}
    listener.take("port.create", {"ports": [None, PORT | {"mac_address": 5}, other]})

    assert set(listener.bound.ports) == {OTHER}
    assert set(listener.bound.invalid) == {ID}
    assert listener.count("rejected") == 2


@pytest.mark.parametrize(
    "payload", [None, [], "port", 7, {}, {"ports": {}}, {"port": None}, {"port": []}]
)
@pytest.mark.parametrize("operation", ["create", "update", "delete"])
def test_a_payload_that_is_none_is_counted(with_port, payload, operation):
    before = with_port.bound
    assert with_port.take(f"port.{operation}", payload) == []
    assert with_port.bound == before
    assert with_port.count("rejected") == 1


@pytest.mark.parametrize(
    "bad",
    [
        {"provider:segmentation_id": 4095},
        {"provider:segmentation_id": None},
        {"provider:physical_network": ["physnet1"]},
        {"id": "net1"},
        {"revision_number": None},
    ],
)
def test_a_bad_network_is_counted_and_the_one_known_stays(listener, bad):
    listener.take("network.create", {"network": NET})
    listener.port(**NO_VLAN)
    assert listener.take("network.update", {"network": NET | {"revision_number": 2} | bad}) == []
    assert listener.bound.ports[ID].vlan == 150
    assert listener.count("rejected") == 1


HOSTILE = "\x1b[2J\n<b>'\";DROP TABLE port;--\x00\ud800\u202e"


def test_a_hostile_name_is_kept_and_shows_only_escaped(listener, caplog):
    listener.port(name=HOSTILE)
    assert listener.bound.ports[ID].name == HOSTILE

    with caplog.at_level(logging.ERROR):
        listener.port(revision_number=4, name=HOSTILE * 20)
        listener.port(revision_number=5, mac_address=HOSTILE)
        listener.port(id=HOSTILE)
    assert listener.bound.invalid[ID].isprintable()
    assert len(caplog.messages) == 3
    assert all(said.isprintable() for said in caplog.messages)


def test_an_event_that_cannot_be_kept_is_told(tmp_path):
    (tmp_path / "ports.db").mkdir()
    listener = Listener(tmp_path / "ports.db")
    with pytest.raises(Unavailable):
        listener.port()
    assert listener.woken == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@settings(max_examples=40)
@given(st.data())
def test_whatever_an_update_holds_the_port_stays_or_leaves_or_is_invalid(data):
    entry = PORT | {"revision_number": 4}
    keys = st.sampled_from(sorted(PORT.keys() - {"revision_number"}))
    for key in data.draw(st.lists(keys, min_size=1, max_size=3)):
        entry[key] = data.draw(JSON)
    with TemporaryDirectory() as directory:
        listener = Listener(Path(directory) / "ports.db")
        listener.port()
        listener.take("port.update", {"port": entry})

        known, bound = listener.ports.get(ID), listener.bound
    assert listener.count("failed") == 0
    assert (ID in bound.ports) + (ID in bound.invalid) == int(known.bound)
