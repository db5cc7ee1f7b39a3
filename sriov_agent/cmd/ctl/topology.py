# SPDX-License-Identifier: Apache-2.0
"""``sriovctl topology``."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from sriov_agent.cmd.ctl.base import sriovctl
from sriov_agent.cmd.ctl.command import Command
from sriov_agent.core.topology import Topology
from sriov_agent.draw.svg import svg
from sriov_agent.draw.text import dot, mermaid
from sriov_agent.exceptions import Unavailable
from sriov_agent.picture import picture

FORMATS: Mapping[str, Callable[[Topology], str]] = {
    "svg": svg,
    "mermaid": mermaid,
    "dot": dot,
    "json": lambda topology: json.dumps(topology.as_json(), indent=2) + "\n",
}


class TopologyShow(Command):
    """Draw the host, its PFs, VFs and ports, and the switch ports they hang on.

    As the running agent saw it last; it is drawn from the agent's record.

    Example: sriovctl topology -f svg --output host.svg
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "-f",
            "--format",
            choices=sorted(FORMATS),
            default="svg",
            help="language of the picture (default: %(default)s)",
        )
        parser.add_argument("--output", metavar="FILE", type=Path, help="default: standard output")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        app = sriovctl(self)
        drawn = FORMATS[parsed_args.format](picture(app.conf.host, app.store(), app.ports()))
        if parsed_args.output is None:
            app.stdout.write(drawn)
            return
        try:
            parsed_args.output.write_text(drawn, "utf-8")
        except OSError as error:
            raise Unavailable(f"--output: {error}") from error
