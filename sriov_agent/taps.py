# SPDX-License-Identifier: Apache-2.0
"""One pass over host taps and mirrors: observe, decide, apply, observe again, report.

A start, a restart, a reboot, a change and a removal are this same pass.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from sriov_agent.core.tap_actions import Action, KernelAction, OvsAction
from sriov_agent.core.tap_plan import Status, claims, plan, statuses
from sriov_agent.core.taps import Netdev, Ovs, Seen, Taps, Tee
from sriov_agent.exceptions import SriovAgentError, Unavailable

LOG = logging.getLogger(__name__)

#: A tap takes five: what a step needs is seen first. More is a fault, and is said to be.
MAX_ROUNDS = 10


class Source(Protocol):
    """The desired side; see :class:`sriov_agent.sources.taps.TapRegistry`."""

    def taps(self) -> Taps: ...


class Kernel(Protocol):
    """See :class:`sriov_agent.host.bridge.KernelTaps`."""

    def look(self) -> tuple[dict[str, Netdev], frozenset[Tee]]: ...

    def apply(self, action: KernelAction) -> None: ...


class OpenVswitch(Protocol):
    """See :class:`sriov_agent.host.openvswitch.OpenVswitch`."""

    def look(self) -> Ovs: ...

    def apply(self, action: OvsAction) -> None: ...


class Record(Protocol):
    """The agent's own record; see :class:`sriov_agent.store.Store`."""

    def taps(self) -> list[Status]: ...

    def save_taps(self, statuses: Sequence[Status]) -> None: ...


class TapReconciler:
    """The only caller of the plan of taps and of their adapters; used by one thread.

    :param kernel: ``None`` where the library for it is not installed
    """

    def __init__(
        self,
        *,
        source: Source,
        kernel: Kernel | None,
        openvswitch: OpenVswitch,
        record: Record,
    ) -> None:
        self.source = source
        self.kernel = kernel
        self.openvswitch = openvswitch
        self.record = record
        self._idle = False

    def reconcile(self) -> list[str]:
        """Bring taps and mirrors to what is wanted; one sentence for each thing that was not seen.

        :raises Unavailable: if it is unknown what is wanted or what interfaces there are: then
            nothing was done
        """
        wanted, recorded = self.source.taps(), self.record.taps()
        nothing = not wanted.taps and not recorded
        if nothing and (self._idle or self.kernel is None):
            return []
        if self.kernel is None:
            raise Unavailable(
                "host taps take pyroute2: install python3-pyroute2, or sriov-agent[taps] with pip"
            )
        # Once without a record, since that may be lost: what is ours is marked.
        self._idle = nothing
        seen = self._look(self.kernel)
        known = claims(wanted, seen, recorded)
        if known != recorded:
            self.record.save_taps(known)
        tried: dict[Action, str] = {}
        for _ in range(MAX_ROUNDS):
            actions = [a for a in plan(wanted, seen, known).actions() if a not in tried]
            if not actions:
                break
            for action in actions:
                tried[action] = self._apply(self.kernel, action)
            seen = self._look(self.kernel)
        else:
            LOG.error("taps are still changing after %d rounds: %s", MAX_ROUNDS, actions)
        failed = {action: why for action, why in tried.items() if why}
        found = statuses(wanted, seen, known, failed)
        if found != known:
            self.record.save_taps(found)
        return [
            f"{status.noun} {status.name}: {sentence}"
            for status in found
            for sentence in status.unmet
        ]

    def _look(self, kernel: Kernel) -> Seen:
        ovs, why = None, ""
        try:
            ovs = self.openvswitch.look()
        except SriovAgentError as error:
            why = str(error)
        # After it, since it waits until ovs-vswitchd has made and removed its interfaces.
        netdevs, tees = kernel.look()
        return Seen(netdevs=netdevs, tees=tees, ovs=ovs, ovs_error=why)

    def _apply(self, kernel: Kernel, action: Action) -> str:
        """Why it failed, "" if it did not."""
        try:
            if isinstance(action, OvsAction):
                self.openvswitch.apply(action)
            else:
                kernel.apply(action)
        except SriovAgentError as error:
            LOG.warning("failed: %s: %s", action, error)
            return str(error)
        LOG.info("done: %s", action)
        return ""
