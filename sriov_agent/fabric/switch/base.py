# SPDX-License-Identifier: Apache-2.0
"""A switch as the device manager knows it."""

import abc
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sriov_agent.exceptions import InvalidField, Refused, printable
from sriov_agent.fabric.model import Applied, Change, Changes, Ports

#: What an interface may be called; what LLDP says reaches no switch that is anything else.
PORT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9/:._-]{0,63}")

#: From what a transaction read, under its lock, to what it changes.
Decide = Callable[[Ports], Changes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """How a switch is reached.

    ``password`` is never shown. ``host_key`` is the switch's SSH public key, as in known_hosts
    without the name (``ssh-ed25519 AAAA...``). ``timeout`` is in seconds, for a connection and for
    each answer. ``options`` are those of the driver alone.
    """

    name: str
    address: str
    port: int | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    key_file: Path | None = None
    host_key: str = ""
    timeout: float = 30.0
    options: Mapping[str, str] = field(default_factory=dict)


class Switch(abc.ABC):
    """One switch. Drivers are found by the entry point group ``sriov_agent.switch``.

    Used by one thread; it connects when it is first used, and again after it failed. Every method
    raises :class:`~sriov_agent.exceptions.Unavailable` if the switch did not answer, is locked by
    somebody else, or failed in a way that may pass; and
    :class:`~sriov_agent.exceptions.Refused` if it said no and will again.

    :param login: see :class:`Login`
    :raises ConfigError: if something that the driver needs is missing
    """

    #: Whether a trunk with an empty list carries every VLAN, or is refused: the last stays.
    needs_a_vlan = True

    def __init__(self, login: Login) -> None:
        self.login = login

    @abc.abstractmethod
    def describe(self) -> list[str]:
        """What it is and can do, in words, a line each: connects, logs in and asks."""

    @abc.abstractmethod
    def read(self, ports: Iterable[str]) -> Ports:
        """What the ports carry; one that the switch does not have is absent."""

    @abc.abstractmethod
    def apply(self, ports: Iterable[str], decide: Decide) -> Applied:
        """One transaction: lock, read, decide, one edit, commit, read back, unlock.

        Nothing is sent if ``decide`` changes nothing; an error that it raises leaves the switch as
        it was, unlocked, and is raised. What is in the answer was read after the commit: it may
        well not be what was asked.

        :param ports: those that are read
        :param decide: called once, with what was read
        """

    def close(self) -> None:  # noqa: B027 - a driver may hold nothing
        """Let go of the connection; the next call makes another."""


def port_name(name: str) -> str:
    """The name, if an interface can be called so.

    :raises InvalidField: if not
    """
    if not PORT_NAME.fullmatch(name):
        raise InvalidField("port", name, "no name that a switch has for an interface")
    return name


def effective(before: Ports, changes: Changes, needs_a_vlan: bool) -> dict[str, Change]:
    """What of the changes is not so already, by port; of two for one aggregate, opening wins.

    :raises Refused: if one is of a port that was not read or that is no trunk, would take a VLAN
        from one that is open to all, or, where a trunk needs a VLAN, its last
    """
    found: dict[str, Change] = {}
    for port, change in changes.items():
        if not change.add | change.remove:
            continue
        if port not in before:
            raise Refused(f"{printable(port)} was not read, and is not changed")
        have = before[port]
        if not have.trunk:
            raise Refused(f"{port} is no trunk: it carries no tagged VLANs")
        if have.every and change.remove:
            raise Refused(f"{port} is open to all VLANs: to close one, list the others first")
        missing = frozenset() if have.every else change.add - have.vlans
        excess = change.remove & have.vlans
        if missing | excess:
            found[port] = Change(add=missing, remove=excess)
    made = targets(before, found)
    for port in found:
        have = before[port]
        change = made[have.lag or port]
        if needs_a_vlan and not have.every and not (have.vlans | change.add) - change.remove:
            raise Refused(f"{port}: without its last VLAN it would be open to all, or invalid")
    return found


def targets(before: Ports, changes: Changes) -> dict[str, Change]:
    """The changes by what they are made on: the port, or the aggregate that it is a member of."""
    found: dict[str, Change] = {}
    for port, change in changes.items():
        target = before[port].lag or port
        other = found.get(target, Change())
        add = other.add | change.add
        found[target] = Change(add=add, remove=(other.remove | change.remove) - add)
    return found
