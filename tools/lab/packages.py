# SPDX-License-Identifier: Apache-2.0
"""Installs what the lab needs from the distribution's packages, and virtme-ng with pip.

Run on Debian 12. Debian 13, whose own QEMU has igb, and Ubuntu 24.04, whose kernel is spread over
more packages, were not run.
"""

import contextlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import apt_sources
import needs
from needs import Unavailable

APT = Path("/etc/apt")
BACKPORTS_SOURCE = APT / "sources.list.d" / "sriov-agent-lab-backports.sources"
#: releases whose own QEMU is older than 8.0, while their backports have a newer one
NEED_BACKPORTS = ("bookworm",)

POLICY = Path("/usr/sbin/policy-rc.d")
DENY_EVERY_START = "#!/bin/sh\nexit 101\n"

REQUIREMENTS = Path(__file__).resolve().parent / "requirements.txt"
KERNEL_PART = re.compile(r"linux-(?:image|modules|modules-extra|binary)-\d\S*")


def say(sentence: str) -> None:
    print(f"lab: {sentence}", flush=True)


def output(*command: str) -> str:
    """What a command writes to stdout, whatever its exit status."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def installed() -> set[str]:
    shown = output("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n")
    return {line.split()[1] for line in shown.splitlines() if line.startswith("installed ")}


def release() -> list[str]:
    """apt's options that choose the release to take QEMU and the kernel from.

    As a side effect on a release of NEED_BACKPORTS, for root: makes its backports known to apt.
    """
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    if codename not in NEED_BACKPORTS:
        return []
    suite = f"{codename}-backports"
    files = [APT / "sources.list", *(APT / "sources.list.d").glob("*")]
    known = apt_sources.sources(
        {path.name: path.read_text(errors="replace") for path in files if path.is_file()}
    )
    if suite not in apt_sources.suites(known):
        source = apt_sources.backports(known, codename)
        if source is None:
            raise Unavailable(
                f"the lab needs {suite}: add it to apt's sources, then run this again"
            )
        if os.geteuid() != 0:
            return []
        BACKPORTS_SOURCE.write_text(source)
        say(f"{suite} is now a source of packages, in {BACKPORTS_SOURCE}")
    return ["-o", f"APT::Default-Release={suite}"]


def apt_get(*arguments: str) -> None:
    """Runs apt-get; if that fails, updates the package lists and tries once more.

    :raises Unavailable: it failed again
    """
    options = ["-qq", "-o", "DPkg::Lock::Timeout=120", "-o", "APT::Sandbox::User=root"]
    command = ["apt-get", *options, *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for update in (True, False):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if update and os.geteuid() == 0:
            subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)
    reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    raise Unavailable(
        f"'{shlex.join(command)}' failed ({reason}): see that apt works here, then run this again"
    )


@contextlib.contextmanager
def services_kept_down() -> Iterator[None]:
    """While this lasts, no package starts its services; afterwards, the new ones stay disabled."""
    before = installed()
    try:
        descriptor = os.open(POLICY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        descriptor = -1
    try:
        if descriptor >= 0:
            with os.fdopen(descriptor, "w") as policy:
                policy.write(DENY_EVERY_START)
        yield
    finally:
        if descriptor >= 0:
            POLICY.unlink()
        disable_units_of(installed() - before)


def disable_units_of(packages: set[str]) -> None:
    if not packages or not shutil.which("systemctl"):
        return
    files = output("dpkg-query", "-L", *sorted(packages))
    units = re.findall(r"/lib/systemd/system/([^/@\s]+\.(?:service|socket|timer))$", files, re.M)
    if units:
        subprocess.run(
            ["systemctl", "disable", *sorted(set(units))], capture_output=True, check=False
        )


def install_packages(also: Sequence[str]) -> None:
    """Installs what is missing of needs.PACKAGE_OF and of ``also``."""
    missing = needs.missing_packages()
    here = installed() if also else set()
    missing += [package for package in also if package not in here and package not in missing]
    if "qemu-system-x86" not in missing and not needs.qemu_has_igb():
        missing.append("qemu-system-x86")
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Unavailable(
            f"the lab lacks {', '.join(missing)} and finds no apt-get: install them by hand"
        )
    if os.geteuid() != 0:
        extra = f" --also {shlex.join(also)}" if also else ""
        raise Unavailable(
            f"the lab lacks {', '.join(missing)}: "
            f"run 'sudo {sys.executable} tools/lab setup --packages{extra}', then this again"
        )
    say(f"installing {' '.join(missing)}")
    with services_kept_down():
        install = ("install", "-y", "--no-install-recommends")
        if "qemu-system-x86" in missing:
            missing.remove("qemu-system-x86")
            apt_get(*release(), *install, "qemu-system-x86")
        if missing:
            apt_get(*install, *missing)
    if not needs.qemu_has_igb():
        raise Unavailable(
            "the QEMU of this release lacks igb: use Debian 12, Ubuntu 24.04 or newer"
        )


def kernel_packages(chosen: Sequence[str]) -> list[str]:
    """The packages with the image and the modules of the distribution's kernel.

    :raises Unavailable: apt knows none
    """
    ubuntu = platform.freedesktop_os_release().get("ID") == "ubuntu"
    found: list[str] = []
    names = ["linux-image-generic" if ubuntu else "linux-image-amd64"]
    while names:
        shown = output("apt-cache", *chosen, "show", "--no-all-versions", names.pop())
        depends = re.findall(r"^(?:Pre-)?Depends: (.*)", shown, re.M)
        new = set(KERNEL_PART.findall(" ".join(depends))) - set(found)
        names += sorted(new)
        found += sorted(new)
    if not found:
        raise Unavailable("apt knows no kernel: run 'apt-get update' as root, then this again")
    return found


def unpack_kernel() -> None:
    """Downloads the distribution's kernel and unpacks it into the cache."""
    chosen = release()
    try:
        packages = kernel_packages(chosen)
    except Unavailable:
        if os.geteuid() != 0:
            raise
        subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)
        packages = kernel_packages(chosen)
    say(f"unpacking {' '.join(packages)} into {needs.cache()}")
    needs.cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=needs.cache(), prefix="new-") as directory:
        with contextlib.chdir(directory):
            apt_get(*chosen, "download", *packages)
        root = Path(directory) / "root"
        for package in Path(directory).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, root], check=True)
        image = next(root.glob("boot/vmlinuz-*"))
        version = image.name.removeprefix("vmlinuz-")
        depmod = str(needs.program("depmod"))
        subprocess.run([depmod, "-b", root, version], check=True)
        with contextlib.suppress(FileExistsError, OSError):  # another setup was faster
            root.rename(needs.cache() / f"kernel-{version}")


def install_virtme() -> None:
    if sys.prefix == sys.base_prefix:
        raise Unavailable(
            "the lab lacks virtme-ng: run 'make venv', then this with .venv/bin/python"
        )
    say("installing virtme-ng")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "-r", REQUIREMENTS], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"pip cannot install virtme-ng ({reason}): see that pip works here")


def install(also: Sequence[str], *, packages_only: bool) -> None:
    """Installs what is missing, and nothing else.

    :param also: packages to install besides
    :param packages_only: leave out the kernel and virtme-ng, which belong to a user
    :raises Unavailable: something cannot be installed
    """
    install_packages(also)
    if packages_only:
        return
    if needs.kernel() is None:
        unpack_kernel()
    if needs.virtme_run() is None:
        install_virtme()
    needs.found()
