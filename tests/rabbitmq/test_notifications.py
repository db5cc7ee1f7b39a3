# SPDX-License-Identifier: Apache-2.0
"""Neutron's notifier on one side of a real RabbitMQ, the agent's listener on the other."""

import time
from collections.abc import Callable

import kombu
import oslo_messaging
import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.counters import Counters
from sriov_agent.sources.notifications import Notifications
from sriov_agent.sources.ports import Ports
from tests import neutron
from tests.topology import HOST, binding, port_id

pytestmark = pytest.mark.rabbitmq

#: Far more than it takes: only a listener that has gone deaf needs it.
SECONDS = 60


def eventually(true: Callable[[], object]) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


def configuration(broker, host: str = HOST) -> cfg.ConfigOpts:
    conf = options.register(cfg.ConfigOpts())
    conf([], project="sriov-agent", default_config_files=[])
    oslo_messaging.get_notification_transport(conf, "fake://").cleanup()
    conf.set_override("host", host)
    conf.set_override("transport_url", broker.url)
    return conf


class Neutron:
    """What neutron-server does around each request of its API."""

    def __init__(self, broker) -> None:
        conf = configuration(broker)
        conf.set_override("control_exchange", "neutron")
        self._transport = oslo_messaging.get_notification_transport(conf)
        self._notifier = oslo_messaging.Notifier(
            self._transport,
            publisher_id="network.controller1",
            driver="messagingv2",
            topics=["notifications"],
        )

    def notify(self, event_type: str, payload: object) -> None:
        self._notifier.info({"is_admin": True}, event_type, payload)

    def stop(self) -> None:
        self._transport.cleanup()


class Host:
    """A compute node's listener with its table of ports."""

    def __init__(self, broker, directory, name: str) -> None:
        self.conf = configuration(broker, name)
        self.counters = Counters()
        self.ports = Ports(directory / f"{name}.db")
        self.woken: list[frozenset[str] | None] = []
        self._source = Notifications(self.conf, self.ports, self.counters)

    def start(self) -> None:
        self._source.start(self.woken.append)

    def stop(self) -> None:
        self._source.stop()

    def bindings(self) -> dict:
        return dict(self._source.bindings().ports)

    def count(self, name: str) -> int:
        return self.counters.snapshot().get(name, 0)


@pytest.fixture
def neutron_server(broker):
    server = Neutron(broker)
    yield server
    server.stop()


@pytest.fixture
def listening(broker, neutron_server, tmp_path):
    """Start hosts of these names, and wait until each of them hears."""
    started = []

    def start(*names: str) -> list[Host]:
        hosts = [Host(broker, tmp_path, name) for name in names]
        for host in hosts:
            host.start()
            started.append(host)
        eventually(lambda: hear(neutron_server, hosts))
        return hosts

    yield start
    for host in started:
        host.stop()


def hear(server: Neutron, hosts: list[Host]) -> bool:
    """Whether all of them hear what is said now: a queue is there once its listener is."""
    before = [host.count("events.received") for host in hosts]
    server.notify("network.delete.end", {"network_id": neutron.NETWORK_ID})
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        time.sleep(0.02)
        counts = [host.count("events.received") for host in hosts]
        if all(now > then for now, then in zip(counts, before, strict=True)):
            return True
    return False


def test_the_life_of_a_port_arrives(listening, neutron_server):
    [host] = listening(HOST)
    neutron_server.notify("network.create.end", neutron.network(15))
    neutron_server.notify("port.create.end", neutron.port(1, vlan=None))
    eventually(host.bindings)
    assert host.bindings()[port_id(1)].vlan == 15
    assert host.woken == [frozenset({port_id(1)})]

    neutron_server.notify("port.create.start", {"port": {"network_id": neutron.NETWORK_ID}})
    neutron_server.notify("subnet.create.end", {"subnet": {}})
    neutron_server.notify("port.update.end", neutron.port(1, revision=2, vlan=20))
    eventually(lambda: host.bindings()[port_id(1)].vlan == 20)
    expected = binding(1, vlan=20, revision_number=2, name="p1")
    assert host.bindings() == {port_id(1): expected}

    neutron_server.notify("port.delete.end", neutron.deleted(1))
    eventually(lambda: not host.bindings())
    assert host.woken == [frozenset({port_id(1)})] * 3
    assert host.count("events.rejected") == host.count("events.failed") == 0


def test_every_host_hears_everything_and_keeps_its_own(listening, neutron_server):
    one, other = listening(HOST, "compute2")
    for number, name in ((1, HOST), (2, "compute2"), (3, HOST)):
        neutron_server.notify("port.create.end", neutron.port(number, binding_host_id=name))
    eventually(lambda: len(one.bindings()) == 2 and other.bindings())

    assert one.bindings().keys() == {port_id(1), port_id(3)}
    assert other.bindings().keys() == {port_id(2)}
    neutron_server.notify(
        "port.update.end", neutron.port(1, revision=2, binding_host_id="compute2")
    )
    eventually(lambda: len(other.bindings()) == 2)
    eventually(lambda: one.bindings().keys() == {port_id(3)})


def test_what_is_said_while_the_agent_is_off_waits_for_it(
    broker, listening, neutron_server, tmp_path
):
    [host] = listening("compute3")
    host.stop()
    neutron_server.notify("port.create.end", neutron.port(1, binding_host_id="compute3"))
    again = Host(broker, tmp_path, "compute3")
    again.start()
    try:
        eventually(again.bindings)
    finally:
        again.stop()
    assert again.bindings().keys() == {port_id(1)}


def test_a_backlog_is_taken_in_the_order_in_which_it_was_said(
    broker, listening, neutron_server, tmp_path
):
    """A tenant's word is added to what was said before it, so that has to be taken first."""
    [host] = listening("compute4")
    host.stop()
    numbers = range(1, 21)
    for number in numbers:
        said = neutron.port(number, revision=2, binding_host_id="compute4")
        neutron_server.notify("port.update.end", said)
        renamed = neutron.members_view(neutron.port(number, revision=3, name="renamed"))
        neutron_server.notify("port.update.end", renamed)
    again = Host(broker, tmp_path, "compute4")
    again.start()
    try:
        eventually(lambda: again.count("events.received") == 2 * len(numbers))
    finally:
        again.stop()
    assert again.bindings().keys() == set(map(port_id, numbers))
    assert {port.name for port in again.bindings().values()} == {"renamed"}


def test_bad_payloads_are_counted_and_the_next_good_one_is_taken(broker, listening, neutron_server):
    [host] = listening(HOST)
    before = host.count("events.received")
    bad = [None, [], "port", {"port": None}, {"port": {"id": 7}}, {"ports": [{}, []]}]
    for payload in bad:
        neutron_server.notify("port.create.end", payload)
    neutron_server.notify("port.delete.end", {})
    garbage(broker.url)
    neutron_server.notify("port.create.end", neutron.port(1))
    eventually(host.bindings)

    assert host.bindings().keys() == {port_id(1)}
    assert host.count("events.received") == before + len(bad) + 2
    assert host.count("events.rejected") == len(bad) + 2
    assert host.count("events.failed") == 0


def garbage(url: str) -> None:
    """Messages on Neutron's exchange that are none of oslo.messaging's."""
    with kombu.Connection(url.replace("rabbit://", "amqp://")) as connection:
        producer = connection.Producer()
        for body, content_type in (
            (b"\x00\xff not json", "application/json"),
            (b'{"oslo.version": "2.0", "oslo.message": "{"}', "application/json"),
            (b'{"event_type": "port.create.end"}', "application/json"),
            (b"", "text/plain"),
        ):
            producer.publish(
                body,
                exchange="neutron",
                routing_key="notifications.info",
                content_type=content_type,
                content_encoding="utf-8",
            )


def test_after_the_broker_was_gone_the_agent_hears_again(broker, listening, neutron_server):
    [host] = listening(HOST)
    neutron_server.notify("port.create.end", neutron.port(1))
    eventually(host.bindings)
    broker.stop()
    assert host.bindings().keys() == {port_id(1)}
    broker.start()

    eventually(lambda: hear(neutron_server, [host]))
    neutron_server.notify("port.update.end", neutron.port(1, revision=2, vlan=20))
    eventually(lambda: host.bindings()[port_id(1)].vlan == 20)


def test_an_agent_that_starts_before_the_broker_hears_it_later(broker, tmp_path):
    broker.stop()
    host = Host(broker, tmp_path, HOST)
    host.start()
    try:
        assert host.bindings() == {}
        broker.start()
        server = Neutron(broker)
        eventually(lambda: hear(server, [host]))
        server.stop()
    finally:
        host.stop()
