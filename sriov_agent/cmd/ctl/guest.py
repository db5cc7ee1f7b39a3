# SPDX-License-Identifier: Apache-2.0
"""``sriovctl port attach`` and ``detach``: VFs into libvirt's domains and out again."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.base import seconds, sriovctl
from sriov_agent.cmd.ctl.command import Command
from sriov_agent.cmd.ctl.port import find
from sriov_agent.core.state import Interface
from sriov_agent.exceptions import ConfigError, Refused, Unavailable
from sriov_agent.host.sysfs import Sysfs
from sriov_agent.libvirt import loader
from sriov_agent.libvirt.files import InterfaceFiles

if TYPE_CHECKING:
    from sriov_agent.cmd.ctl.app import Sriovctl
    from sriov_agent.libvirt.domains import Domains


VFIO = Path("/dev/vfio/vfio")


class PortAttach(Command):
    """Give a port's VF to a libvirt domain: at once if it runs, and in its definition.

    Example: sriovctl port attach web1 guest1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_arguments(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        app, name = sriovctl(self), parsed_args.domain
        domains, interface = opened(app), written(app, parsed_args.port)
        live, config = _where(domains, parsed_args)
        if live and not interface.netdev:
            check_host(name, interface.vf)
        domains.attach(name, interface, live=live, config=config)


class PortDetach(Command):
    """Take a port's VF out of a libvirt domain, and wait until its guest has let go of it.

    Example: sriovctl port detach --wait 30 web1 guest1
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_arguments(parser)
        parser.add_argument(
            "--wait",
            type=seconds,
            default=20.0,
            metavar="SECONDS",
            help="how long the guest of a running domain may take; default: %(default)g",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        app = sriovctl(self)
        domains, interface = opened(app), written(app, parsed_args.port)
        live, config = _where(domains, parsed_args)
        domains.detach(
            parsed_args.domain, interface, live=live, config=config, timeout=parsed_args.wait
        )


def check_host(name: str, vf: str) -> None:
    """Whether this host can give a VF to a guest at all.

    :raises Refused: if not, with what to do
    """
    why = ""
    if not Sysfs().has_iommu(vf):
        why = (
            "this host has no IOMMU; switch it on in the firmware, and with intel_iommu=on on the "
            "kernel's command line, or create the port with --vnic-type macvtap"
        )
    elif not VFIO.exists():
        why = f"there is no {VFIO}; load the driver: modprobe vfio-pci"
    if why:
        raise Refused(f"domain {name}: VF {vf} cannot be given to a guest: {why}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("port", help="id or name")
    parser.add_argument("domain", help="the domain's name")
    parser.add_argument("--live", action="store_true", help="only in the running domain")
    parser.add_argument("--config", action="store_true", help="only in the domain's definition")


def opened(app: "Sriovctl") -> "Domains":
    """The libvirt of the configuration, to change something in it.

    :raises ConfigError: if there is none
    """
    domains = loader.domains(app.conf.libvirt.uri, read_only=False)
    if domains is None:
        raise ConfigError("[libvirt] uri is empty: name a libvirt there, such as qemu:///system")
    return domains


def written(app: "Sriovctl", wanted: str) -> Interface:
    """What the agent wrote for a port.

    :raises Unavailable: if it has written nothing yet
    """
    port = find(app, wanted)
    files = InterfaceFiles(options.interfaces_path(app.conf))
    interface = files.read().get(port.port_id)
    if interface is None:
        raise Unavailable(
            f"port {port.port_id} has no interface XML yet; see: sriovctl port show {port.port_id}"
        )
    return interface


def _where(domains: "Domains", given: argparse.Namespace) -> tuple[bool, bool]:
    """Whether in the running domain, and whether in its definition: wherever there is one.

    :raises Refused: if the domain does not run, and was to be changed live
    """
    running, defined = domains.active(given.domain)
    if given.live and not running:
        raise Refused(f"domain {given.domain} is not running: start it, or leave out --live")
    if given.config and not defined:
        raise Refused(f"domain {given.domain} has no definition: leave out --config")
    both = given.live == given.config
    return running and (both or given.live), defined and (both or given.config)
