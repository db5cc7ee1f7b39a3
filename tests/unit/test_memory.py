# SPDX-License-Identifier: Apache-2.0
"""What the agent does not load."""

import subprocess
import sys


def test_eventlet_loads_no_resolver():
    loads = (
        "import sys, sriov_agent.cmd.agent, sriov_agent.sources.ml2; print('dns' in sys.modules)"
    )
    command = [sys.executable, "-W", "ignore", "-c", loads]
    assert subprocess.check_output(command, text=True) == "False\n"
