# SPDX-License-Identifier: Apache-2.0
"""A switch as the device manager knows it."""

import abc
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sriov_agent.exceptions import InvalidField
from sriov_agent.fabric.model import Applied, Changes, Ports

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
