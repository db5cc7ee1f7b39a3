# SPDX-License-Identifier: Apache-2.0
"""What the lab needs of the machine, and where it is."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SETUP = f"run '{sys.executable} tools/lab setup'"

#: program -> the package that has it, on Debian and Ubuntu alike
PACKAGE_OF = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "udevadm": "udev",
    "file": "file",
    "zstd": "zstd",
    "ip": "iproute2",
    "ping": "iputils-ping",
    "tcpdump": "tcpdump",
    "lldpd": "lldpd",
    "lldpcli": "lldpd",
}


class Unavailable(Exception):
    """The lab cannot run on this machine; the message is a sentence that says what to do."""


@dataclass(frozen=True)
class Found:
    """What it takes to boot the guest.

    :ivar virtme_run: the program of virtme-ng that boots
    :ivar kernel: the kernel image, with its modules in ``../lib/modules``
    :ivar accelerator: ``kvm`` or ``tcg``
    """

    virtme_run: Path
    kernel: Path
    accelerator: str


def cache() -> Path:
    """The directory for unpacked kernels, shared by all clones of the repository."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sriov-agent-lab"


def search_path() -> str:
    """PATH, and where Debian keeps the system programs that are not on an ordinary user's."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def program(name: str) -> Path | None:
    path = shutil.which(name, os.F_OK, search_path())
    return Path(path) if path else None


def missing_packages() -> list[str]:
    """The packages of PACKAGE_OF that have a program that is not here, in its order."""
    return list(dict.fromkeys(pkg for name, pkg in PACKAGE_OF.items() if not program(name)))


def qemu_has_igb() -> bool:
    """Whether QEMU is here and emulates the 82576, as it does from 8.0 on."""
    qemu = program("qemu-system-x86_64")
    if qemu is None:
        return False
    shown = subprocess.run([qemu, "-device", "igb,help"], capture_output=True, check=False)
    return shown.returncode == 0


def kernel() -> Path | None:
    """The image of the kernel that was unpacked last."""
    images = cache().glob("kernel-*/boot/vmlinuz-*")
    return max(images, key=lambda image: image.parents[1].stat().st_mtime, default=None)


def virtme_run() -> Path | None:
    """virtme-ng's virtme-run, beside this interpreter first, then on PATH.

    ``vng`` itself is a wrapper that passes its arguments through a shell and takes defaults
    from the user's configuration.
    """
    beside = Path(sys.prefix) / "bin" / "virtme-run"
    return beside if beside.exists() else program("virtme-run")


def accelerator() -> str:
    """``kvm`` if it runs code here, else ``tcg``, as does SRIOV_LAB_ACCELERATOR=tcg.

    A /dev/kvm that is there, and even one that answers, may still run no ordinary guest: so
    QEMU starts a firmware of two instructions, `mov al, 21; out 0xf4, al`, that ends it.
    """
    if os.environ.get("SRIOV_LAB_ACCELERATOR") == "tcg" or not os.access(
        "/dev/kvm", os.R_OK | os.W_OK
    ):
        return "tcg"
    firmware = bytearray(b"\xf4" * 65536)
    firmware[0xFFF0:0xFFF4] = b"\xb0\x15\xe6\xf4"
    with tempfile.NamedTemporaryFile() as bios:
        bios.write(firmware)
        bios.flush()
        probe = "-nodefaults -display none -machine q35 -m 16 -accel kvm -cpu host,topoext=on"
        debug_exit = "-device isa-debug-exit,iobase=0xf4,iosize=1 -bios"
        try:
            ended = subprocess.run(
                ["qemu-system-x86_64", *probe.split(), *debug_exit.split(), bios.name],
                capture_output=True,
                timeout=5,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "tcg"
    return "kvm" if ended.returncode == 2 * 21 + 1 else "tcg"


def found() -> Found:
    """Everything that a boot takes.

    :raises Unavailable: something is missing
    """
    if platform.machine() != "x86_64":
        raise Unavailable(f"the lab runs on x86_64 machines only, and this is {platform.machine()}")
    missing = missing_packages()
    if "qemu-system-x86" not in missing and not qemu_has_igb():
        missing.insert(0, "a QEMU that emulates igb (8.0 or newer)")
    image, run = kernel(), virtme_run()
    if image is None:
        missing.append("a kernel")
    if run is None:
        missing.append("virtme-ng")
    if image is None or run is None or missing:
        raise Unavailable(f"the lab lacks {', '.join(missing)}: {SETUP}")
    for name in PACKAGE_OF:
        path = program(name)
        if path and not os.access(path, os.R_OK):
            raise Unavailable(
                f"you may not read {path}, so the guest cannot: join the group {path.group()}"
            )
    return Found(run, image, accelerator())
