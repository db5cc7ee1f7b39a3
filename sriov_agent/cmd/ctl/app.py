# SPDX-License-Identifier: Apache-2.0
"""``sriovctl``: the operator's command line."""

import argparse
import logging
import sys
from importlib.metadata import distribution, version

from cliff.app import App
from cliff.commandmanager import CommandManager
from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.base import pfs_of
from sriov_agent.cmd.ctl.terminal import Sentences
from sriov_agent.core.model import Pf
from sriov_agent.exceptions import ConfigError
from sriov_agent.sources.ports import Ports
from sriov_agent.sources.taps import TapRegistry
from sriov_agent.sources.vlans import Registry
from sriov_agent.store import Store


class Commands(CommandManager):
    """Commands by their entry points, each loaded when it is asked for.

    cliff's own loads all of them before any runs.
    """

    def load_commands(self, namespace: str) -> None:
        self.group_list.append(namespace)
        for found in distribution("sriov-agent").entry_points.select(group=namespace):
            self.commands[found.name.replace("_", " ")] = found


class Sriovctl(App):
    """Ports, VFs and PFs of this host."""

    def __init__(self) -> None:
        super().__init__(
            description="SR-IOV ports, VFs and PFs of this host. Example: sriovctl port list -h",
            version=version("sriov-agent"),
            command_manager=Commands("sriovctl.commands"),
            deferred_help=True,
        )
        self.conf = options.register(cfg.ConfigOpts())

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, object] | None = None,
    ) -> argparse.ArgumentParser:
        parser = super().build_option_parser(description, version, argparse_kwargs)
        parser.add_argument(
            "--config-file",
            metavar="FILE",
            action="append",
            default=[],
            help="the agent's configuration; default: where the agent looks for it",
        )
        return parser

    def configure_logging(self) -> None:
        super().configure_logging()
        root, level = logging.getLogger(), logging.DEBUG
        for handler in root.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is self.stderr:
                handler.setFormatter(Sentences(self.stderr))
                if self.options.verbose_level <= self.DEFAULT_VERBOSE_LEVEL:
                    # Libraries tell of what they load.
                    handler.setLevel(logging.WARNING)
                level = handler.level
        if not self.options.log_file:
            # What nobody reads costs more than what is done.
            root.setLevel(level)

    def initialize_app(self, argv: list[str]) -> None:
        """Read the agent's configuration before a command runs."""
        files = [f"--config-file={file}" for file in self.options.config_file]
        try:
            self.conf(files, project="sriov-agent")
        except cfg.Error as error:
            raise ConfigError(str(error)) from error
        except (OSError, ValueError) as error:
            named = ", ".join(self.options.config_file) or "configuration"
            raise ConfigError(f"{named}: {error}") from error

    def pfs(self) -> tuple[dict[str, Pf], dict[str, str]]:
        """The configured PFs as they are now; see :func:`~sriov_agent.cmd.ctl.base.pfs_of`."""
        return pfs_of(self.conf)

    def ports(self) -> Ports:
        """The table of ports."""
        return Ports(options.ports_path(self.conf))

    def registry(self) -> Registry:
        """What is decided about VLANs, where ports are the operator's."""
        return Registry(self.ports())

    def taps(self) -> TapRegistry:
        """What is decided about host taps and mirrors."""
        return TapRegistry(self.ports())

    def store(self) -> Store:
        """The agent's own record."""
        return Store(options.store_path(self.conf))


def main(argv: list[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked, 1 when not, 2 for a usage error."""
    return int(Sriovctl().run(sys.argv[1:] if argv is None else argv))
