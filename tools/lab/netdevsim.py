# SPDX-License-Identifier: Apache-2.0
"""Builds netdevsim for the lab's kernel: a driver of no hardware that knows every VF setting.

igb has 7 VFs and neither link state nor guaranteed rate; netdevsim has all of it, and any number
of VFs, though no PCI devices. Debian leaves it out of its kernels. Run on Debian 12.
"""

import contextlib
import os
import re
import subprocess
import tempfile
from pathlib import Path

import needs
from needs import Unavailable
from packages import apt_get, output, release, say

DRIVER = "drivers/net/netdevsim"


def module(kernel: Path) -> Path:
    """Where the module is, or would be, for a kernel image of :func:`needs.kernel`."""
    version = kernel.name.removeprefix("vmlinuz-")
    return kernel.parents[1] / "lib/modules" / version / "extra/netdevsim.ko"


def build() -> None:
    """Builds the module for the lab's kernel from its own source, unless it is there.

    :raises Unavailable: there is no such source, or no compiler
    """
    kernel = needs.kernel()
    if kernel is None:
        raise Unavailable("the lab lacks a kernel: run 'tools/lab setup' first")
    built = module(kernel)
    if built.exists():
        return
    version = kernel.name.removeprefix("vmlinuz-")
    say(f"building netdevsim for {version}, from 160 MB of packages")
    with tempfile.TemporaryDirectory(dir=needs.cache(), prefix="new-") as name:
        directory = Path(name)
        made = _made(directory, version)
        built.parent.mkdir(exist_ok=True)
        made.rename(built)
    _run(str(needs.program("depmod")), "-b", str(kernel.parents[1]), version)


def _made(directory: Path, version: str) -> Path:
    root = directory / "root"
    with contextlib.chdir(directory):
        apt_get(*release(), "download", *_packages(version))
    for package in directory.glob("*.deb"):
        _run("dpkg", "-x", str(package), str(root))
    sources = root / "usr/src"
    [archive] = sources.glob("linux-source-*.tar.xz")
    _run("tar", "-C", str(directory), "-xf", str(archive), "--wildcards", f"*/{DRIVER}")
    [source] = directory.glob(f"linux-source-*/{DRIVER}")

    headers = sources / f"linux-headers-{version}"
    makefile = headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src/", f"{sources}/"))
    # With it, type information would be added, which takes another program.
    (headers / "vmlinux").unlink(missing_ok=True)
    jobs = f"-j{os.cpu_count() or 1}"
    _run("make", jobs, "-C", str(headers), f"M={source}", "CONFIG_NETDEVSIM=m", "modules")
    made = source / "netdevsim.ko"
    _run("strip", "--strip-debug", str(made))
    return made


def _packages(version: str) -> list[str]:
    """Headers and source of exactly this kernel, as apt names them.

    :raises Unavailable: apt knows them no more
    """
    headers = f"linux-headers-{version}"
    shown = output("apt-cache", "show", "--no-all-versions", headers)
    found = re.search(r"^Version: (\S+)", shown, re.M)
    needed = re.findall(r"linux-(?:headers|kbuild)-\d[^\s,]*", "".join(_depends(shown)))
    if not found or not needed:
        raise Unavailable(
            f"apt does not know {headers}: run 'apt-get update', or take a new kernel"
        )
    series = ".".join(version.split(".")[:2])
    return [headers, *sorted(set(needed)), f"linux-source-{series}={found[1]}"]


def _depends(shown: str) -> list[str]:
    return re.findall(r"^Depends: .*", shown, re.M)


def _run(*command: str) -> None:
    """:raises Unavailable: the program is not here, or fails"""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise Unavailable(
            f"netdevsim takes {command[0]}: install gcc, make and binutils"
        ) from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"netdevsim cannot be built, {command[0]} failed: {reason}")
