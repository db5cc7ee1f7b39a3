# SPDX-License-Identifier: Apache-2.0
"""What an operator is shown of the device manager, as plain JSON."""

import time
from collections.abc import Callable, Mapping

from sriov_agent.exceptions import SriovAgentError
from sriov_agent.fabric.ranges import text
from sriov_agent.fabric.state.base import State
from sriov_agent.fabric.wants import Wanted
from sriov_agent.fabric.worker import Worker

Json = object
Rows = dict[str, list[dict[str, Json]]]


class View:
    """Answers ``sriovctl`` on the manager's socket.

    :param silent_after: seconds without a word after which a host is silent
    """

    def __init__(
        self,
        workers: Mapping[str, Worker],
        state: State,
        everything: Callable[[], Wanted],
        silent_after: float,
    ) -> None:
        self._workers = workers
        self._state = state
        self._everything = everything
        self._silent_after = silent_after

    def operations(self) -> dict[str, Callable[[], Mapping[str, Json] | None]]:
        """By the names that they are asked for by."""
        return {
            "links": self.links,
            "ports": self.ports,
            "drift": self.drift,
            "repair": self.repair,
        }

    def links(self) -> Rows:
        """What each host wants, on which switch port, and why not if it cannot be."""
        placed, now = self._everything(), time.time()
        rows: list[dict[str, Json]] = []
        for want in self._state.wants():
            at = placed.places.get(want.link)
            refused = placed.refused.get(want.link, {})
            heard = max(now - want.heard, 0.0)
            rows.append(
                {
                    "host": want.link.host,
                    "pf": want.link.pf,
                    "switch": at.switch if at else "",
                    "port": at.port if at else "",
                    "vlans": text(want.vlans),
                    "heard": int(heard),
                    "silent": heard > self._silent_after,
                    "error": "; ".join(
                        filter(None, [placed.conflicts.get(want.link), *refused.values()])
                    ),
                }
            )
        return {"rows": rows}

    def ports(self) -> Rows:
        """What is wanted of each port, what it was seen to carry, and what of that is ours."""
        placed = self._everything()
        rows: list[dict[str, Json]] = []
        for status in self._state.statuses():
            if status.switch not in self._workers:
                continue
            owned = self._state.owned(status.switch).get(status.port, frozenset())
            rows.append(
                {
                    "switch": status.switch,
                    "port": status.port,
                    "wanted": text(placed.ports[status.switch].get(status.port, frozenset())),
                    "seen": None if status.seen is None else text(status.seen),
                    "ours": text(owned),
                    "error": "; ".join(filter(None, [status.error, *status.refused.values()])),
                }
            )
        return {"rows": rows}

    def drift(self) -> Rows:
        """What would be changed on each port if nothing were kept as it is, from a fresh look."""
        rows: list[dict[str, Json]] = []
        for name, worker in self._workers.items():
            try:
                changes = worker.difference()
            except SriovAgentError as error:
                rows.append(
                    {"switch": name, "port": "", "open": "", "close": "", "error": str(error)}
                )
                continue
            for port, change in changes.items():
                rows.append(
                    {
                        "switch": name,
                        "port": port,
                        "open": text(change.add),
                        "close": text(change.remove),
                        "error": "",
                    }
                )
        return {"rows": rows}

    def repair(self) -> None:
        """Have what somebody else closed opened again."""
        for worker in self._workers.values():
            worker.repair()
