# SPDX-License-Identifier: Apache-2.0
"""A VPP to test with: a real one where ``SRIOV_TEST_VPP`` names its installation, and a fake.

``SRIOV_TEST_VPP`` is the directory that has ``bin/vpp``, ``bin/vppctl`` and, somewhere in ``lib``,
``vpp_plugins`` with ``vhost_plugin.so``: ``/usr`` with VPP's own packages.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from vpp_papi import VPPApiClient

ROOT = Path(__file__).parents[1]
START_SECONDS = 120


def installation():
    """Where the real one is installed; None if there is none to test with."""
    named = os.environ.get("SRIOV_TEST_VPP")
    return Path(named) if named else None


class Vpp:
    """One that is started and killed; ``directory`` holds its sockets."""

    def __init__(self, directory):
        self.directory = directory
        self.socket = str(directory / "api.sock")
        self._process = None

    def command(self):
        """What starts it."""
        raise NotImplementedError

    def start(self):
        """Start it, and wait until it serves."""
        with (self.directory / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [*map(str, self.command())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._serves():
            said = (self.directory / "output").read_text(errors="replace")
            assert self._process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    def kill(self):
        """End it as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def client(self):
        """Another client of its API, that does what it likes."""
        client = VPPApiClient(
            server_address=self.socket, bootstrapapi=True, async_thread=False, read_timeout=30
        )
        client.connect("somebody else")
        try:
            yield client.api
        finally:
            client.disconnect()

    def _serves(self):
        try:
            with self.client():
                return True
        except OSError:
            return False


class Fake(Vpp):
    """``tests/fakes/vpp``, in a process of its own."""

    def command(self):
        Path(self.socket).unlink(missing_ok=True)
        return [sys.executable, "-m", "tests.fakes.vpp", self.socket]


class Real(Vpp):
    """VPP itself: no NIC, no hugepages, and nothing outside of its directory."""

    def command(self):
        plugins = next(installation().glob("lib/**/vpp_plugins"))
        name = f"sriov-test-{os.getpid()}"
        enabled = " ".join(f"plugin {each}_plugin.so {{ enable }}" for each in ("vhost", "ping"))
        return [
            installation() / "bin/vpp",
            *("unix", "{", "nodaemon", "nosyslog", "poll-sleep-usec", "1000"),
            *("runtime-dir", self.directory, "cli-listen", self.directory / "cli.sock", "}"),
            *("socksvr", "{", "socket-name", self.socket, "}"),
            *("statseg", "{", "socket-name", self.directory / "stats.sock", "}"),
            *("api-segment", "{", "prefix", name, "}"),
            *("plugins", "{", "path", plugins, "plugin", "default", "{", "disable", "}"),
            *(enabled, "}"),
            *("buffers", "{", "buffers-per-numa", "8192", "page-size", "4K", "}"),
            *("memory", "{", "main-heap-size", "256M", "main-heap-page-size", "4K", "}"),
        ]

    def ctl(self, *words):
        """What ``vppctl`` says to this."""
        command = [installation() / "bin/vppctl", "-s", self.directory / "cli.sock", *words]
        return subprocess.run(
            [*map(str, command)], capture_output=True, text=True, check=True, timeout=60
        ).stdout
