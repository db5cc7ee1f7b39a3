# SPDX-License-Identifier: Apache-2.0
"""``sriovctl appliance``: the two guests of a virtual router, as its ``vmx.conf`` says."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sriov_agent.cmd.ctl.base import sriovctl
from sriov_agent.cmd.ctl.command import Command
from sriov_agent.cmd.ctl.guest import check_host, opened, written
from sriov_agent.exceptions import InvalidField, Refused, SriovAgentError, Unavailable
from sriov_agent.libvirt import appliance, vmx
from sriov_agent.libvirt.appliance import TYPES, Appliance, Port, computed_uuid
from sriov_agent.libvirt.nic import Nic, Vf

if TYPE_CHECKING:
    from sriov_agent.cmd.ctl.app import Sriovctl


#: A domain's or a network's name, what does it, given name and UUID, and what is said then.
Step = tuple[str, Callable[[str, str], None], str]


class _OfFile(Command):
    """A command on a ``vmx.conf``."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("file", type=Path, help="the appliance's vmx.conf")
        return parser

    def do(self, steps: Iterable[Step]) -> None:
        """Take each step, also after one that failed.

        :raises SriovAgentError: with all that failed
        """
        failed: list[SriovAgentError] = []
        for name, act, done in steps:
            try:
                act(name, computed_uuid(name))
                sriovctl(self).stdout.write(f"{name}: {done}\n")
            except SriovAgentError as error:
                failed.append(error)
        if len(failed) > 1:
            raise Refused("; ".join(map(str, failed)))
        if failed:
            raise failed[0]


class _Defining(_OfFile):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--type",
            choices=TYPES,
            default=TYPES[0],
            help="what runs the guests; default: %(default)s",
        )
        return parser


class ApplianceRender(_Defining):
    """Print the libvirt XML of an appliance: its internal network and its two domains.

    Example: sriovctl appliance render vmx.conf --output /tmp/vmx1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--output", type=Path, metavar="DIR", help="write a file for each of them there"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        app, router = sriovctl(self), _read(parsed_args.file)
        texts = {router.internal_bridge: appliance.internal_network(router)}
        texts |= appliance.domains(router, _nics(app, router), parsed_args.type)
        directory: Path | None = parsed_args.output
        if directory is None:
            app.stdout.write("".join(texts.values()))
            return
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, text in texts.items():
                (directory / f"{name}.xml").write_text(text, "utf-8")
        except OSError as error:
            raise Unavailable(f"{directory}: {error}") from error


class ApplianceDefine(_Defining):
    """Define the two domains of an appliance in libvirt, and the network between them.

    Example: sriovctl appliance define vmx.conf
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.define(parsed_args)

    def define(self, given: argparse.Namespace, *, start: bool = False) -> None:
        """Define all of it, and start what could be defined, if it is to ``start``."""
        app, router = sriovctl(self), _read(given.file)
        domains, nics = opened(app), _nics(app, router)
        texts = appliance.domains(router, nics, given.type)
        vf = next((nic.source.address for nic in nics if isinstance(nic.source, Vf)), "")

        def network(name: str, _uuid: str) -> None:
            if not domains.is_active_network(name):
                domains.define_network(name, appliance.internal_network(router), start=True)

        def domain(name: str, uuid: str) -> None:
            if start and vf and name == router.names[1]:
                check_host(name, vf)
            domains.define(name, texts[name])
            if start:
                domains.start(name, uuid)

        done = "started" if start else "defined"
        self.do([(router.internal_bridge, network, "defined"), *((n, domain, done) for n in texts)])


class ApplianceStart(ApplianceDefine):
    """Define an appliance as its file says now, and start its two domains.

    Example: sriovctl appliance start vmx.conf
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.define(parsed_args, start=True)


class ApplianceStop(_OfFile):
    """Ask the two domains of an appliance to shut down.

    Example: sriovctl appliance stop vmx.conf
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        router, domains = _read(parsed_args.file), opened(sriovctl(self))
        self.do((name, domains.shut_down, "off, or shutting down") for name in router.names)


class ApplianceDestroy(_OfFile):
    """End the two domains of an appliance at once, and undefine them and their network.

    Example: sriovctl appliance destroy vmx.conf
    """

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        router, domains = _read(parsed_args.file), opened(sriovctl(self))
        guests = [(name, domains.destroy, "destroyed") for name in router.names]
        self.do([*guests, (router.internal_bridge, domains.undefine_network, "destroyed")])


def _read(path: Path) -> Appliance:
    try:
        return vmx.parse(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidField("file", str(path), str(error)) from error


def _nics(app: "Sriovctl", router: Appliance) -> list[Nic]:
    """The devices of its data interfaces, with the VFs that ports of this host have now.

    :raises InvalidField: if there is no such port, or a VF that is named is a port's
    :raises Unavailable: if a port has no VF yet
    """
    ports = {
        data.source.name: written(app, data.source.name)
        for data in router.data
        if isinstance(data.source, Port)
    }
    named = [data for data in router.data if isinstance(data.source, Vf)]
    holders = {claim.vf: claim.port_id for claim in app.store().claims().values()} if named else {}
    for data in named:
        if isinstance(data.source, Vf) and data.source.address in holders:
            port_id = holders[data.source.address]
            raise InvalidField(
                f"{data.name} vf", data.source.address, f"it is the VF of port {port_id}: name that"
            )
    return appliance.data_nics(router, ports)
