# SPDX-License-Identifier: Apache-2.0
"""What an operator is told when the broker cannot be used."""

import pytest
from oslo_config import cfg

from sriov_agent import messaging
from sriov_agent.exceptions import ConfigError
from sriov_agent.service import Agent
from tests.unit.test_service import MAPPED, Host


def transport(tmp_path, url):
    file = tmp_path / "neutron.conf"
    file.write_text(f"[DEFAULT]\ntransport_url = {url}\n")
    conf = cfg.ConfigOpts()
    conf([f"--config-file={file}"])
    return messaging.transport(conf)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rabbit://user:secret@broker1:5673/vhost", "rabbit://user@broker1:5673/vhost"),
        ("rabbit://user:secret@broker1/", "rabbit://user@broker1:5672/"),
        ("rabbit://u:secret@a:1,v:secret@b:2/", "rabbit://u@a:1,v@b:2/"),
        ("rabbit://broker1:5672/", "rabbit://broker1:5672/"),
    ],
)
def test_the_broker_is_named_without_its_passwords(tmp_path, url, shown):
    assert messaging.broker(transport(tmp_path, url)) == shown


def differs(argument, kind, name):
    return (
        f"Unable to connect to AMQP server on broker1:5672 after inf tries: Queue.declare: (406) "
        f"PRECONDITION_FAILED - inequivalent arg '{argument}' for {kind} '{name}' in vhost '/': "
        "received 'true' but current is 'false'"
    )


@pytest.mark.parametrize(
    ("argument", "kind", "name", "options"),
    [
        ("durable", "exchange", "neutron", "amqp_durable_queues and rabbit_quorum_queue must"),
        ("auto_delete", "exchange", "neutron", "amqp_auto_delete must"),
        ("x-queue-type", "queue", "neutron-vo-Port-1.7", "amqp_durable_queues and rabbit_quorum"),
        (
            "durable",
            "exchange",
            "neutron-vo-Port-1.7_fanout",
            "rabbit_transient_quorum_queue and rabbit_stream_fanout must",
        ),
        ("durable", "queue", "reply_0f", "rabbit_transient_quorum_queue and rabbit_stream"),
        ("x-expires", "queue", "a_fanout_b", "rabbit_transient_queues_ttl must"),
    ],
)
def test_what_differs_is_said_with_the_options_that_decide(argument, kind, name, options):
    said = messaging.explained(RuntimeError(differs(argument, kind, name)))
    assert said.startswith("'PRECONDITION_FAILED - inequivalent arg")
    assert f"[oslo_messaging_rabbit] {options}" in said
    assert said.isprintable()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("(403) ACCESS_REFUSED - Login was refused", "user and password"),
        ("(530) NOT_ALLOWED - vhost x not found", "virtual host"),
        ("PRECONDITION_FAILED - something else", "rabbit_stream_fanout"),
        ("[Errno 111] Connection refused", "does the broker run"),
        ("a\nb\x1b[2J", "does the broker run"),
    ],
)
def test_what_the_broker_says_is_said_with_what_to_do(error, hint):
    said = messaging.explained(OSError(error))
    assert hint in said
    assert said.isprintable()


def test_a_version_that_stops_all_pushes_ends_the_agent_before_it_begins(tmp_path):
    more = "[agent]\nsource = ml2\n[ml2_agent]\nport_version = 1.99\n"
    with pytest.raises(ConfigError, match=r"\[ml2_agent\] port_version: Port '1.99'"):
        Agent(Host(tmp_path, MAPPED + more).conf)
