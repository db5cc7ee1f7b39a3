# SPDX-License-Identifier: Apache-2.0
"""What a host says of itself beside its NICs: IOMMU, modules, processes, what makes VFs at boot."""

import contextlib
import ctypes
import os
import re
import socket
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

from sriov_agent.core.doctor import Process

#: Where a host may be told to make VFs, and what says that a file there is about that.
_WRITERS = (
    *("etc/udev/rules.d/*.rules", "run/udev/rules.d/*.rules", "etc/systemd/network/*.link"),
    *("etc/systemd/network/*.link.d/*.conf", "etc/systemd/system/*.service", "etc/tmpfiles.d/*"),
    *("etc/netplan/*.yaml", "etc/NetworkManager/system-connections/*", "etc/modprobe.d/*.conf"),
    *("etc/network/interfaces", "etc/network/interfaces.d/*", "etc/rc.local", "etc/sysfs.conf"),
    *("etc/sysfs.d/*.conf", "etc/sysconfig/network-scripts/ifcfg-*"),
)
_MAKES_VFS = re.compile(
    r"sriov_numvfs|SR-IOVVirtualFunctions|virtual-function-count|max_vfs|total-vfs|SRIOV_TOTAL_VFS"
)
_SOCKETS = ("run/libvirt/libvirt-sock", "run/libvirt/virtqemud-sock")
_PEER = struct.Struct("=iII")
_TIMEOUT_SECONDS = 10.0
#: ``NTP_PHASE_LIMIT`` of the kernel.
_NTP_LIMIT_MICROSECONDS = 16_000_000


class Machine:
    """Reads below ``root``; what is not there is empty."""

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        self.root = Path(root)

    def iommu_groups(self) -> int:
        """How many IOMMU groups there are."""
        return sum(1 for _ in (self.root / "sys/kernel/iommu_groups").glob("*"))

    def command_line(self) -> str:
        """The kernel's."""
        return _text(self.root / "proc/cmdline")

    def cpu_vendor(self) -> str:
        """Such as ``GenuineIntel``."""
        found = re.search(r"^vendor_id\s*:\s*(\S+)", _text(self.root / "proc/cpuinfo"), re.M)
        return found[1] if found else ""

    def vf_writers(self) -> dict[str, str]:
        """The text of files that make VFs at boot, by path."""
        paths = (path for pattern in _WRITERS for path in sorted(self.root.glob(pattern)))
        texts = {f"/{path.relative_to(self.root)}": _text(path) for path in paths}
        return {path: text for path, text in texts.items() if _MAKES_VFS.search(_told(text))}

    def vfio(self) -> bool:
        """Whether the driver vfio-pci is there."""
        return (self.root / "sys/bus/pci/drivers/vfio-pci").is_dir()

    def libvirt(self) -> str:
        """The socket on which libvirt listens, "" for none; one that was left behind is none."""
        listening = (path for path in _SOCKETS if listener(self.root / path) is not None)
        return next((f"/{path}" for path in listening), "")

    def processes(self, program: str) -> Iterator[int]:
        """The pids of processes whose program, or the script that it runs, has this name."""
        for path in sorted((self.root / "proc").glob("[0-9]*/cmdline")):
            words = _text(path).split("\0")[:2]
            if any(Path(word).name == program for word in words):
                yield int(path.parent.name)

    def process(self, pid: int) -> Process | None:
        """A process by its pid, ``None`` if there is none."""
        status = _text(self.root / f"proc/{pid}/status")
        user = re.search(r"^Uid:\s+\d+\s+(\d+)", status, re.M)
        capabilities = re.search(r"^CapEff:\s+([0-9a-f]+)", status, re.M)
        if not user or not capabilities:
            return None
        return Process(pid=pid, user=int(user[1]), capabilities=int(capabilities[1], 16))


def listener(path: Path) -> int | None:
    """The pid of the process that listens on a Unix socket; ``None`` if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        except OSError:
            return None
    return int(_PEER.unpack(peer)[0])


class _NtpTime(ctypes.Structure):
    """``struct ntptimeval``: the time, and by how much it may be off, in microseconds."""

    _fields_ = (
        ("seconds", ctypes.c_long),
        ("microseconds", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("tai", ctypes.c_long),
        ("reserved", ctypes.c_long * 4),
    )


def synchronized() -> bool | None:
    """Whether the kernel says that its clock is synchronized; ``None`` where it cannot be asked.

    As systemd judges it: the kernel's bound of the error, which whoever synchronizes the clock
    keeps low, is below 16 s. Source: ``ntp_gettime(3)``, ``timex_is_synchronized``.
    """
    now = _NtpTime()
    try:
        failed = ctypes.CDLL(None).ntp_gettime(ctypes.byref(now)) < 0
    except (OSError, AttributeError):
        return None
    return None if failed else now.maxerror < _NTP_LIMIT_MICROSECONDS


def skew(url: str) -> float | None:
    """Seconds by which this host's clock is ahead of an HTTP server's; ``None`` if it says none.

    The server's time is whole seconds (``Date``, RFC 9110 6.6.1), and is taken for their middle.
    """
    if not url.startswith(("http://", "https://")):
        return None
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310
            said = answer.headers.get("Date")
    except urllib.error.HTTPError as error:
        said = error.headers.get("Date")
    except (OSError, ValueError):
        return None
    with contextlib.suppress(TypeError, ValueError):
        return time.time() - parsedate_to_datetime(said).timestamp() - 0.5
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _told(text: str) -> str:
    """Without the lines that are comments."""
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
