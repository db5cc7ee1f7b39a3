# SPDX-License-Identifier: Apache-2.0
"""``sriovctl doctor`` on a real RabbitMQ: reachable or not, queues of others fitting or not."""

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.doctor import findings
from sriov_agent.core.doctor import State
from sriov_agent.host.machine import Machine
from sriov_agent.host.sysfs import Sysfs

pytestmark = pytest.mark.rabbitmq


@pytest.fixture
def found(broker, tmp_path):
    """The findings of the broker, and those of the fabric's if it is another."""

    def found(more=""):
        path = tmp_path / "sriov-agent.conf"
        path.write_text(
            f"[DEFAULT]\ntransport_url = {broker.url}\n[agent]\nstate_path = {tmp_path}\n"
            f"source = ml2\n[fabric]\nhook = rpc\n[hook_rpc]\ntimeout = 1\n{more}"
        )
        conf = options.register(cfg.ConfigOpts())
        conf([f"--config-file={path}"])
        machine, sysfs = Machine(tmp_path / "root"), Sysfs(tmp_path / "root/sys")
        listed = findings(conf, machine, sysfs)
        return [f for f in listed if f.check in ("broker", "fabric broker", "device manager")]

    return found


def queues(broker):
    """What of the queues that are asked after is there."""
    with broker.connection() as connection:
        there = []
        for name in ("q-plugin", "q-reports-plugin", "sriov-device-manager"):
            try:
                connection.channel().queue_declare(name, passive=True)
                there.append(name)
            except connection.channel_errors:
                pass
        return there


def test_an_empty_broker_fits_and_stays_empty(broker, found):
    ours, fabric, manager = found()
    assert (ours.state, fabric.state) == (State.OK, State.OK)
    assert (manager.state, "did not answer" in manager.found) == (State.ERROR, True)
    assert queues(broker) == []


def test_queues_that_are_declared_otherwise_are_named_with_the_option(broker, found):
    with broker.connection() as connection:
        channel = connection.channel()
        channel.queue_declare("q-plugin", durable=True, auto_delete=False)
        channel.exchange_declare("neutron-vo-Port-1.7_fanout", "fanout", durable=True)
    try:
        said = [f.found for f in found() if f.state == State.ERROR and f.check == "broker"]
        assert len(said) == 2
        assert "q-plugin" in said[0]
        assert "amqp_durable_queues" in said[0]
        assert "neutron-vo-Port-1.7_fanout" in said[1]
        assert "rabbit_transient_quorum_queue" in said[1]
        assert "guest:guest" not in "".join(said)
        fitting = "[oslo_messaging_rabbit]\namqp_durable_queues = true\n"
        said = [f.found for f in found(fitting) if f.state == State.ERROR and f.check == "broker"]
        assert ["q-plugin" in each for each in said] == [False]
    finally:
        with broker.connection() as connection:
            channel = connection.channel()
            channel.queue_delete("q-plugin")
            channel.exchange_delete("neutron-vo-Port-1.7_fanout")


def test_a_broker_that_is_away_or_does_not_know_us_is_an_error(found):
    for url, why in (
        ("rabbit://127.0.0.1:9/", "does the broker run"),
        ("rabbit://guest:wrong@{at}/", "user and password"),
    ):
        at = found()[0].found.partition("@")[2].partition("/")[0]
        more = f"[DEFAULT]\ntransport_url = {url.format(at=at)}\n"
        ours = found(more)[0]
        assert (ours.state, why in ours.found) == (State.ERROR, True), ours
