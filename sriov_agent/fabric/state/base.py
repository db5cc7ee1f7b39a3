# SPDX-License-Identifier: Apache-2.0
"""What is kept: wants, the VLANs that are ours, and what became of them; and who writes."""

import abc
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager

from sriov_agent.fabric.model import PortStatus, Vlans, Want


class Fence:
    """A manager's right to write to a switch, as long as it is the one writer."""


class State(abc.ABC):
    """Kept where all managers see it. Methods are called from any thread.

    All raise :class:`~sriov_agent.exceptions.Unavailable` if it cannot be used.
    """

    @abc.abstractmethod
    def start(self, changed: Callable[[], None]) -> None:
        """Begin, even if it cannot be used yet.

        :param changed: called from any thread when another manager changed wants, or forgot what
            was seen of a switch; and when switches may be another manager's than before
        :raises ConfigError: if it can never work
        """

    @abc.abstractmethod
    def stop(self) -> None:
        """End; another manager takes over."""

    @abc.abstractmethod
    def mine(self, switch: str) -> bool:
        """Whether this manager is the one to write to the switch; asks nobody."""

    @abc.abstractmethod
    def hold(self, switch: str) -> AbstractContextManager[Fence]:
        """Be the one writer to the switch as long as the context lasts; threads wait in turn.

        :raises Unavailable: if another manager is
        """

    @abc.abstractmethod
    def wants(self, host: str | None = None) -> list[Want]:
        """All of them, the empty ones too; of this host alone, if it is given."""

    @abc.abstractmethod
    def put_wants(self, wants: Iterable[Want]) -> list[Want]:
        """Keep each that is later than the one that is there.

        :return: those that were kept, or are as late as the one there and say the same
        """

    @abc.abstractmethod
    def drop_wants(self, wants: Iterable[Want]) -> None:
        """Forget wants that are still exactly these."""

    @abc.abstractmethod
    def owned(self, switch: str) -> Mapping[str, Vlans]:
        """The VLANs that were opened by a manager and not yet seen closed, by port."""

    @abc.abstractmethod
    def set_owned(self, switch: str, owned: Mapping[str, Vlans], fence: Fence) -> None:
        """These are the ones that are ours, on these ports; others keep theirs.

        What is about to be opened is first said here, so it is also the last check of the fence:
        it is called before anything is sent to a switch, even if nothing is to be opened.

        :raises Unavailable: if this manager is the one writer no longer
        """

    @abc.abstractmethod
    def statuses(self) -> list[PortStatus]:
        """All of them."""

    @abc.abstractmethod
    def set_statuses(self, switch: str, statuses: Iterable[PortStatus]) -> None:
        """Keep what became of these ports, and forget others of the switch."""
