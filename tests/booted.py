# SPDX-License-Identifier: Apache-2.0
"""A systemd that runs as PID 1, by systemd-nspawn, over this machine's files.

Those stay as they are: what is written in there is kept in memory, and goes with it. The project,
and the virtual environment that the tests run in, are below ``/opt``, where every user can read
them.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = ("sriov-agent", "sriov-device-manager", "sriovctl", "sriov-lldp-discover")
BOOT_SECONDS = 300

#: The overlay is mounted in a namespace that ends with it.
BOOT = """
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
cp -a "$2/." "$1/upper/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
shift 2
exec systemd-nspawn "$@"
"""

WRAPPER = """#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONPATH=/opt/source:/opt/environment/{packages}
exec /opt/python/bin/{python} {script} "$@"
"""


class Booted:
    """The machine that was booted; ``leader`` is the pid of its systemd as seen from outside."""

    def __init__(self, leader):
        self.leader = leader

    def run(self, *command, user="root", groups=(), status=0):
        """A command in there, as a user with these groups; its standard output.

        :param status: the exit status that it has to have
        """
        enter = ["nsenter", f"--target={self.leader}", *"--mount --uts --ipc --net --pid".split()]
        become = []
        if user != "root":
            become = ["setpriv", f"--reuid={user}", "--regid=nogroup"]
            become += [f"--groups={','.join(groups)}"] if groups else ["--clear-groups"]
        ended = subprocess.run(
            [*enter, "--", *become, *map(str, command)],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )
        assert ended.returncode == status, (ended.returncode, ended.stdout, ended.stderr)
        return ended.stdout if status == 0 else ended.stderr

    def install(self, page):
        """Do as a page of the documentation says where it installs what is below ``etc``."""
        blocks = re.findall(r"::\n\n((?: +\S.*\n)+)", (ROOT / "doc/source" / page).read_text())
        (commands,) = (block for block in blocks if "systemd-sysusers\n" in block)
        self.run("sh", "-euc", textwrap.dedent(commands))

    def python(self, code, **who):
        """A line of Python there, with the project at hand."""
        return self.run("project-python", "-c", code, **who)

    def wait(self, seen):
        """Until it is seen, which is a failure if it never is."""
        deadline = time.monotonic() + BOOT_SECONDS
        while not seen():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def property(self, unit, name):
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit):
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def start(self, unit):
        """Start a unit; what it said is part of the failure if it does not come up."""
        try:
            self.run("systemctl", "start", unit)
        except AssertionError as error:
            raise AssertionError(self.journal(unit)) from error
        assert self.property(unit, "ActiveState") == "active"

    def write(self, path, text, owner="root:root", mode="644"):
        """A file in there, and its directories."""
        script = (
            'mkdir -p "$(dirname "$1")"; printf %s "$2" >"$1"; chown "$3" "$1"; chmod "$4" "$1"'
        )
        self.run("sh", "-euc", script, "sh", path, text, owner, mode)


def missing():
    """Why there can be no such machine here, "" if there can."""
    if os.geteuid() != 0:
        return "systemd-nspawn is for root"
    if not shutil.which("systemd-nspawn"):
        return "there is no systemd-nspawn: install systemd-container"
    return ""


@contextlib.contextmanager
def booted(directory, *options):
    """Boots it.

    :param directory: an empty one, for its files
    :param options: of systemd-nspawn, such as binds
    """
    if why := missing():
        pytest.skip(why)
    seed, memory = directory / "seed", directory / "memory"
    for path in (seed, memory):
        path.mkdir()
    _seed(seed)
    command = [
        *("unshare", "--mount", "sh", "-c", BOOT, "sh", memory, seed),
        *(f"--directory={memory}/root", "--register=no", "--keep-unit", "--quiet"),
        *("--link-journal=no", "--resolv-conf=off", "--timezone=off", "--hostname=compute1"),
        f"--bind-ro={sys.base_prefix}:/opt/python",
        f"--bind-ro={sys.prefix}:/opt/environment",
        f"--bind-ro={ROOT / 'sriov_agent'}:/opt/source/sriov_agent",
        f"--bind-ro={ROOT / 'etc'}:/opt/sriov-agent/etc",
        *options,
        *("--boot", "systemd.unit=basic.target", "systemd.log_target=journal"),
        "systemd.mask=timers.target",  # this machine's: apt would look for updates
    ]
    log = directory / "console.log"
    with log.open("wb") as console:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console
        )
    try:
        yield Booted(_leader(process, log))
    finally:
        process.terminate()
        process.wait(BOOT_SECONDS)


def _seed(seed):
    """The programs; the rest is installed in there."""
    programs = seed / "usr/local/bin"
    programs.mkdir(parents=True)
    packages = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    python = Path(sys.executable).resolve().name
    for name in (*PROGRAMS, "project-python"):
        script = f"/opt/environment/bin/{name}" if name in PROGRAMS else ""
        text = WRAPPER.format(packages=packages, python=python, script=script)
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)


def _leader(process, log):
    deadline = time.monotonic() + BOOT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        for child in _children(process.pid):
            with contextlib.suppress(OSError, AssertionError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    Booted(child).run("systemctl", "is-system-running", "--wait", status=0)
                    return child
        time.sleep(0.2)
    process.terminate()
    pytest.fail(f"systemd did not come up: {log.read_text(errors='replace')}")


def _children(pid):
    with contextlib.suppress(OSError):
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    return []
