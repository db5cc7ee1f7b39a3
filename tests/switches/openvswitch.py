# SPDX-License-Identifier: Apache-2.0
"""An Open vSwitch of our own in userspace, beside any other that runs here.

It has its own directory, database and sockets. Its ports are dummies that take frames from a
command and write those that leave to a file, so it can be seen what a VLAN's list lets through.
"""

import os
import shutil
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from sriov_agent.fabric.ranges import Range
from tests.switches.rig import ALL
from tools.openstack.processes import Server, free_ports, run

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
PROGRAMS = ("ovsdb-server", "ovs-vswitchd", "ovsdb-tool", "ovs-vsctl", "ovs-appctl")
BRIDGE = "br0"
#: where frames are put in; it carries every VLAN
UPLINK = "uplink"
#: until a frame has left that leaves, far above what it takes
FRAME_SECONDS = 3.0


def missing() -> str:
    """Why none can be started here; "" if one can."""
    lacking = [program for program in PROGRAMS if not shutil.which(program)]
    return f"not installed: {', '.join(lacking)} (openvswitch-switch)" if lacking else ""


class OpenVswitch:
    """A switch without ports but the uplink.

    :param directory: where everything of it lies
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "db.sock"
        (self.port,) = free_ports(1)
        self._control = directory / "vswitchd.ctl"
        # ovs-vsctl finds this one's sockets by OVS_RUNDIR, over ssh too.
        self.environment = {**os.environ, "OVS_RUNDIR": str(directory)}
        self._servers: dict[str, Server] = {}

    def start(self) -> None:
        run(self.environment, "ovsdb-tool", "create", self.directory / "conf.db", SCHEMA)
        self.start_database()
        self.vsctl("--no-wait", "init")
        self.start_vswitchd()
        self.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=dummy")
        self.add_port(UPLINK)

    def start_database(self) -> None:
        remotes = [f"--remote=punix:{self.socket}", f"--remote=ptcp:{self.port}:127.0.0.1"]
        database = self.directory / "conf.db"
        remotes += ["--remote=db:Open_vSwitch,Open_vSwitch,manager_options"]
        remotes += [
            f"--{option}=db:Open_vSwitch,SSL,{column}"
            for option, column in (
                ("private-key", "private_key"),
                ("certificate", "certificate"),
                ("ca-cert", "ca_cert"),
            )
        ]
        self._start("ovsdb-server", database, *remotes, f"--unixctl={self.directory}/ovsdb.ctl")
        self._servers["ovsdb-server"].wait_until(self.socket.exists)

    def start_vswitchd(self) -> None:
        options = ("--enable-dummy", "--disable-system", f"--unixctl={self._control}")
        self._start("ovs-vswitchd", f"unix:{self.socket}", *options)
        self._servers["ovs-vswitchd"].wait_until(self._control.exists)

    def listen_tls(self, files: Mapping[str, str]) -> int:
        """Have the database listen with TLS, too; the port.

        :param files: its ``ca_file``, ``cert_file`` and ``key_file``
        """
        self.vsctl("--no-wait", "set-ssl", files["key_file"], files["cert_file"], files["ca_file"])
        (port,) = free_ports(1)
        self.vsctl("--no-wait", "set-manager", f"pssl:{port}:127.0.0.1")
        return port

    def stop(self, program: str) -> None:
        if program in self._servers:
            self._servers.pop(program).end()

    def signal(self, program: str, number: int) -> None:
        os.kill(self._servers[program].pid, number)

    def close(self) -> None:
        self.stop("ovs-vswitchd")
        self.stop("ovsdb-server")

    def vsctl(self, *arguments: str) -> str:
        return run(self.environment, "ovs-vsctl", f"--db=unix:{self.socket}", *arguments).strip()

    def add_port(self, name: str, *settings: str) -> None:
        """Make a port; ``settings`` are those of its row, ``trunks=2``."""
        leaves = self.directory / f"{name.replace('/', '%')}.pcap"
        interface = ("set", "interface", name, "type=dummy", f"options:tx_pcap={leaves}")
        self.vsctl("add-port", BRIDGE, name, *settings, "--", *interface)

    def add_bond(self, name: str, members: list[str], *settings: str) -> None:
        interfaces = [
            word for member in members for word in ("--", "set", "interface", member, "type=dummy")
        ]
        self.vsctl("add-bond", BRIDGE, name, *members, *settings, *interfaces)

    def put(self, port: str, entries: Iterable[Range] | None) -> None:
        """Have the list be exactly this; ``None`` empties it, which opens it to all VLANs."""
        vlans = [str(vlan) for low, high in entries or () for vlan in range(low, high + 1)]
        self.vsctl("set", "port", port, f"trunks=[{','.join(vlans)}]")

    def get(self, port: str) -> frozenset[int]:
        listed = self.vsctl("get", "port", port, "trunks").strip("[]")
        return frozenset(int(vlan) for vlan in listed.split(",") if vlan) or ALL

    def passes(self, vlan: int, port: str) -> bool:
        """Whether a broadcast in the VLAN that enters at the uplink leaves the port.

        The first frame of a flow goes by a thread of its own, and may leave after the answer.
        """
        leaves = self.directory / f"{port.replace('/', '%')}.pcap"
        before = _frames(leaves.read_bytes(), vlan)
        addresses = "ffffffffffff" + "020000000001"
        frame = f"{addresses}8100{vlan:04x}0800" + "00" * 46
        self.appctl("netdev-dummy/receive", UPLINK, frame)
        deadline = time.monotonic() + FRAME_SECONDS
        while not (left := _frames(leaves.read_bytes(), vlan) > before):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return left

    def appctl(self, *arguments: str) -> str:
        return run(self.environment, "ovs-appctl", "-t", self._control, *arguments)

    def _start(self, program: str, *arguments: str | Path) -> None:
        output = self.directory / f"{program}.log"
        self._servers[program] = Server([program, *arguments], output, self.environment)


def _frames(capture: bytes, vlan: int) -> int:
    """How many frames of a pcap file have this tag."""
    found, at = 0, 24
    while at + 16 <= len(capture):
        (length,) = struct.unpack_from("=I", capture, at + 8)
        frame = capture[at + 16 : at + 16 + length]
        found += frame[12:16] == struct.pack("!HH", 0x8100, vlan)
        at += 16 + length
    return found
