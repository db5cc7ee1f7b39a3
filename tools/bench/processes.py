# SPDX-License-Identifier: Apache-2.0
"""The two agents as processes in the guest, and what they take: read from /proc."""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

#: set for an agent, and so for whatever it starts
MARK = "SRIOV_BENCH_AGENT"
STOP_SECONDS = 20.0
#: of the network of all ports
PHYSICAL_NETWORK = "physnet2"
VLAN = 15
ESTABLISHED = "01"
TICKS = os.sysconf("SC_CLK_TCK")


class Agent:
    """One of the agents, which is started and stopped more than once.

    :ivar name: its host's name in Neutron
    :param log: the file with what it writes
    :param settled: whether what it wrote since its start shows that it has seen every VF once
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        log: Path,
        settled: Callable[[str], bool],
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self._settled = settled
        self._environment = {**os.environ, **environment, MARK: name}
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0

    def start(self) -> float:
        """Start it; when that was, in seconds of ``time.perf_counter``."""
        with self.log.open("ab") as log:
            self._from = log.tell()
            started = time.perf_counter()
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        return started

    def stop(self) -> None:
        """End it as init would, and then whatever is left of it; nothing if it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def wait_settled(self, timeout: float) -> None:
        """Wait until it has seen every VF once.

        :raises TimeoutError: it has not
        """
        deadline = time.monotonic() + timeout
        while not self._settled(self.written()):
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError(f"{self.name} ended:\n{self.written()[-2000:]}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} saw not every VF in {timeout:g} s")
            time.sleep(0.5)

    def written(self) -> str:
        """What it wrote since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._from)
            return log.read().decode("utf-8", "replace")

    def pids(self) -> list[int]:
        """Its processes: those that it started too, and those that have left it since.

        The old agent writes its title over its environment, and its helper leaves its session.
        """
        mark = f"{MARK}={self.name}".encode()
        found = []
        for directory in _numbers(Path("/proc")):
            with contextlib.suppress(OSError):
                session = int(_stat(directory)[3])
                marked = mark in (directory / "environ").read_bytes().split(b"\0")
                if marked or (self._process and session == self._process.pid):
                    found.append(int(directory.name))
        return found

    def cpu(self) -> float:
        """Seconds of CPU that its processes and their ended children have used."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                ticks += sum(map(int, _stat(Path(f"/proc/{pid}"))[11:15]))
        return ticks / TICKS

    def rss(self) -> dict[str, int]:
        """Resident memory in KiB by process."""
        found = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                # A title is one word of it, with blanks.
                command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").split()
                names = [Path(word).name for word in command if not word.startswith("-")]
                name = names[1] if names[0].startswith("python") and names[1:] else names[0]
                if match := re.search(r"VmRSS:\s+(\d+)", status):
                    found[f"{name} {pid}"] = int(match[1])
        return found

    def connections(self, port: int) -> int:
        """Established TCP connections to this port."""
        inodes = set()
        for pid in self.pids():
            for file in _numbers(Path(f"/proc/{pid}/fd")):
                with contextlib.suppress(OSError):
                    inodes.add(file.readlink().name.removeprefix("socket:[").removesuffix("]"))
        found = 0
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                to_it = int(fields[2].rpartition(":")[2], 16) == port
                found += to_it and fields[3] == ESTABLISHED and fields[9] in inodes
        return found


def _stat(process: Path) -> list[str]:
    """What ``stat`` in /proc has after the command's name."""
    return (process / "stat").read_text().rpartition(")")[2].split()


def _numbers(directory: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (entry for entry in directory.iterdir() if entry.name.isdigit())


def ours(
    executable: Path, directory: Path, log: Path, netdevs: Sequence[str], neutron_conf: str
) -> Agent:
    """This project's agent, with what it does by default, and nothing done on switches."""
    directory.mkdir(parents=True, exist_ok=True)
    conf = directory / "sriov-agent.conf"
    conf.write_text(
        "[DEFAULT]\nhost = ours\n"
        f"[agent]\nstate_path = {directory}\nsource = ml2\n"
        f"[sriov_nic]\nphysical_device_mappings = {_mappings(netdevs)}\n"
        "[fabric]\nhook = noop\n"
    )
    command = (executable, f"--config-file={neutron_conf}", f"--config-file={conf}")
    return Agent("ours", command, {}, log, lambda written: "sriov-agent for host" in written)


def peer(
    environment: Path, directory: Path, log: Path, netdevs: Sequence[str], neutron_conf: str
) -> Agent:
    """neutron-sriov-nic-agent of the virtual environment that Neutron runs from."""
    directory.mkdir(parents=True, exist_ok=True)
    conf = directory / "sriov_agent.ini"
    # Everything is root here; its second process is started by the same means as by sudo.
    conf.write_text(
        "[DEFAULT]\nhost = peer\n"
        "[agent]\nextensions = qos\nroot_helper = env\n"
        f"[sriov_nic]\nphysical_device_mappings = {_mappings(netdevs)}\n"
        "[securitygroup]\nfirewall_driver = noop\n"
    )
    vfs = 7 * len(netdevs)

    def settled(written: str) -> bool:
        return sum(map(written.count, ("not defined on plugin", "updated. Details"))) >= vfs

    command = (
        environment / "bin/neutron-sriov-nic-agent",
        f"--config-file={neutron_conf}",
        f"--config-file={conf}",
    )
    path = f"{environment / 'bin'}:{os.environ['PATH']}"
    return Agent("peer", command, {"PATH": path}, log, settled)


def _mappings(netdevs: Sequence[str]) -> str:
    return ",".join(f"{PHYSICAL_NETWORK}:{netdev}" for netdev in netdevs)
