# SPDX-License-Identifier: Apache-2.0
"""What Neutron's fanouts bring, over a real RabbitMQ."""

import queue
import threading

import kombu
import pytest
from oslo_config import cfg

from sriov_agent import messaging
from sriov_agent.messaging import version_of
from sriov_agent.sources.ml2 import rpc
from tests.waiting import PATIENCE

pytestmark = pytest.mark.rabbitmq

TOPICS = ["neutron-vo-Port-1.7", "q-agent-notifier-port-update"]


@pytest.fixture
def transport(broker, tmp_path):
    file = tmp_path / "neutron.conf"
    file.write_text(f"[DEFAULT]\ntransport_url = {broker.url}\n")
    conf = cfg.ConfigOpts()
    conf([f"--config-file={file}"])
    transport = messaging.transport(conf)
    yield transport
    transport.cleanup()


@version_of("1.1")
class Endpoint:
    def __init__(self):
        self.heard = queue.SimpleQueue()

    def push(self, context, number):
        self.heard.put((number, threading.get_ident()))


@pytest.fixture
def endpoint(transport):
    endpoint = Endpoint()
    listener = rpc.Listener(transport, "compute1", TOPICS, endpoint, lambda: None)
    listener.start()
    yield endpoint
    listener.stop()


def send(broker, numbers):
    with broker.connection() as connection:
        for number in numbers:
            message = {
                "oslo.version": "2.0",
                "oslo.message": f'{{"method": "push", "args": {{"number": {number}}}, '
                f'"version": "1.1", "_unique_id": "{number}"}}',
            }
            exchange = kombu.Exchange(f"{TOPICS[number % 2]}_fanout", "fanout", durable=False)
            kombu.Producer(connection, exchange, auto_declare=False).publish(message)


def test_messages_are_taken_one_after_the_other_in_the_thread_that_hears_them(broker, endpoint):
    send(broker, range(20))
    heard = [endpoint.heard.get(timeout=PATIENCE) for _ in range(20)]

    numbers = [number for number, _ in heard]
    for topic in (0, 1):
        assert [n for n in numbers if n % 2 == topic] == list(range(topic, 20, 2))
    assert len({thread for _, thread in heard}) == 1
