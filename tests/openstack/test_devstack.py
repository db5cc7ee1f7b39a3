# SPDX-License-Identifier: Apache-2.0
"""DevStack's plugin where there is no NIC: the lab in its place, as a host of a real Neutron."""

import configparser
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.devstack.box import ROOT, missing
from tests.devstack.stage import Stage

HOST = "lab1"
SEEN_SECONDS = 600
pytestmark = pytest.mark.namespaces


@pytest.fixture
def stage(tmp_path, stack):
    checked = subprocess.run(
        [sys.executable, ROOT / "tools/lab", "check"], capture_output=True, text=True, check=False
    )
    if why := missing() or (checked.stderr if checked.returncode else None):
        pytest.skip(why)
    conf = configparser.RawConfigParser()
    conf.read(stack.guest_conf_file)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    url = f"transport_url = {conf['DEFAULT']['transport_url']}"
    stage = Stage(tmp_path, network=True)
    stage.configure(
        without=("SRIOV_AGENT_",),
        after=[
            "SRIOV_AGENT_LAB=True",
            f"SRIOV_AGENT_HOST={HOST}",
            f"SRIOV_AGENT_LAB_CACHE={cache}",
        ],
        more=["[[post-config|$SRIOV_AGENT_CONF_FILE]]", "[DEFAULT]", url],
    )
    yield stage
    stage.clean()
    stage.close()


def until(stage, holds, what):
    deadline = time.monotonic() + SEEN_SECONDS
    while not (found := holds()):
        said = stage.box.run("tail", "-c", "3000", "/run/log").stdout
        assert time.monotonic() < deadline, f"{what}: {said}"
        time.sleep(1)
    return found


def test_a_port_is_active_on_the_labs_host_until_it_is_unstacked(stage, stack, network):
    api = stack.api()
    stage.stack()

    def agents():
        return [agent for agent in api.list("agent", host=HOST) if agent["alive"]]

    (agent,) = until(stage, agents, "the agent in the guest did not report")
    assert agent["binary"] == "sriov-agent"
    port = api.create(
        "port",
        network_id=network["id"],
        device_owner="test:vm",
        binding_vnic_type="direct",
        binding_host_id=HOST,
    )
    try:
        assert port["binding:vif_type"] == "hw_veb"
        until(
            stage,
            lambda: api.show("port", port["id"])["status"] == "ACTIVE",
            "the port did not get its VF, and its VLAN on the leaf",
        )
    finally:
        api.delete("port", port["id"])
    assert stage.box.run("pgrep", "-f", "qemu-system").returncode == 0
    stage.unstack()
    assert stage.box.run("pgrep", "-f", "qemu-system").returncode == 1
    stage.clean()
    assert stage.left() == set()
