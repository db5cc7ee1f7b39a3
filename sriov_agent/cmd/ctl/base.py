# SPDX-License-Identifier: Apache-2.0
"""What the commands share."""

import argparse
import contextlib
import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

from oslo_config import cfg

from sriov_agent import conf as options
from sriov_agent.cmd.ctl.command import Command
from sriov_agent.cmd.ctl.terminal import Coloured, escaped, progress
from sriov_agent.core import fields, netspec
from sriov_agent.core.guests import with_guests
from sriov_agent.core.model import Pf
from sriov_agent.exceptions import ConfigError, SriovAgentError, Unavailable
from sriov_agent.host.inventory import Inventory
from sriov_agent.host.netlink import Netlink
from sriov_agent.libvirt import loader

if TYPE_CHECKING:
    from sriov_agent.cmd.ctl.app import Sriovctl

#: What is said of LLDP before the agent's first pass.
UNHEARD = "the agent has not looked yet; sriov-lldp-discover --all asks without it"

#: How often what is waited for is looked at.
POLL_SECONDS = 0.2


def sriovctl(command: Command) -> "Sriovctl":
    """The application that a command belongs to."""
    return cast("Sriovctl", command.app)


def pfs(app: "Sriovctl") -> dict[str, Pf]:
    """The configured PFs, by PCI address; a warning for each that cannot be seen.

    :raises Unavailable: if none can be seen
    """
    found, errors = app.pfs()
    if errors and not found:
        raise Unavailable("; ".join(errors.values()))
    for error in errors.values():
        app.LOG.warning("%s", error)
    return found


def pfs_of(conf: cfg.ConfigOpts) -> tuple[dict[str, Pf], dict[str, str]]:
    """The PFs of a configuration, by PCI address, and why others, or guests, cannot be seen.

    :raises ConfigError: if it names none
    """
    mappings = options.mappings(conf)
    if not mappings:
        raise ConfigError(
            "[sriov_nic] physical_device_mappings is empty; name a configuration with --config-file"
        )
    with Netlink() as netlink:
        excluded = options.excluded_vfs(conf)
        found, errors = Inventory(mappings, netlink, excluded=excluded).pfs()
    domains = loader.domains(conf.libvirt.uri)
    if domains:
        try:
            found = with_guests(found, domains.held(), domains.reserved())
        except SriovAgentError as unanswered:
            found, errors = with_guests(found, None), {**errors, "libvirt": str(unanswered)}
    return found, errors


def require_local(app: "Sriovctl") -> None:
    """Ports and VLANs are the operator's to change.

    :raises ConfigError: if they are Neutron's
    """
    source = app.conf.agent.source
    if source != "local":
        raise ConfigError(f"[agent] source is {source}: ports and their VLANs are made in Neutron")


def vlan_or_alias(text: str, low: int = 1) -> int | str:
    """A VLAN id from ``low`` on, or the alias of one.

    :raises InvalidField: if it is neither
    """
    if text.isascii() and text.isdigit():
        return fields.integer(int(text), "vlan", low, fields.MAX_VLAN)
    return netspec.alias(text, "vlan")


def add_wait(parser: argparse.ArgumentParser, until: str) -> None:
    """The option ``--wait SECONDS``, 0 if it is not given."""
    parser.add_argument(
        "--wait",
        type=seconds,
        default=0.0,
        metavar="SECONDS",
        help=f"wait until {until}, at most this long; exit status 1 if not",
    )


def seconds(text: str) -> float:
    """A number of seconds, as argparse wants a type."""
    with contextlib.suppress(ValueError):
        if 0 <= (seconds := float(text)) < math.inf:
            return seconds
    raise argparse.ArgumentTypeError(f"expected a number of seconds, not {text!r}")


def wait_until_met(
    what: str, seen: Callable[[], tuple[str, Iterable[str]]], seconds: float, deadline: float
) -> None:
    """Wait until something is met.

    :param seen: its state as the last pass left it, and what is not met
    :param seconds: how long is waited in all, until ``deadline`` of :func:`time.monotonic`
    :raises Unavailable: if it is not by then
    """
    while (last := seen())[0] != "met":
        if time.monotonic() > deadline:
            raise Unavailable(f"{what} is not met after {seconds:g} s: {why_unmet(last[1])}")
        time.sleep(POLL_SECONDS)


def why_unmet(unmet: Iterable[str]) -> str:
    """What the last pass said is not met; without a word there was none."""
    sentences = list(unmet) or ["the agent has not looked at it: is it running?"]
    return "; ".join(map(escaped, sentences))


def clean(value: object) -> object:
    """A value to print; JSON and YAML keep its type, text comes :func:`escaped`."""
    return escaped(value) if isinstance(value, str) else value


def coloured(command: Command, value: object, colour: str = "") -> Coloured:
    """A value that is shown in the colour of its meaning where that is possible; :func:`clean`."""
    return Coloured(clean(value), sriovctl(command).stdout, colour)


def doing(command: Command, what: str) -> AbstractContextManager[None]:
    """Something that takes long; ``what``: it, as "waiting until ..."."""
    return progress(sriovctl(command).stderr, what)


def counted(number: int, of: int) -> str:
    """``3/7``."""
    return f"{number}/{of}"
