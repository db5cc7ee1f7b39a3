# SPDX-License-Identifier: Apache-2.0
"""What Neutron's fanouts bring, over a real RabbitMQ."""

import queue
import threading
import time

import kombu
import pytest
from oslo_config import cfg

from sriov_agent import messaging
from sriov_agent.sources.ml2 import rpc
from tests.waiting import PATIENCE

pytestmark = pytest.mark.rabbitmq

HEARTBEAT_SECONDS = 4
TOPICS = ["neutron-vo-Port-1.7", "q-agent-notifier-port-update"]


@pytest.fixture
def transport(broker, tmp_path):
    file = tmp_path / "neutron.conf"
    file.write_text(
        f"[DEFAULT]\ntransport_url = {broker.url}\n"
        f"[oslo_messaging_rabbit]\nheartbeat_timeout_threshold = {HEARTBEAT_SECONDS}\n"
    )
    conf = cfg.ConfigOpts()
    conf([f"--config-file={file}"])
    transport = messaging.transport(conf)
    yield transport
    transport.cleanup()


@pytest.fixture
def heard(transport):
    heard = queue.SimpleQueue()

    def take(message):
        heard.put((message["args"]["number"], threading.get_ident()))

    listener = rpc.Listener(transport, TOPICS, take, lambda: heard.put("lost"))
    listener.start()
    yield heard
    listener.stop()


def send(broker, numbers, **how):
    with broker.connection() as connection:
        for number in numbers:
            message = {
                "oslo.version": "2.0",
                "oslo.message": f'{{"method": "push", "args": {{"number": {number}}}, '
                f'"version": "1.1", "_unique_id": "{number}"}}',
            }
            exchange = kombu.Exchange(f"{TOPICS[number % 2]}_fanout", "fanout", durable=False)
            kombu.Producer(connection, exchange, auto_declare=False).publish(message, **how)


def test_messages_are_taken_one_after_the_other_in_the_thread_that_hears_them(broker, heard):
    send(broker, range(20))
    taken = [heard.get(timeout=PATIENCE) for _ in range(20)]

    numbers = [number for number, _ in taken]
    for topic in (0, 1):
        assert [n for n in numbers if n % 2 == topic] == list(range(topic, 20, 2))
    assert len({thread for _, thread in taken}) == 1


NO_MESSAGES = [
    b"",
    b"\xff",
    b"[]",
    b'"x"',
    b"{}",
    b'{"oslo.message": 7}',
    b'{"oslo.message": "["}',
    b'{"oslo.message": "[]"}',
    b"[" * 100_000,
    b'{"oslo.message": "' + b"[" * 100_000 + b'"}',
]


def test_what_is_no_message_is_said_and_left_out(broker, heard, caplog):
    with broker.connection() as connection:
        exchange = kombu.Exchange(f"{TOPICS[0]}_fanout", "fanout", durable=False)
        producer = kombu.Producer(connection, exchange, auto_declare=False)
        for body in NO_MESSAGES:
            producer.publish(body, content_type="application/json", content_encoding="utf-8")
    send(broker, [0])
    assert heard.get(timeout=PATIENCE)[0] == 0
    said = [said for said in caplog.messages if "none of oslo.messaging" in said]
    assert len(said) == len(NO_MESSAGES)
    assert all(said.isprintable() for said in caplog.messages)


def test_one_that_is_compressed_is_heard(broker, heard):
    send(broker, [0], compression="zlib")
    assert heard.get(timeout=PATIENCE)[0] == 0


def test_the_broker_hears_of_one_that_is_told_something_all_the_time(broker, heard):
    """Who neither answers nor is idle would send nothing, and be taken for dead."""
    end = time.monotonic() + 5 * HEARTBEAT_SECONDS
    sent = 0
    while time.monotonic() < end:
        send(broker, [sent])
        assert heard.get(timeout=PATIENCE)[0] == sent
        sent += 1
        time.sleep(0.2)
