# SPDX-License-Identifier: Apache-2.0
"""Lists and look-ups taken into a real table of ports, from a Neutron in memory."""

import pytest

from sriov_agent.counters import Counters
from sriov_agent.exceptions import Refused, Unavailable
from sriov_agent.sources.events import Events
from sriov_agent.sources.lookups import Lookups
from sriov_agent.sources.ports import Lacking, Ports
from tests.neutron import NETWORK_ID, members_view, network, port
from tests.topology import HOST, port_id

OTHER_NETWORK = "340265cf-63b7-4093-ac7c-675df9d8b6bf"


class Neutron:
    """What the look-ups ask for; ``error`` is raised instead, ``meanwhile`` called before."""

    def __init__(self):
        self.there = {}
        self.nets = {}
        self.asked = []
        self.error = None
        self.admin = True
        self.meanwhile = lambda: None

    def sees_all(self):
        return self.admin

    def ports(self, host):
        listed = [one for one in self.there.values() if one["binding:host_id"] == host]
        self._asked("list")
        return listed

    def port(self, port_id):
        self._asked(port_id)
        return self.there.get(port_id)

    def networks(self, network_ids):
        self._asked(*network_ids)
        return [self.nets[id_] for id_ in network_ids if id_ in self.nets]

    def network_ids(self, port_ids):
        self._asked(*port_ids)
        return {id_: self.there[id_]["network_id"] for id_ in port_ids if id_ in self.there}

    def has(self, number, **given):
        made = port(number, **given)["port"]
        self.there[made["id"]] = made
        return made

    def _asked(self, *what):
        self.asked += what
        if self.error:
            raise self.error
        self.meanwhile()


class Source:
    def __init__(self, path):
        self.neutron = Neutron()
        self.ports = Ports(path)
        self.counters = Counters()
        self.events = Events(HOST, self.ports, self.counters)
        self.woken = []
        self.events.wake = self.woken.append
        self.lookups = Lookups(self.neutron, self.events, interval=600)

    def hear(self, payload, event_type="port.update.end"):
        self.events.take(event_type, payload)

    @property
    def bound(self):
        return set(self.ports.bindings().ports)


@pytest.fixture
def source(tmp_path):
    return Source(tmp_path / "ports.db")


def test_what_was_bound_while_nobody_listened_is_listed(source):
    source.neutron.has(1)
    source.neutron.has(2, binding_host_id="compute2")
    source.lookups.list_ports()
    assert source.bound == {port_id(1)}
    assert source.woken == [{port_id(1)}]
    source.lookups.list_ports()
    assert source.woken == [{port_id(1)}], "nothing has changed"


def test_what_was_deleted_while_nobody_listened_is_unbound(source):
    for number in (1, 2):
        source.hear(port(number))
    source.neutron.has(1)
    source.lookups.list_ports()
    assert source.bound == {port_id(1)}
    assert source.woken[2:] == [{port_id(2)}]


def test_what_moved_while_nobody_listened_is_unbound_as_of_then(source):
    source.hear(port(1))
    source.neutron.has(1, revision=5, binding_host_id="compute2")
    source.lookups.list_ports()
    assert source.bound == set()
    source.hear(port(1, revision=4))
    assert source.bound == set()


def test_what_was_heard_after_the_list_was_asked_for_is_kept(source):
    source.hear(port(1))
    heard = iter([port(1, revision=2), port(2)])
    source.neutron.meanwhile = lambda: [source.hear(payload) for payload in heard]
    source.lookups.list_ports()
    assert source.bound == {port_id(1), port_id(2)}


def test_a_list_that_is_behind_takes_nothing_back(source):
    source.hear(port(1, revision=3, binding_vif_details={"vlan": "16"}))
    source.neutron.has(1, revision=2)
    source.lookups.list_ports()
    assert source.ports.bindings().ports[port_id(1)].vlan == 16


@pytest.mark.parametrize("error", [Unavailable("no answer"), Refused("no")])
def test_without_a_list_nothing_changes(source, error):
    source.hear(port(1))
    source.neutron.error = error
    with pytest.raises(type(error)):
        source.lookups.list_ports()
    assert source.bound == {port_id(1)}


def test_a_port_of_which_nothing_can_be_learned_is_kept(source):
    for number in (1, 2):
        source.hear(port(number))
    source.neutron.there.clear()

    def fail_after_the_list():
        if source.neutron.asked == ["list"]:
            source.neutron.error = Unavailable("no answer")

    source.neutron.meanwhile = fail_after_the_list
    with pytest.raises(Unavailable):
        source.lookups.list_ports()
    assert source.bound == {port_id(1), port_id(2)}


def test_the_list_of_who_sees_not_all_adds_and_takes_nothing(source, caplog):
    source.hear(port(1))
    source.neutron.has(2)
    source.neutron.admin = False
    for _ in range(2):
        source.lookups.list_ports()
    assert source.bound == {port_id(1), port_id(2)}
    (sentence,) = caplog.messages
    assert "role admin" in sentence


def test_a_bad_port_in_the_list_does_not_hold_back_the_others(source):
    source.neutron.has(1, mac_address="any")
    source.neutron.has(2)
    source.lookups.list_ports()
    assert source.bound == {port_id(2)}
    assert set(source.ports.bindings().invalid) == {port_id(1)}


def test_networks_are_listed_with_their_ports(source):
    source.neutron.has(1, vlan=None)
    source.neutron.nets[NETWORK_ID] = network(15)["network"]
    source.lookups.list_ports()
    assert source.ports.bindings().ports[port_id(1)].vlan == 15
    source.neutron.nets[NETWORK_ID] = network(16, revision=2)["network"]
    source.lookups.list_ports()
    assert source.ports.bindings().ports[port_id(1)].vlan == 16


def test_the_network_of_a_port_is_looked_up_once(source):
    source.hear(port(1, vlan=None))
    source.neutron.nets[NETWORK_ID] = network(15)["network"]
    source.lookups.look_up()
    assert source.ports.bindings().ports[port_id(1)].vlan == 15
    source.hear(port(2, vlan=None))
    source.lookups.look_up()
    assert source.neutron.asked == [NETWORK_ID]
    assert source.woken[1:] == [{port_id(1)}, {port_id(2)}]


def test_a_binding_that_a_tenants_view_leaves_in_doubt_is_looked_up(source):
    source.hear(port(1))
    source.hear(members_view(port(1, revision=4, name="renamed")))
    moved = {"pci_slot": "0000:3b:00.3", "physical_network": "physnet2"}
    source.neutron.has(1, revision=4, name="renamed", binding_profile=moved)
    source.lookups.look_up()
    assert source.ports.bindings().ports[port_id(1)].pci_slot == "0000:3b:00.3"
    source.lookups.look_up()
    assert source.neutron.asked == [port_id(1)]


def test_nothing_is_asked_for_ports_of_others_or_that_are_whole(source):
    source.hear(port(1))
    source.hear(port(2, binding_host_id="compute2", vlan=None))
    source.hear(members_view(port(3)))
    source.lookups.look_up()
    assert source.neutron.asked == []


def test_what_is_not_found_is_not_asked_for_again_at_once(source):
    source.hear(port(1, vlan=None))
    for _ in range(3):
        source.lookups.look_up()
    assert source.neutron.asked == [NETWORK_ID]


def test_what_failed_holds_back_nothing_else(source):
    source.hear(port(1, vlan=None))
    source.hear(port(2))
    source.hear(members_view(port(2, revision=2)))
    source.neutron.error = Unavailable("no answer")
    with pytest.raises(Unavailable):
        source.lookups.look_up()
    source.neutron.error = None
    source.neutron.nets[NETWORK_ID] = network(15)["network"]
    source.lookups.look_up()
    assert source.bound == {port_id(1), port_id(2)}


def test_the_networks_of_a_trunks_subports_are_looked_up(source):
    trunk = {"sub_ports": [sub_port(8, 15), sub_port(9, 16)]}
    source.hear(port(1, vlan=30, trunk_details=trunk))
    source.neutron.has(8, network_id=NETWORK_ID)
    source.neutron.has(9, network_id=OTHER_NETWORK)
    source.neutron.nets[NETWORK_ID] = network(15)["network"]
    source.neutron.nets[OTHER_NETWORK] = network(16, id=OTHER_NETWORK)["network"]
    source.lookups.look_up()
    carried = source.ports.bindings().ports[port_id(1)].trunk
    assert [(each.vlan, each.network_id, each.tagged) for each in carried] == [
        (15, NETWORK_ID, True),
        (16, OTHER_NETWORK, True),
        (30, NETWORK_ID, False),
    ]
    assert source.ports.lacking() == Lacking()
    source.lookups.look_up()
    assert len(source.neutron.asked) == 4


def test_a_subport_whose_vlan_the_tenant_made_up_is_refused(source):
    source.hear(port(1, vlan=30, trunk_details={"sub_ports": [sub_port(8, 99)]}))
    source.neutron.has(8, network_id=NETWORK_ID)
    source.neutron.nets[NETWORK_ID] = network(15)["network"]
    source.lookups.look_up()
    why = source.ports.bindings().invalid[port_id(1)]
    assert "segmentation_id 99" in why
    assert "VLAN 15" in why


def sub_port(number, vlan):
    return {"port_id": port_id(number), "segmentation_type": "vlan", "segmentation_id": vlan}
