# SPDX-License-Identifier: Apache-2.0
"""Installs what a Neutron of our own needs: Debian packages by tools/lab, the rest with pip.

Neutron has a virtual environment of its own, since the agent shares no requirement with it.
"""

import fcntl
import subprocess
import sys
from pathlib import Path

from tools.openstack import broker, database, needs
from tools.openstack.needs import Unavailable

LAB = Path(__file__).resolve().parents[1] / "lab"


def say(sentence: str) -> None:
    print(f"openstack: {sentence}", flush=True)


def install_packages() -> None:
    """Installs what is missing of needs.PACKAGES; none of their services is started."""
    if not broker.missing() and not database.missing():
        return
    setup = [sys.executable, str(LAB), "setup", "--packages", "--also", *needs.PACKAGES]
    if subprocess.run(setup, check=False).returncode != 0:
        raise Unavailable(f"{' and '.join(needs.PACKAGES)} cannot be installed, as said above")


def install_environment() -> None:
    """Makes the virtual environment, unless it is there and complete."""
    needs.cache().mkdir(parents=True, exist_ok=True)
    with (needs.cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if needs.stamp().exists():
            return
        say(f"installing Neutron into {needs.environment()}")
        python = needs.environment() / "bin/python"
        run(sys.executable, "-m", "venv", "--clear", str(needs.environment()))
        pip = (str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check")
        run(*pip, "-r", str(needs.REQUIREMENTS))
        needs.stamp().touch()


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Unavailable(f"'{' '.join(command[1:4])}' failed ({reason}): see that pip works here")


def install() -> None:
    """Installs what is missing, and nothing else.

    :raises Unavailable: something cannot be installed
    """
    install_packages()
    install_environment()
    if reason := needs.missing():
        raise Unavailable(reason)
