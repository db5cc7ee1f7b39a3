# SPDX-License-Identifier: Apache-2.0
"""What the contract suite of the switch drivers needs of a switch that it can play with.

A rig is a real server on loopback, and a way to it that is not the driver's. It is started once for
a module of tests; each test puts what it needs on the ports that it uses.
"""

import abc
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from sriov_agent.fabric.ranges import Range
from sriov_agent.fabric.switch.base import Login, Switch
from sriov_agent.fabric.switch.loader import load
from tests.frozen import replace

#: What a port carries that is open to all.
ALL = frozenset(range(1, 4095))

#: The other manager, or a person, holds the switch's lock for as long as the fault lasts.
HELD = "held by another"
#: The connections that are there are cut, once, when the fault begins.
CUT = "cut"
#: The connection is cut when the commit (whatever makes a change real) is sent: it never arrives.
CUT_BEFORE = "cut before the commit"
#: The commit is done by the switch, and the connection is cut in place of the answer.
CUT_AFTER = "cut after the commit"
#: The commit is kept back, and never answered; the connection stays. It counts as a write.
SILENT = "no answer to the commit"
#: The switch says that it did it, and did nothing.
LIES = "ok, and nothing done"


class Rig(abc.ABC):
    """A switch to play with.

    :param directory: for everything of it, empty; short enough for the paths of sockets in it

    :ivar trunks: two ports that are trunks
    """

    #: Name of the driver's entry point.
    driver: ClassVar[str]
    #: Those of the faults above that it can play; a test of another is not made for it.
    faults: ClassVar[frozenset[str]] = frozenset()
    #: A port that is no trunk, and the VLAN that it is in; "" if there is none.
    access: ClassVar[str] = ""
    access_vlan: ClassVar[int] = 7
    #: (a port, the aggregate that it is a member of); "" if there is none.
    lag: ClassVar[tuple[str, str]] = ("", "")
    #: Whether a list can hold ranges, as opposed to VLANs alone.
    has_ranges: ClassVar[bool] = False
    #: Whether a trunk can be open to all VLANs without naming them.
    opens: ClassVar[bool] = True
    #: Whether one logs in by SSH: with a host key, and a key or a password.
    has_login: ClassVar[bool] = True

    trunks: tuple[str, str]

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def missing(cls) -> str:
        """Why it cannot be started here; "" if it can."""
        return ""

    @classmethod
    def excuse(cls) -> str:
        """Why even continuous integration may go without it; "" if it may not."""
        return ""

    @property
    def canary(self) -> Path:
        """A file that hostile names try to make, on the switch: it must never be there."""
        return self.directory / "canary"

    @abc.abstractmethod
    def start(self) -> None:
        """Start it, with its ports, and wait until it answers."""

    @abc.abstractmethod
    def close(self) -> None:
        """End all processes; also what :meth:`start` has begun before it failed."""

    @abc.abstractmethod
    def login(self) -> Login:
        """How the driver reaches it; with a timeout that a slow machine keeps."""

    @abc.abstractmethod
    def put(self, port: str, entries: Iterable[Range] | None) -> None:
        """Have a trunk or aggregate carry exactly these, behind the driver's back.

        ``None``: have it open to all VLANs, if :attr:`opens`.
        """

    @abc.abstractmethod
    def get(self, port: str) -> frozenset[int]:
        """The VLANs that it carries, from the switch itself; :data:`ALL` if it is open to all."""

    @abc.abstractmethod
    def writes(self) -> int:
        """How many changes drivers have sent until now: commits, transactions, commands."""

    @contextlib.contextmanager
    def fault(self, name: str) -> Iterator[None]:
        """Play one of :attr:`faults`, to all connections that are there or come."""
        raise NotImplementedError(name)
        yield

    def load(self, **changes: object) -> Switch:
        """The driver as the device manager loads it; ``changes`` are of the :class:`Login`."""
        return load(self.driver, replace(self.login(), **changes))  # type: ignore[arg-type]
