# SPDX-License-Identifier: Apache-2.0
"""``sriovctl doctor`` on a real Neutron and its broker, with a whole agent and without one."""

import contextlib
import threading
import time
import uuid

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.doctor import findings
from sriov_agent.core.doctor import State
from sriov_agent.host.machine import Machine
from sriov_agent.host.sysfs import Sysfs
from sriov_agent.service import Agent

PATIENCE = 300


class Diagnosed:
    """One host's agent and doctor; their PF is not there, which is no matter here."""

    def __init__(self, stack, directory, physical_network="physnet2", more=""):
        config = directory / f"{uuid.uuid4()}.conf"
        config.write_text(
            f"[DEFAULT]\nhost = {directory.name}\nrpc_response_timeout = 5\n"
            f"[agent]\nsource = ml2\nstate_path = {directory}/state\nreport_interval = 2\n"
            f"[sriov_nic]\nphysical_device_mappings = {physical_network}:no-such-pf\n"
            f"[neutron]\nauth_type = none\nendpoint_override = {stack.url}\n{more}\n"
        )
        self.conf = options.register(cfg.ConfigOpts())
        self.conf([f"--config-file={stack.conf_file}", f"--config-file={config}"])
        self.machine, self.sysfs = Machine(directory / "root"), Sysfs(directory / "root/sys")

    @contextlib.contextmanager
    def running(self):
        agent = Agent(self.conf)
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            yield
        finally:
            agent.stop()
            thread.join()

    def finding(self, check):
        found = {each.check: each for each in findings(self.conf, self.machine, self.sysfs)}
        return found[check]

    def becomes(self, check, state):
        deadline = time.monotonic() + PATIENCE
        while (found := self.finding(check)).state != state:
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        return found


@pytest.fixture
def diagnosed(stack, network, tmp_path):
    assert network["provider:physical_network"] == "physnet2"
    return lambda **given: Diagnosed(stack, tmp_path, **given)


def test_an_agent_that_neutron_answers_is_well(diagnosed):
    host = diagnosed()
    assert host.finding("neutron heartbeat").state == State.UNKNOWN
    with host.running():
        answered = host.becomes("neutron heartbeat", State.OK)
        assert answered.found.startswith("answered ")
        assert host.finding("broker").state == State.OK
        assert host.finding("physical networks").state == State.OK
    assert host.finding("neutron heartbeat").state == State.UNKNOWN


def test_an_agent_that_nobody_answers_is_not(diagnosed):
    host = diagnosed(more="[DEFAULT]\ncontrol_exchange = elsewhere\n")
    with host.running():
        unanswered = host.becomes("neutron heartbeat", State.ERROR)
    assert unanswered.found == "never answered"
    assert "openstack network agent list" in unanswered.mend


def test_a_physical_network_without_a_network_is_named(diagnosed):
    found = diagnosed(physical_network="physnet9").finding("physical networks")
    assert found.state == State.WARNING
    assert "on physnet9; they are on " in found.found
    assert "--provider-physical-network physnet9" in found.mend


def test_a_queue_option_that_differs_from_the_servers_is_named(diagnosed):
    host = diagnosed(more="[oslo_messaging_rabbit]\namqp_auto_delete = true\n")
    found = host.finding("broker")
    assert found.state == State.ERROR
    assert "amqp_auto_delete" in found.found


def test_a_broker_that_refuses_the_password_is_said_without_it(diagnosed, stack):
    url = stack.broker.url.replace("guest@", "secret@")
    found = diagnosed(more=f"[DEFAULT]\ntransport_url = {url}\n").finding("broker")
    assert found.state == State.ERROR
    assert "password of transport_url" in found.found
    assert "secret" not in found.found
