# SPDX-License-Identifier: Apache-2.0
"""``sriov-device-manager`` as it is installed, over RabbitMQ and a NETCONF switch, and sriovctl."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.core.model import LldpId, Segment, SwitchPort
from sriov_agent.core.signature import host_key
from sriov_agent.exceptions import Pending
from sriov_agent.hook.loader import load
from tests.switches.netconfd import JunosRig
from tests.waiting import PATIENCE, until
from tools.openstack.processes import free_ports

pytestmark = [pytest.mark.rabbitmq, pytest.mark.switch]

BIN = Path(sys.executable).parent
#: Hooks that were made in a test.
MADE = []
SECRET = "0123456789abcdef"


@pytest.fixture(scope="module")
def rig(tmp_path_factory):
    why = JunosRig.missing()
    if why:
        pytest.skip(why)
    rig = JunosRig(tmp_path_factory.mktemp("sw"))
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


class Program:
    """The daemon, with its configuration and what it has said."""

    def __init__(self, broker, rig, directory):
        self.directory = directory
        self.rig = rig
        secret = directory / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        login = rig.login()
        self.config = directory / "manager.conf"
        (self.port,) = free_ports(1)
        self.config.write_text(
            f"[DEFAULT]\ntransport_url = {broker.url}\n"
            f"[device_manager]\nswitches = leaf1, leaf2\nstate_path = {directory}/state\n"
            f"remove_grace = 0.5\nhost_key_secret_file = {secret}\n"
            f"[metrics]\nport = {self.port}\n"
            f"[switch:leaf1]\ndriver = junos\naddress = {login.address}\nport = {login.port}\n"
            f"username = {login.username}\nkey_file = {login.key_file}\n"
            f"host_key = {login.host_key}\nfloor_vlan = 999\nuplinks = et-*\n"
            f"[switch:leaf2]\ndriver = junos\naddress = 127.0.0.1\nport = 9\n"
            f"username = sriov\npassword = TopSecret\nhost_key = {login.host_key}\n"
        )
        self.log = directory / "log"
        self.broker = broker
        self.process = None

    def start(self):
        command = [str(BIN / "sriov-device-manager"), f"--config-file={self.config}", "--debug"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        until(lambda: self.broker.consumers("sriov-device-manager"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def sriovctl(self, *words, status=0):
        command = [str(BIN / "sriovctl"), f"--config-file={self.config}", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def page(self, name):
        url = f"http://127.0.0.1:{self.port}/{name}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.read()

    def rows(self, *words, status=0):
        return json.loads(self.sriovctl(*words, "-f", "json", status=status))

    def hook(self, host="compute1", key=None):
        key_file = self.directory / f"{host}.key"
        key_file.write_text(key or self.sriovctl("fabric", "host-key", host))
        key_file.chmod(0o600)
        path = self.directory / f"{host}.conf"
        path.write_text(
            f"[DEFAULT]\nhost = {host}\n[fabric]\nhook = rpc\n[hook_rpc]\n"
            f"transport_url = {self.broker.url}\nkey_file = {key_file}\ntimeout = 60\n"
        )
        conf = options.register(cfg.ConfigOpts())
        conf([f"--config-file={path}"])
        MADE.append(load(conf))
        return MADE[-1]


def link(port, switch="leaf1"):
    return SwitchPort(
        pf="0000:3b:00.0",
        chassis_id=LldpId("mac", "52:54:00:bb:00:01"),
        port_id=LldpId("ifname", port),
        system_name=switch,
        port_description=port,
    )


@pytest.fixture(autouse=True)
def made():
    """Hooks that a test makes let go of the broker at its end."""
    yield
    while MADE:
        MADE.pop().stop()


@pytest.fixture(scope="module")
def program(broker, rig, tmp_path_factory):
    program = Program(broker, rig, tmp_path_factory.mktemp("manager"))
    program.start()
    yield program
    if program.process.poll() is None:
        program.stop()


@pytest.fixture
def port(rig):
    """A trunk that carries the floor VLAN alone."""
    rig.put(rig.trunks[0], [(999, 999)])
    return rig.trunks[0]


def want(hook, at, *vlans):
    with contextlib.suppress(Pending):
        hook.apply(at, {at: frozenset(map(Segment, vlans))})


def test_a_hosts_wish_is_on_the_switch_and_is_shown(program, rig, port):
    hook = program.hook()
    want(hook, link(port), 100, 200)
    until(lambda: rig.get(port) == {100, 200, 999})
    until(lambda: hook.read([link(port)]) == {link(port): frozenset(map(Segment, (100, 200)))})
    (host,) = program.rows("fabric", "hosts")
    assert (host["host"], host["port"], host["vlans"]) == ("compute1", port, "100,200")
    assert (host["silent"], host["error"]) == (False, "")
    (shown,) = program.rows("switch", "show", "leaf1")
    assert shown == {
        "switch": "leaf1",
        "port": port,
        "wanted": "100,200",
        "seen": "100,200,999",
        "ours": "100,200",
        "error": "",
    }
    want(hook, link(port))
    until(lambda: rig.get(port) == {999})


def test_its_transactions_and_its_health_can_be_read(program, rig, port):
    hook = program.hook()
    want(hook, link(port), 100)
    until(lambda: rig.get(port) == {100, 999})
    count = re.compile(rb'transaction_seconds_count{switch="leaf1"} ([1-9])')
    until(lambda: count.search(program.page("metrics")))
    assert b'sriov_device_manager_drift_vlans{switch="leaf1"}' in program.page("metrics")
    assert program.page("health") == b"ok\n"
    want(hook, link(port))
    until(lambda: rig.get(port) == {999})


def test_what_somebody_else_closed_is_shown_and_opened_again(program, rig, port):
    hook = program.hook()
    want(hook, link(port), 300)
    until(lambda: rig.get(port) == {300, 999})
    until(lambda: program.rows("switch", "show", "leaf1")[0]["seen"] == "300,999")
    rig.put(port, [(999, 999)])
    (drifted,) = program.rows("fabric", "drift", status=1)
    assert (drifted["switch"], drifted["port"], drifted["open"]) == ("leaf1", port, "300")
    program.sriovctl("fabric", "drift", "--repair")
    until(lambda: rig.get(port) == {300, 999})
    want(hook, link(port))
    until(lambda: rig.get(port) == {999})


def test_a_restart_forgets_nothing(program, rig, port):
    hook = program.hook()
    want(hook, link(port), 400)
    until(lambda: rig.get(port) == {400, 999})
    assert program.stop() == 0
    assert rig.get(port) == {400, 999}
    program.start()
    assert program.rows("fabric", "hosts")[0]["vlans"] == "400"
    want(hook, link(port))
    until(lambda: rig.get(port) == {999})


def test_a_kill_in_the_middle_loses_nothing(program, rig, port):
    hook = program.hook()
    for number in range(5):
        want(hook, link(port), *range(500, 510 + number))
        os.kill(program.process.pid, signal.SIGKILL)
        program.process.wait()
        program.start()
    until(lambda: rig.get(port) == {*range(500, 514), 999})
    until(lambda: program.rows("switch", "show", "leaf1")[0]["ours"] == "500-513")
    want(hook, link(port))
    until(lambda: rig.get(port) == {999})


def test_who_signs_with_another_key_is_refused(program, port):
    forged = program.hook("compute7", key=host_key(b"guessed", "compute7"))
    answer = forged.ask(forged._request("owned"))
    assert "not signed with the key of host compute7" in answer["error"]


def test_two_managers_on_one_file_are_one_too_many(program):
    alone = program.directory / "second.conf"
    alone.write_text(program.config.read_text().replace("[metrics]", "[unused]"))
    command = [str(BIN / "sriov-device-manager"), f"--config-file={alone}"]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert second.returncode == 78
    assert "another device manager" in second.stderr.splitlines()[-1]


class TestSwitchTest:
    def test_says_what_it_is_and_what_ports_carry(self, program, rig, port):
        said = program.sriovctl("switch", "test", "leaf1", "--port", port)
        assert f"leaf1: {port} is a trunk and carries 999" in said

    def test_fails_for_a_port_that_is_not_there(self, program):
        said = program.sriovctl("switch", "test", "leaf1", "--port", "xe-9/9/9", status=1)
        assert "leaf1: there is no port xe-9/9/9" in said

    def test_says_why_a_switch_cannot_be_reached(self, program):
        said = program.sriovctl("switch", "test", "leaf2", status=1)
        assert "127.0.0.1" in said
        assert "TopSecret" not in said

    def test_is_of_a_switch_that_is_configured(self, program):
        command = [str(BIN / "sriovctl"), f"--config-file={program.config}", "switch", "test", "x"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (1, "[device_manager] switches has no x")


def test_switches_are_listed(program):
    assert [row["name"] for row in program.rows("switch", "list")] == ["leaf1", "leaf2"]


def test_no_secret_was_ever_logged(program):
    log = program.log.read_text()
    assert "TopSecret" not in log
    assert SECRET not in log
    assert "BEGIN" not in log


def test_each_commit_left_a_line(program):
    lines = [line for line in program.log.read_text().splitlines() if "fabric.audit" in line]
    first = json.loads(lines[0][lines[0].index("{") :])
    assert (first["switch"], first["added"], first["result"]) == ("leaf1", "100,200", "seen")
