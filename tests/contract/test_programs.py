# SPDX-License-Identifier: Apache-2.0
"""``sriov-agent`` and ``sriovctl`` as they are installed: processes, signals, exit statuses."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sriov_agent.core.report import PortReport, PortState, Report
from sriov_agent.store import Store
from tests.topology import PF_A, claim, port_id

BIN = Path(sys.executable).parent
#: Far above what anything here takes.
SECONDS = 60


class Node:
    """A machine whose configured PF is not there."""

    def __init__(self, directory: Path) -> None:
        self.config = directory / "sriov-agent.conf"
        self.log = directory / "agent.log"
        self.configure("physical_device_mappings = physnet2:no-such-pf")

    def configure(self, nic: str, more: str = "") -> None:
        self.config.write_text(
            f"[agent]\nstate_path = {self.config.parent}/state\n[sriov_nic]\n{nic}\n"
            f"[local]\npoll_interval = 0.05\n[lldp]\ncommand = {sys.executable},-c,pass\n{more}\n"
        )

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            return subprocess.Popen(
                [BIN / "sriov-agent", f"--config-file={self.config}"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / program, f"--config-file={self.config}", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def state(self) -> str:
        """What the agent says of port 1, or "" before it has."""
        [port] = json.loads(self.run("sriovctl", "port", "list", "-f", "json").stdout)
        return port["state"]


@pytest.fixture
def node(tmp_path):
    return Node(tmp_path)


CREATE = ("port", "create", "--physical-network", "physnet2", "--id", port_id(1))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_agent_says_what_it_cannot_do_and_runs_until_it_is_told_to_stop(node, number):
    agent = node.start()
    try:
        assert node.run("sriovctl", *CREATE).returncode == 0
        deadline = time.monotonic() + SECONDS
        while node.state() == "new":
            assert time.monotonic() < deadline, node.log.read_text()
        assert agent.poll() is None
        agent.send_signal(number)
        assert agent.wait(SECONDS) == 0
    finally:
        agent.kill()
        agent.wait()

    shown = json.loads(node.run("sriovctl", "port", "show", port_id(1), "-f", "json").stdout)
    assert shown["state"] == "unmet"
    assert shown["unmet"].startswith("physical_network 'physnet2': no PF of this host serves it")
    log = node.log.read_text()
    assert f"port {port_id(1)} unmet: physical_network 'physnet2'" in log
    assert "there is no network device 'no-such-pf'" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("nic", "more", "named"),
    [
        ("", "", "[sriov_nic] physical_device_mappings"),
        ("physical_device_mappings = physnet2", "", "[sriov_nic] physical_device_mappings"),
        ("physical_device_mappings = a:b", "[fabric]\nhook = magic", "[fabric] hook"),
        ("physical_device_mappings = a:b", "[fabric]\nhook = exec", "[hook_exec] command"),
        ("physical_device_mappings = a:b", "[agent]\nsource = nova", "nova"),
    ],
)
def test_a_configuration_that_cannot_work_ends_the_agent_with_its_own_status(
    node, nic, more, named
):
    node.configure(nic, more)
    done = node.run("sriov-agent")

    assert done.returncode == 78
    [said] = done.stderr.splitlines()
    assert said.startswith("sriov-agent: ")
    assert named in said


def test_sriovctl_tells_what_was_refused_from_what_was_not_understood(node):
    assert node.run("sriovctl", *CREATE).returncode == 0
    refused = node.run("sriovctl", *CREATE)
    assert refused.returncode == 1
    assert refused.stderr == f"id '{port_id(1)}': this port exists\n"
    assert node.run("sriovctl", *CREATE, "--qos", "three").returncode == 2


def test_waiting_ends_when_the_port_is_met_and_when_its_vf_is_released(node):
    store = Store(node.config.parent / "state" / "agent.db")
    met = PortReport(port_id=port_id(1), state=PortState.MET, claim=claim(1, PF_A, 0))
    store.save(Report(ports={port_id(1): met}), {})
    created = node.run("sriovctl", *CREATE, "--wait", str(SECONDS), "-f", "value", "-c", "vf")
    assert (created.returncode, created.stdout) == (0, f"{met.claim.vf}\n")

    waited = node.run("sriovctl", "port", "delete", port_id(1), "--wait", "1")
    assert (waited.returncode, f"not released: {port_id(1)}" in waited.stderr) == (1, True)
    assert node.run("sriovctl", *CREATE).returncode == 0
    store.save(Report(), {})
    assert node.run("sriovctl", "port", "delete", port_id(1), "--wait", "30").returncode == 0


@pytest.mark.parametrize("program", ["sriov-agent", "sriovctl"])
def test_the_programs_know_their_version(node, program):
    done = subprocess.run(
        [BIN / program, "--version"], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0
    assert any(part[0].isdigit() for part in (done.stdout + done.stderr).split())
