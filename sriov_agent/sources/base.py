# SPDX-License-Identifier: Apache-2.0
"""Where the desired ports come from."""

from collections.abc import Callable
from typing import Protocol

from sriov_agent.core.report import Report
from sriov_agent.core.state import Bindings

#: Hands keys to the reconciling thread: port ids to look at again, ``None`` for everything.
Wake = Callable[[frozenset[str] | None], None]


class Source(Protocol):
    """One of the sources; ``start`` and ``stop`` are called once each, from one thread."""

    def start(self, wake: Wake) -> None:
        """Begin to call ``wake`` from threads of the source's own."""

    def stop(self) -> None:
        """End those threads; nothing is lost that ``bindings`` would tell."""

    def tell(self, report: Report) -> None:
        """What the last pass saw, for whoever waits for it; returns at once."""

    def bindings(self) -> Bindings:
        """The ports of this host now.

        :raises Unavailable: if that is unknown; nothing is done then
        """
