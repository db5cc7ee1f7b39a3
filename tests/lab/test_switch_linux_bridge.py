# SPDX-License-Identifier: Apache-2.0
"""The contract suite of the switch drivers with ``linux-bridge``, on a bridge of the guest."""

from pathlib import Path

import pytest

from tests.contract.test_switches import *  # noqa: F403
from tests.switches.linux_bridge import LinuxBridgeRig

RIGS = {"linux-bridge": LinuxBridgeRig}

del test_an_access_port_is_no_trunk  # noqa: F821 - every port of a bridge can carry tags


@pytest.fixture(scope="module", autouse=True)
def unlocked():
    """The guest locks root's password, and sshd lets nobody in whose password is locked."""
    shadow = Path("/etc/shadow")
    shadow.write_text(shadow.read_text().replace("root:!:", "root:*:"))
