# SPDX-License-Identifier: Apache-2.0
"""``sriovctl agent``."""

import argparse
import os
from pathlib import Path

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.base import sriovctl
from sriov_agent.cmd.ctl.command import ShowOne
from sriov_agent.host.machine import listener


class AgentShow(ShowOne):
    """Show whether the agent runs, what it is configured for and what it counted since its start.

    Example: sriovctl agent show -f json
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[object, ...]]:
        conf, counted = sriovctl(self).conf, sriovctl(self).store().counters()
        facts: dict[str, object] = {
            "host": conf.host,
            "running": _runs(options.socket_path(conf)),
            "source": conf.agent.source,
            "hook": conf.fabric.hook,
            "state_path": conf.agent.state_path,
            **dict(sorted(counted.items())),
        }
        return tuple(facts), tuple(facts.values())


def _runs(path: Path) -> bool | None:
    """Whether somebody listens on the agent's socket; ``None`` if this user may not know."""
    if path.exists() and not os.access(path, os.W_OK):
        return None
    return listener(path) is not None
