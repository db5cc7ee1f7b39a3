# SPDX-License-Identifier: Apache-2.0
"""A systemd over this machine's files, in namespaces: what is written vanishes with it.

Nothing but it and what it is told to start runs in there.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
START_SECONDS = 300
RUN_SECONDS = 1800
#: what a run leaves that says nothing: caches, and what sudo and useradd keep
UNTOLD = ("__pycache__", ".pyc", "/.cache", "/var/lib/sudo", "/var/log", "/var/cache")


def missing():
    """Why there can be none here, or None."""
    if os.geteuid():
        return "only root can make the namespaces"
    absent = [name for name in ("unshare", "nsenter", "sudo") if not shutil.which(name)]
    if not Path("/lib/systemd/systemd").exists():
        absent.append("systemd")
    return f"{', '.join(absent)} is not installed" if absent else None


class Box:
    """Runs from the time it is made until :meth:`close`.

    :param directory: an existing empty one
    :param kept: paths in /run that are the machine's in it, too
    :param network: whether it has the machine's network, or no other than a loopback of its own
    """

    def __init__(self, directory, kept=(), network=False):
        self.upper = directory / "upper"
        namespaces = ["--pid", "--mount", "--cgroup", "--ipc", "--uts"]
        if not network:
            namespaces.append("--net")
        python = Path(sys.executable).resolve().parent
        # Its first process ends with unshare, and every other with that.
        become = ["unshare", *namespaces, "--fork", "--kill-child"]
        self._unshare = subprocess.Popen(
            [*become, "bash", HERE / "box.sh", directory, ROOT, python, *kept],
            stdout=subprocess.DEVNULL,
            stderr=(log := (directory.parent / "box.log").open("w")),
        )
        log.close()
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._pid = children.read_text().strip()
            if self._pid and self.run("systemctl", "is-system-running").stdout == "running\n":
                break
            if self._unshare.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError((directory.parent / "box.log").read_text() or "no systemd")
            time.sleep(0.1)
        self.do("ip", "link", "set", "lo", "up")

    def run(self, *command, user="root", env=None):
        """What became of the command, run in there."""
        environment = [f"{name}={value}" for name, value in (env or {}).items()]
        enter = ["nsenter", "--target", self._pid, "--all", "--root", "--wd"]
        if user == "stack":
            enter += ["setpriv", "--reuid=stack", "--regid=stack", "--init-groups"]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        home = "HOME=/root" if user == "root" else "HOME=/opt/stack"
        return subprocess.run(
            [*enter, "env", "-i", path, home, *environment, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def do(self, *command, **given):
        """Its standard output.

        :raises AssertionError: it failed
        """
        done = self.run(*command, **given)
        assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done.stdout

    def read(self, path):
        return self.do("cat", str(path))

    def written(self):
        """Every file and directory that differs from the machine's, by its path."""
        seen = ["nsenter", "--target", self._pid, "--mount", "find", self.upper, "-mindepth", "1"]
        done = subprocess.run(seen, capture_output=True, text=True, check=True)
        paths = {line.removeprefix(str(self.upper)) for line in done.stdout.splitlines()}
        return {path for path in paths if not any(part in path for part in UNTOLD)}

    def close(self):
        """End all that runs in it."""
        self._unshare.kill()
        self._unshare.wait()
