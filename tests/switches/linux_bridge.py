# SPDX-License-Identifier: Apache-2.0
"""The rig of the driver ``linux-bridge``: a bridge of the kernel in a network namespace."""

import contextlib
import fcntl
import json
import os
import subprocess

from sriov_agent.fabric.switch.base import Login
from tests.switches import sshd
from tests.switches.rig import ALL, HELD, Rig
from tests.switches.shell import FAULTS, Shell
from tools.openstack.processes import run

BRIDGE = "br0"


class LinuxBridgeRig(Rig):
    """Its ``bridge`` and ``ip`` are the real ones, in the namespace."""

    driver = "linux-bridge"
    faults = FAULTS | {HELD}
    lag = ("swp4", "bond0")
    has_ranges = True
    trunks = ("swp1", "swp2")

    def __init__(self, directory):
        super().__init__(directory)
        self.netns = f"switch-{os.getpid()}"
        self.lock_file = directory / "lock"
        self.shell = Shell(directory / "shell")
        self.shell.add("bridge", "-netns", self.netns, writes="*-batch*")
        self.shell.add("ip", "-netns", self.netns)

    @classmethod
    def missing(cls):
        probe = f"switch-probe-{os.getpid()}"
        try:
            run(os.environ, "ip", "netns", "add", probe)
            run(os.environ, "ip", "-n", probe, "link", "add", BRIDGE, "type", "bridge")
        except (OSError, RuntimeError) as error:
            return f"no bridge can be made here: {error}"
        finally:
            subprocess.run(["ip", "netns", "delete", probe], capture_output=True, check=False)
        return sshd.missing()

    def start(self):
        run(os.environ, "ip", "netns", "add", self.netns)
        self.ip(f"link add {BRIDGE} type bridge vlan_filtering 1 vlan_default_pvid 0")
        self.ip("link add bond0 type bond")
        for port in (*self.trunks, "swp3", "swp4"):
            self.ip(f"link add {port} type dummy")
        self.ip("link set swp4 master bond0")
        for port in (*self.trunks, "bond0"):
            self.ip(f"link set {port} master {BRIDGE}")
        self.shell.start()

    def close(self):
        self.shell.close()
        subprocess.run(["ip", "netns", "delete", self.netns], capture_output=True, check=False)

    def login(self):
        return Login(
            name="leaf1",
            address="127.0.0.1",
            port=self.shell.sshd.port,
            username=self.shell.sshd.username,
            key_file=self.shell.sshd.key_file,
            host_key=self.shell.sshd.host_key,
            timeout=60.0,
            options={"lock_file": str(self.lock_file)},
        )

    def put(self, port, entries):
        self.ip(f"link set {BRIDGE} type bridge vlan_filtering {int(entries is not None)}")
        if entries is not None:
            self.bridge(f"vlan del dev {port} vid 1-4094")
            for low, high in entries:
                self.bridge(f"vlan add dev {port} vid {low if low == high else f'{low}-{high}'}")

    def get(self, port):
        (bridge,) = json.loads(self.ip(f"-json -details link show dev {BRIDGE}"))
        if not bridge["linkinfo"]["info_data"]["vlan_filtering"]:
            return ALL
        shown = json.loads(self.bridge(f"-json vlan show dev {port}"))
        return frozenset(entry["vlan"] for row in shown for entry in row["vlans"])

    def writes(self):
        return self.shell.calls().count("write")

    @contextlib.contextmanager
    def fault(self, name):
        if name != HELD:
            with self.shell.fault(name):
                yield
            return
        with self.lock_file.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def ip(self, arguments):
        return run(os.environ, "ip", "-n", self.netns, *arguments.split())

    def bridge(self, arguments):
        return run(os.environ, "bridge", "-n", self.netns, *arguments.split())
