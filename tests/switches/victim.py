# SPDX-License-Identifier: Apache-2.0
"""Device managers that are killed: each is run in a process of its own."""

import os
import signal

from sriov_agent.fabric.model import Change, Changes, Ports
from sriov_agent.fabric.switch.base import Login
from sriov_agent.fabric.switch.loader import load


def add(driver: str, login: Login, port: str) -> None:
    """Open VLAN 15 on the port."""
    load(driver, login).apply([port], lambda ports: {port: Change(add=frozenset({15}))})


def die_deciding(driver: str, login: Login, port: str) -> None:
    """Die in the middle of a transaction."""

    def decide(ports: Ports) -> Changes:
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    load(driver, login).apply([port], decide)
