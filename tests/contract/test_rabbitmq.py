# SPDX-License-Identifier: Apache-2.0
"""The source ``notifications`` on a real RabbitMQ, with payloads as Neutron sent them."""

import contextlib
import json
import queue
import threading

import oslo_messaging
import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.counters import Counters
from sriov_agent.sources.notifications import Notifications
from sriov_agent.sources.ports import Ports
from tests.fakes.neutron import Neutron
from tests.neutron import deleted, members_view, network, port
from tests.topology import HOST, port_id, port_mac
from tests.waiting import PATIENCE, until

pytestmark = pytest.mark.rabbitmq

OTHER_HOST = "compute2"


@pytest.fixture(autouse=True)
def left_as_it_was(broker):
    """The broker runs before and after, with none of the agent's queues on it."""
    yield
    if not broker.running:
        broker.start()
    with broker.connection() as connection:
        for host in (HOST, OTHER_HOST):
            connection.channel().queue_delete(pool(host))


@pytest.fixture
def start(broker, tmp_path):
    """Starts agents' sources that are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def started(host=HOST, ready=True, neutron=None):
            listener = Listener(broker, tmp_path / host, host, neutron)
            listener.source.start(listener.wakes.put)
            stack.callback(listener.stop)
            if ready:
                until(lambda: broker.consumers(pool(host)))
            return listener

        yield started


@pytest.fixture
def notify(broker, tmp_path):
    """Publishes as Neutron does, through oslo.messaging's own notifier."""
    config = tmp_path / "neutron.conf"
    config.write_text(f"[DEFAULT]\ntransport_url = {broker.url}\ncontrol_exchange = neutron\n")
    conf = cfg.ConfigOpts()
    conf([f"--config-file={config}"])
    transport = oslo_messaging.get_notification_transport(conf)
    notifier = oslo_messaging.Notifier(
        transport, "network.controller1", driver="messagingv2", topics=["notifications"]
    )

    def send(event_type, payload, priority="info"):
        getattr(notifier, priority)({"is_admin": True}, event_type, payload)

    yield send
    transport.cleanup()


class Listener:
    """One host's source, as the agent builds it from its configuration file."""

    def __init__(self, broker, directory, host, neutron=None):
        directory.mkdir()
        config = directory / "sriov-agent.conf"
        config.write_text(
            f"[DEFAULT]\nhost = {host}\ntransport_url = {broker.url}\n"
            f"[agent]\nsource = notifications\nstate_path = {directory}\n"
            "[oslo_messaging_rabbit]\nkombu_reconnect_delay = 0.1\nrabbit_retry_interval = 1\n"
        )
        if neutron:
            with config.open("a") as appended:
                appended.write(
                    "[notifications]\nlist_interval = 600\n"
                    f"[neutron]\nauth_type = none\nendpoint_override = {neutron.url}\n"
                )
        conf = options.register(cfg.ConfigOpts())
        conf([f"--config-file={config}"])
        self.ports = Ports(options.ports_path(conf))
        self.counters = Counters()
        self.wakes = queue.SimpleQueue()
        self.source = Notifications(conf, self.ports, self.counters)
        self._stopped = False

    def woken(self):
        """The ports it was woken for next."""
        return self.wakes.get(timeout=PATIENCE)

    def count(self, name):
        return self.counters.snapshot().get(name, 0)

    def stop(self):
        """Stop it once; a stop that does not return is a failure, not a hanging test run."""
        if self._stopped:
            return
        self._stopped = True
        stopping = threading.Thread(target=self.source.stop, daemon=True)
        stopping.start()
        stopping.join(PATIENCE)
        assert not stopping.is_alive(), "stop() does not return"


@pytest.fixture
def neutron():
    with Neutron() as fake:
        yield fake


def pool(host):
    return f"sriov-agent-{host}"


def test_a_port_is_kept_as_it_was_said_from_create_to_delete(start, notify):
    listener = start()
    notify("network.create.end", network(15))
    notify("port.create.end", port(1, revision=3))
    assert listener.woken() == {port_id(1)}
    found = listener.source.bindings().ports[port_id(1)]
    assert (found.mac, found.vlan, found.revision_number) == (port_mac(1), 15, 3)
    assert found.physical_network == "physnet2"

    slot = {"pci_slot": "0000:3b:00.2", "physical_network": "physnet2"}
    notify("port.update.end", port(1, revision=4, binding_profile=slot))
    assert listener.woken() == {port_id(1)}
    assert listener.source.bindings().ports[port_id(1)].pci_slot == "0000:3b:00.2"

    notify("port.delete.end", deleted(1))
    assert listener.woken() == {port_id(1)}
    assert not listener.source.bindings().ports
    assert not listener.source.bindings().invalid


def test_a_network_gives_its_ports_their_vlan(start, notify):
    listener = start()
    notify("port.create.end", port(1, vlan=None))
    assert listener.woken() == {port_id(1)}
    assert port_id(1) in listener.source.bindings().invalid
    notify("network.update.end", network(16, revision=2))
    assert listener.woken() == {port_id(1)}
    assert listener.source.bindings().ports[port_id(1)].vlan == 16


def test_what_is_no_port_or_network_that_has_changed_is_passed_over(start, notify):
    listener = start()
    notify("port.create.start", port(1))
    notify("port.update.start", port(1))
    notify("subnet.create.end", {"subnet": {"id": port_id(1)}})
    notify("binding.create.end", {"binding": {"host": HOST}})
    notify("trunk.create.end", {"trunk": {"port_id": port_id(1)}})
    notify("compute.instance.create.end", {"host": HOST})
    notify("port.create.end", port(1), priority="error")
    notify("port.create.end", port(2))
    assert listener.woken() == {port_id(2)}
    assert [found.port_id for found in listener.ports.all()] == [port_id(2)]
    assert listener.count("events.received") == 1


def test_each_host_hears_everything_and_keeps_its_own(start, notify):
    here, there = start(HOST), start(OTHER_HOST)
    notify("port.create.end", port(1))
    notify("port.create.end", port(2, binding_host_id=OTHER_HOST))
    assert here.woken() == {port_id(1)}
    assert there.woken() == {port_id(2)}
    until(lambda: here.count("events.received") == there.count("events.received") == 2)
    assert set(here.source.bindings().ports) == {port_id(1)}
    assert set(there.source.bindings().ports) == {port_id(2)}


def test_a_port_that_moves_leaves_one_host_and_comes_to_the_other(start, notify):
    here, there = start(HOST), start(OTHER_HOST)
    notify("port.create.end", port(1))
    assert here.woken() == {port_id(1)}
    notify("port.update.end", port(1, revision=2, binding_host_id=OTHER_HOST))
    assert here.woken() == there.woken() == {port_id(1)}
    assert not here.source.bindings().ports
    assert set(there.source.bindings().ports) == {port_id(1)}


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        "port",
        {},
        {"port": None},
        {"ports": [None, 1, {"id": "1"}]},
        {"port": {"id": ["x"], "revision_number": {}}},
        port(1, revision="1"),
        port(1, mac_address=5, binding_vif_details=[]),
    ],
    ids=lambda payload: str(payload)[:20],
)
def test_a_malformed_payload_does_not_stop_the_next(start, notify, payload):
    listener = start()
    for event_type in ("port.create.end", "network.update.end", "port.delete.end"):
        notify(event_type, payload)
    notify("port.create.end", port(2))
    until(lambda: port_id(2) in listener.source.bindings().ports)
    assert port_id(1) not in listener.source.bindings().ports
    until(lambda: listener.count("events.received") == 4)
    assert listener.count("events.failed") == 0


#: Bodies that oslo.messaging drops by itself.
NO_MESSAGES = (b"\xff", b"{}", b"[]", b'{"oslo.version": "2.0", "oslo.message": "{"}')
#: What it would give back to the broker, to get it again for ever.
MALFORMED = (
    {"priority": 5},
    {"priority": None},
    {"priority": ["INFO"], "event_type": "port.create.end"},
)
#: What is no event of ours, as far as can be told.
NO_EVENTS = (
    {"priority": "INFO"},
    {"priority": "INFO", "event_type": 5, "payload": {}},
    {"priority": "INFO", "event_type": ["port.create.end"], "publisher_id": 5},
    {"priority": "INFO", "event_type": {}, "_context_x": 5},
)


def envelope(message):
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def test_a_message_that_is_no_notification_is_taken_off_the_queue(broker, start, notify):
    listener = start()
    with broker.connection() as connection, connection.Producer() as producer:
        for body in (*NO_MESSAGES, *map(envelope, MALFORMED + NO_EVENTS)):
            producer.publish(
                body,
                exchange="neutron",
                routing_key="notifications.info",
                content_type="application/json",
                content_encoding="utf-8",
            )
    notify("port.create.end", port(1))
    assert listener.woken() == {port_id(1)}
    until(lambda: listener.count("events.malformed") == len(MALFORMED))
    listener.stop()
    with broker.connection() as connection:
        left = connection.channel().queue_declare(pool(HOST), passive=True).message_count
    assert left == 0, "nothing came back"
    assert listener.count("events.malformed") == len(MALFORMED)


def test_events_of_a_port_are_taken_in_their_order(start, notify):
    """A tenant's view of a port says nothing to who has not heard the administrator's."""
    listener = start()
    many = range(60)
    for number in many:
        notify("port.create.end", port(number, revision=1))
        notify("port.update.end", members_view(port(number, revision=2, admin_state_up=False)))
    until(lambda: listener.count("events.received") == 2 * len(many))
    until(lambda: len(listener.source.bindings().ports) == len(many))
    settled = listener.source.bindings().ports
    behind = [number for number in many if settled[port_id(number)].revision_number != 2]
    assert not behind
    assert {found.link_state for found in settled.values()} == {"disable"}


def test_ports_that_were_bound_before_are_listed_at_the_start(start, neutron):
    made = neutron.add_port(neutron.add_network(15), HOST)
    listener = start(neutron=neutron)
    assert listener.woken() == {made["id"]}
    until(lambda: set(listener.source.bindings().ports) == {made["id"]})
    assert listener.source.bindings().ports[made["id"]].vlan == 15


def test_what_a_payload_lacks_is_looked_up(start, notify, neutron):
    listener = start(neutron=neutron)
    until(lambda: listener.count("lookups.lists"))
    made = neutron.add_port(neutron.add_network(15), HOST)
    notify("port.create.end", {"port": made})
    until(lambda: set(listener.source.bindings().ports) == {made["id"]})
    assert listener.source.bindings().ports[made["id"]].vlan == 15
    assert listener.count("lookups") == 1


def test_what_happened_while_the_broker_was_away_is_made_good(broker, start, neutron):
    network_ = neutron.add_network(15)
    stays, leaves = neutron.add_port(network_, HOST), neutron.add_port(network_, HOST)
    listener = start(neutron=neutron)
    until(lambda: set(listener.source.bindings().ports) == {stays["id"], leaves["id"]})
    broker.stop()
    comes = neutron.add_port(network_, HOST)
    neutron.remove(leaves)
    neutron.change(stays, name="renamed")
    assert set(listener.source.bindings().ports) == {stays["id"], leaves["id"]}
    broker.start()
    until(lambda: set(listener.source.bindings().ports) == {stays["id"], comes["id"]})
    assert listener.source.bindings().ports[stays["id"]].name == "renamed"


def test_a_neutron_that_does_not_answer_changes_nothing(start, notify, neutron):
    made = neutron.add_port(neutron.add_network(15), HOST)
    neutron.stop()
    listener = start(neutron=neutron)
    notify("port.create.end", port(1))
    assert listener.woken() == {port_id(1)}
    until(lambda: listener.count("lookups.failed"))
    assert set(listener.source.bindings().ports) == {port_id(1)}
    listener.stop()
    assert made["id"] not in listener.source.bindings().invalid


def test_what_is_said_while_the_agent_is_off_is_heard_when_it_is_back(start, notify, tmp_path):
    start(HOST).stop()
    notify("port.create.end", port(1))
    (tmp_path / HOST).rename(tmp_path / "before")
    listener = start(HOST)
    assert listener.woken() == {port_id(1)}


def test_a_broker_that_goes_and_comes_back_is_listened_to(broker, start, notify):
    listener = start()
    notify("port.create.end", port(1))
    assert listener.woken() == {port_id(1)}
    broker.stop()
    assert set(listener.source.bindings().ports) == {port_id(1)}
    broker.start()
    until(lambda: broker.consumers(pool(HOST)))
    notify("port.create.end", port(2))
    assert listener.woken() == {port_id(2)}
    assert set(listener.source.bindings().ports) == {port_id(1), port_id(2)}


def test_an_agent_that_is_first_listens_once_the_broker_is_there(broker, start, notify):
    broker.stop()
    listener = start(ready=False)
    assert listener.source.bindings().ports == {}
    broker.start()
    until(lambda: broker.consumers(pool(HOST)))
    notify("port.create.end", port(1))
    assert listener.woken() == {port_id(1)}


def test_it_stops_with_and_without_a_broker(broker, start):
    start(HOST).stop()
    assert broker.consumers(pool(HOST)) == 0
    listening = start(OTHER_HOST)
    broker.stop()
    listening.stop()


def test_it_stops_before_it_was_ever_connected(broker, start):
    broker.stop()
    listener = start(ready=False)
    listener.stop()
    broker.start()
