# SPDX-License-Identifier: Apache-2.0
"""A real etcd of our own, on loopback."""

import os
import shutil
import signal
import urllib.request

from sriov_agent.fabric.state import etcd
from sriov_agent.fabric.state.gateway import Gateway
from tools.openstack.processes import Server, free_ports


def missing():
    """Why none can be started here; "" if one can."""
    return "" if shutil.which("etcd") else "not installed: etcd"


def member(url, name="manager1", *, prefix, lock_ttl=4, **options):
    """A manager's view of what is kept in etcd, not started."""
    gateway = Gateway([url], **{"timeout": 2.0, **options})
    return etcd.Etcd(gateway, name, prefix=prefix, lock_ttl=lock_ttl)


class Etcd:
    """An etcd that can be stopped, paused and started again with what it kept.

    :param directory: where all of it lies
    :param options: more of etcd's own, such as those for TLS
    """

    def __init__(self, directory, scheme="http", options=()):
        self.directory = directory
        self._ports = free_ports(3)
        self._scheme = scheme
        self._options = options
        self._server = None

    @property
    def url(self):
        return f"{self._scheme}://127.0.0.1:{self._ports[0]}"

    @property
    def running(self):
        return self._server is not None

    def start(self):
        """Start it, and wait until it serves."""
        health, peers = (f"http://127.0.0.1:{port}" for port in self._ports[1:])
        command = [
            "etcd",
            *("--name", "etcd1", "--data-dir", self.directory / "data"),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"etcd1={peers}", "--listen-metrics-urls", health),
            *("--unsafe-no-fsync", "--logger", "zap", "--log-level", "warn"),
            *self._options,
        ]
        environment = {n: v for n, v in os.environ.items() if not n.startswith("ETCD")}
        self._server = Server(command, self.directory / "output", environment)
        self._server.wait_until(lambda: self._serves(f"{health}/health"))

    def stop(self):
        """End it, paused or not; what it kept is there when it starts again."""
        if self._server:
            self.resume()
            self._server.end()
        self._server = None

    def pause(self):
        """It keeps its connections, and answers nothing."""
        os.kill(self._server.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self._server.pid, signal.SIGCONT)

    @staticmethod
    def _serves(url):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return b"true" in answer.read()
        except OSError:
            return False
