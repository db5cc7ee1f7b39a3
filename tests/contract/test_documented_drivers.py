# SPDX-License-Identifier: Apache-2.0
"""The drivers of doc/source/contributor/drivers.rst: loaded, and run through the suites."""

import configparser
import inspect
import json
import os
import re
import socketserver
import subprocess
import sys
import threading

import pytest
from stevedore.extension import ExtensionManager

from sriov_agent.exceptions import Refused, Unavailable
from tests import tutorials
from tests.contract import test_hooks as suite
from tests.fakes import device_manager

PAGE = tutorials.ROOT / "doc/source/contributor/drivers.rst"
SECONDS = 300
CONTRACT = [
    function
    for name, function in vars(suite).items()
    if name.startswith("test_") and list(inspect.signature(function).parameters) == ["rig"]
]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package of the page, as pip would have installed it."""
    directory = tmp_path_factory.mktemp("acme")
    for name, text in tutorials.files(PAGE.read_text()).items():
        (directory / name).write_text(text)
    setup = configparser.ConfigParser()
    setup.read(directory / "setup.cfg")
    about = directory / "acme_fabric-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {setup['metadata']['name']}\nVersion: 1.0\n")
    groups = setup["options.entry_points"].items()
    (about / "entry_points.txt").write_text("".join(f"[{g}]{points}\n" for g, points in groups))
    sys.path.insert(0, str(directory))
    ExtensionManager.ENTRY_POINT_CACHE.clear()
    yield directory
    sys.path.remove(str(directory))
    ExtensionManager.ENTRY_POINT_CACHE.clear()


class Controller(socketserver.ThreadingUnixStreamServer):
    """Acme's, with the fake device manager behind it."""

    def __init__(self, path, manager):
        self.answer = manager.answer
        super().__init__(str(path), _Connection)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            answer = self.server.answer(json.loads(self.rfile.readline()))
        except device_manager.No as error:
            answer = {"refused": str(error)}
        self.wfile.write(json.dumps(answer).encode() + b"\n")


@pytest.fixture
def rig(tmp_path, installed):
    ports = {suite.SWP1: [], suite.SWP2: [100]}
    hostile = {("local", text): {("local", text): []} for text in suite.HOSTILE.values()}
    switches = {suite.LEAF1: ports, suite.LEAF2: ports, **hostile}
    vlans = {*range(1, 200), 4094}
    manager = device_manager.DeviceManager.create(tmp_path / "switches.json", switches, vlans)
    path = tmp_path / "acme.socket"
    controller = Controller(path, manager)
    text = f"[fabric]\nhook = acme\n[hook_acme]\nsocket = {path}\n"
    yield suite.Rig(suite.configured(tmp_path, text), manager)
    controller.close()


def test_the_suite_is_there():
    assert len(CONTRACT) > 5


@pytest.mark.parametrize("test", CONTRACT, ids=lambda test: test.__name__.removeprefix("test_"))
def test_the_hook_keeps_the_contract(test, rig):
    test(rig)


def test_the_hook_says_who_does_not_answer_and_what_is_refused(rig, tmp_path):
    unknown = suite.switch_port(port_id=("ifname", "swp99"))
    with pytest.raises(Refused, match="no such port"):
        rig.apply(unknown, suite.carried(15))
    (tmp_path / "acme.socket").unlink()
    with pytest.raises(Unavailable, match=r"acme\.socket"):
        rig.hook.read([suite.switch_port()])


def test_the_switch_driver_passes_the_suite(installed):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"),
            *("-c", tutorials.ROOT / "pyproject.toml", f"--rootdir={installed}", "test_acme.py"),
        ],
        cwd=installed,
        env={**os.environ, "PYTHONPATH": f"{installed}{os.pathsep}{tutorials.ROOT}"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert int(passed[1]) >= 14, done.stdout
    skipped = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert all("empty parameter set" in line for line in skipped)
