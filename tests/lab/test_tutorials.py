# SPDX-License-Identifier: Apache-2.0
"""The tutorials, command by command, as they stand in doc/source/tutorials."""

import json
import os
import shutil
import socket
import socketserver
import threading
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests import tutorials
from tests.lab.bridge import NEUTRON_VARIABLE
from tools.demo import witness

FLOOR_VLAN = 1
AMQP_PORT = 5672
LOGS = ("sriov-agent", "sriov-device-manager")
#: What the daemons leave behind, and the pages write.
LEFT = ("/etc/sriov-agent", "/etc/neutron", "/var/lib/sriov-agent", "/var/lib/sriov-device-manager")
#: A command that runs outside the guest, where the controller's programs are.
OUTSIDE = """\
#!/usr/bin/env -S python3 -IS
import json, sys, urllib.error, urllib.request
request = urllib.request.Request("{url}/{program}", json.dumps(sys.argv[1:]).encode())
try:
    with urllib.request.urlopen(request, timeout=120) as answer:
        print(json.load(answer), end="")
except urllib.error.HTTPError as error:
    sys.exit(json.load(error))
"""


@pytest.fixture
def shell(tmp_path):
    """The compute node's; the tutorial has to leave nothing behind on NIC and switch."""
    shell = tutorials.Shell(tmp_path / "compute1")
    yield shell
    shell.close()
    for path in LEFT:
        shutil.rmtree(path, ignore_errors=True)


def follow(name, shell, pfs, **others):
    try:
        tutorials.follow(tutorials.PAGES / f"{name}.rst", {"": shell, **others})
    finally:
        for path in map(Path, (f"/run/{log}.log" for log in LOGS)):
            print(path, path.read_text() if path.exists() else "is not there", sep="\n")
    for pf in pfs:
        assert witness.open_vlans(pf["leaf"], pf["port"]) == {FLOOR_VLAN}
        assert all((vf["vlan"], vf["spoofchk"]) == (0, True) for vf in witness.vfs(pf["netdev"]))
    for log in LOGS:
        path = Path(f"/run/{log}.log")
        assert "Traceback" not in (path.read_text() if path.exists() else "")
        path.unlink(missing_ok=True)


class Relay(socketserver.ThreadingTCPServer):
    """The broker outside, at the port where it usually is."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, host, port):
        self.broker = (host, port)
        super().__init__(("127.0.0.1", AMQP_PORT), _Relayed)


class _Relayed(socketserver.BaseRequestHandler):
    def handle(self):
        with socket.create_connection(self.server.broker) as broker:
            answers = threading.Thread(target=_copy, args=(broker, self.request), daemon=True)
            answers.start()
            _copy(self.request, broker)
            answers.join()


def _copy(source, to):
    while data := source.recv(65536):
        to.sendall(data)
    to.shutdown(socket.SHUT_WR)


@pytest.fixture
def neutron():
    """What the machine outside tells of its Neutron."""
    if NEUTRON_VARIABLE not in os.environ:
        pytest.skip("there is no Neutron and no broker: python3 tools/openstack setup")
    with urllib.request.urlopen(os.environ[NEUTRON_VARIABLE]) as answer:
        return json.load(answer)


@pytest.fixture
def controller(tmp_path, neutron):
    """The machine outside the guest: a shell whose programs run there."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("openstack", "rabbitmqctl"):
        text = OUTSIDE.format(url=os.environ[NEUTRON_VARIABLE], program=name)
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    shell = tutorials.Shell(tmp_path / "controller", [programs])
    yield shell
    shell.close()


def test_local(shell, pfs):
    follow("local", shell, pfs)


def test_contrail(shell, pfs):
    follow("contrail", shell, pfs)


@pytest.mark.openstack
def test_device_manager(shell, controller, neutron, pfs):
    with Path("/etc/hosts").open("a") as hosts:
        hosts.write("127.0.0.1 controller\n")
    host = urllib.parse.urlsplit(neutron["url"]).hostname
    with Relay(host, neutron["broker_port"]) as relay:
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        try:
            follow("device-manager", shell, pfs, controller=controller)
        finally:
            relay.shutdown()


@pytest.mark.openstack
def test_neutron(shell, controller, neutron, pfs):
    Path("/etc/neutron").mkdir(exist_ok=True)
    shutil.copy(neutron["conf_file"], "/etc/neutron/neutron.conf")
    follow("neutron", shell, pfs, controller=controller)


def test_appliance(shell, pfs):
    pytest.importorskip("libvirt", reason="libvirt-python is not here: see make test")
    if not shutil.which("libvirtd"):
        pytest.skip("libvirtd is not here: see make test")
    follow("appliance", shell, pfs)
