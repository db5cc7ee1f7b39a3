# SPDX-License-Identifier: Apache-2.0
"""``sriovctl switch`` and, on a controller, ``sriovctl fabric``: sriov-device-manager's side.

What is shown is the running manager's; switches are tested without it.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from oslo_config import cfg

from sriov_agent.cmd.ctl.base import clean, coloured, doing, sriovctl
from sriov_agent.cmd.ctl.command import Command, Lister
from sriov_agent.cmd.ctl.terminal import escaped
from sriov_agent.conf import device_manager as options
from sriov_agent.control import ask
from sriov_agent.core.signature import host_key
from sriov_agent.exceptions import ConfigError, Refused, SriovAgentError
from sriov_agent.fabric import parts
from sriov_agent.fabric.ranges import text

Row = tuple[object, ...]

_PEER = "sriov-device-manager"

#: A manager may have to wait for each switch in turn.
_PATIENCE_SECONDS = 300.0


def configuration(command: Command) -> cfg.ConfigOpts:
    """The device manager's configuration.

    :raises ConfigError: if it cannot be read
    """
    conf = options.register(cfg.ConfigOpts())
    files = sriovctl(command).options.config_file
    try:
        conf(
            [f"--config-file={file}" for file in files],
            project="sriov-agent",
            prog="sriov-device-manager",
        )
    except (cfg.Error, OSError, ValueError) as error:
        raise ConfigError(str(error)) from error
    return conf


class _Shown(Lister):
    """A table that the running manager fills."""

    operation: str
    columns: Sequence[str]

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Row]]:
        return self.columns, self.rows()

    def rows(self) -> list[Row]:
        """Its rows, from the manager."""
        path = options.socket_path(configuration(self))
        with doing(self, f"asking {_PEER}"):
            rows = ask(path, self.operation, _PATIENCE_SECONDS, _PEER).get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Refused(f"what answered on {path} has no rows: is it {_PEER} of this version?")
        return [tuple(self._cell(name, row.get(name)) for name in self.columns) for row in rows]

    def _cell(self, name: str, value: object) -> object:
        return coloured(self, value or "", "red") if name == "error" else clean(value)


class FabricDrift(_Shown):
    """List what switches carry otherwise than they should, from a fresh look at each of them.

    It is what the next transaction would send. Exit status 1 if there is anything. With --repair,
    what somebody else closed is opened again.

    Example: sriovctl fabric drift
    """

    operation = "drift"
    columns = ("switch", "port", "open", "close", "error")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--repair", action="store_true", help="open it again")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Row]]:
        rows = self.rows()
        if parsed_args.repair:
            ask(options.socket_path(configuration(self)), "repair", _PATIENCE_SECONDS, _PEER)
        self._any = bool(rows)
        return self.columns, rows

    def run(self, parsed_args: argparse.Namespace) -> int:
        status = int(super().run(parsed_args) or 0)
        return 1 if self._any and not parsed_args.repair else status

    _any = False


class FabricHostList(_Shown):
    """List what each host wants, on which switch port, and when it was heard last (in seconds).

    A silent host keeps what it has.

    Example: sriovctl fabric host list --sort-column heard
    """

    operation = "links"
    columns = ("host", "pf", "switch", "port", "vlans", "heard", "silent", "error")


class FabricHosts(FabricHostList):
    """The older name of: sriovctl fabric host list.

    Example: sriovctl fabric hosts --sort-column heard
    """


class FabricHostKey(Command):
    """Print the key with which a host signs what it asks: for [hook_rpc] key_file there.

    Example: sriovctl fabric host key compute1 > compute1.key
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("host", help="the host's name as its agent has it ([DEFAULT] host)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        secret = parts.host_key_secret(configuration(self))
        if not secret:
            raise ConfigError(
                "[device_manager] host_key_secret_file is not set: nothing needs to be signed"
            )
        self.app.stdout.write(host_key(secret, parsed_args.host) + "\n")


class FabricHostKeyOlder(FabricHostKey):
    """The older name of: sriovctl fabric host key.

    Example: sriovctl fabric host-key compute1 > compute1.key
    """


class SwitchList(Lister):
    """List the switches that are configured.

    Example: sriovctl switch list
    """

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Row]]:
        conf = configuration(self)
        rules = parts.rules(conf)
        return ("name", "driver", "address", "ports", "uplinks"), [
            (
                name,
                options.switch_group(conf, name).driver,
                options.switch_group(conf, name).address,
                " ".join(rules[name].ports),
                " ".join(rules[name].uplinks),
            )
            for name in rules
        ]


class SwitchShow(_Shown):
    """List the ports of switches: what is wanted, what was seen, and what of that was opened by us.

    Example: sriovctl switch show leaf1
    """

    operation = "ports"
    columns = ("switch", "port", "wanted", "seen", "ours", "error")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("switch", nargs="?", help="only this one")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Row]]:
        rows = self.rows()
        name = parsed_args.switch
        return self.columns, [row for row in rows if name in (None, row[0])]


class SwitchTest(Command):
    """Reach a switch, log in, and say what it is and can do; nothing is changed.

    Ports named with --port are read. Exit status 1 if anything fails.

    Example: sriovctl switch test leaf1 --port Ethernet1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("switch", help="its name")
        parser.add_argument("--port", action="append", default=[], help="read this port as well")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        conf = configuration(self)
        name = parsed_args.switch
        if name not in conf.device_manager.switches:
            raise ConfigError(f"[device_manager] switches has no {name}")
        switch = parts.switch(conf, name)
        try:
            with doing(self, f"asking switch {name}"):
                lines = list(switch.describe())
                read = switch.read(parsed_args.port)
            for line in lines:
                self._say(f"{name}: {line}")
            return self._read(read, parsed_args.port, name)
        except SriovAgentError as error:
            self._say(f"{name}: {error}")
            return 1
        finally:
            switch.close()

    def _read(self, found: Mapping[str, Any], asked: Sequence[str], name: str) -> int:
        for port in asked:
            seen = found.get(port)
            if seen is None:
                self._say(f"{name}: there is no port {port}")
                continue
            kind = "a trunk" if seen.trunk else "no trunk"
            on = f" of {seen.lag}" if seen.lag else ""
            vlans = "every VLAN" if seen.every else text(seen.vlans) or "no VLAN"
            self._say(f"{name}: {port} is {kind}{on} and carries {vlans}")
        return int(any(port not in found for port in asked))

    def _say(self, line: str) -> None:
        self.app.stdout.write(escaped(line) + "\n")
