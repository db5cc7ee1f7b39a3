# SPDX-License-Identifier: Apache-2.0
"""``sriovctl agent``."""

import argparse

from cliff.show import ShowOne

from sriov_agent.cmd.ctl.base import sriovctl


class AgentShow(ShowOne):
    """Show what the agent is configured for and what it counted since it started.

    Example: sriovctl agent show -f json
    """

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], tuple[object, ...]]:
        conf = sriovctl(self).conf
        facts: dict[str, object] = {
            "host": conf.host,
            "source": conf.agent.source,
            "hook": conf.fabric.hook,
            "state_path": conf.agent.state_path,
            **dict(sorted(sriovctl(self).store().counters().items())),
        }
        return tuple(facts), tuple(facts.values())
