# SPDX-License-Identifier: Apache-2.0
"""Have a switch carry what is decided: what is opened is first said to be ours."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping

from sriov_agent.exceptions import Refused, Unavailable
from sriov_agent.fabric.inventory import Rules
from sriov_agent.fabric.model import Change, Changes, Ports, Vlans
from sriov_agent.fabric.state.base import Fence, State
from sriov_agent.fabric.switch.base import Switch
from sriov_agent.fabric.wants import Decision

LOG = logging.getLogger(__name__)

#: A port or aggregate, and a VLAN of it.
Part = tuple[str, int]
Parts = frozenset[Part]

Owned = Mapping[str, Vlans]


class Ownership:
    """What of one switch is ours, as long as this manager is its one writer."""

    def __init__(self, state: State, rules: Rules, fence: Fence) -> None:
        self._state = state
        self._rules = rules
        self._fence = fence

    @property
    def switch(self) -> str:
        """The switch's name."""
        return self._rules.name

    def owned(self) -> Owned:
        """By port or aggregate."""
        return self._state.owned(self.switch)

    def claim(self, changes: Changes) -> None:
        """What these open is ours; that it was opened is not known yet. The floor never is.

        :raises Unavailable: if this manager is the one writer no longer
        """
        owned, floor = self.owned(), {self._rules.floor_vlan}
        self._set(
            {
                port: owned.get(port, frozenset()) | (change.add - floor)
                for port, change in changes.items()
            }
        )

    def settle(self, after: Ports) -> None:
        """What was not seen any more is not ours any more."""
        owned = self.owned()
        carried = {at.lag or port: at.vlans for port, at in after.items()}
        left = {port: owned[port] & carried[port] for port in owned.keys() & carried.keys()}
        if any(owned[port] != vlans for port, vlans in left.items()):
            self._set(left)

    def _set(self, owned: Owned) -> None:
        self._state.set_owned(self.switch, owned, self._fence)


def transact(
    switch: Switch,
    ours: Ownership,
    asked: Iterable[str],
    decide: Callable[[Ports, Owned], Decision],
    impossible: dict[Part, str],
    said: Callable[[Changes, Ports, Ports], None],
) -> Ports:
    """Have the ports as decided; what they were seen to carry in the end.

    A switch that refuses a transaction is given half of it, until what it refuses is found.

    :param decide: what is to be changed, given what was read and what is ours
    :param impossible: why the switch refuses a VLAN of a port; ``decide`` leaves those out
    :param said: called with what was changed, and what was read before and after
    :raises Unavailable: if it did not come to an end
    """
    ports = sorted(asked)
    halves: list[Parts | None] = [None]
    while True:
        attempt = _Attempt(ours, decide, halves.pop())
        try:
            applied = switch.apply(ports, attempt)
        except Refused as error:
            refused = sorted(_parts(attempt.changes))
            LOG.warning("switch %s refused %s: %s", ours.switch, refused or "to be read", error)
            if not refused or refused[0] in impossible:
                raise Unavailable(str(error)) from error
            if len(refused) == 1:
                impossible[refused[0]] = f"VLAN {refused[0][1]}: {error}"
            else:
                half = len(refused) // 2
                halves += [frozenset(refused[half:]), frozenset(refused[:half])]
            halves = halves or [None]
            continue
        ours.settle(applied.after)
        said(attempt.changes, applied.before, applied.after)
        if not halves:
            return applied.after


class _Attempt:
    """What a switch calls under its lock: decides, and says what is about to be ours.

    :param parts: what alone is changed of all that is to be; ``None`` for everything
    :ivar changes: by port or aggregate, as they are owned
    """

    def __init__(
        self,
        ours: Ownership,
        decide: Callable[[Ports, Owned], Decision],
        parts: Parts | None,
    ) -> None:
        self._ours = ours
        self._decide = decide
        self._chosen = parts
        self.changes: Changes = {}

    def __call__(self, seen: Ports) -> Changes:
        changes = self._decide(seen, self._ours.owned()).changes
        self.changes = _limited(changes, self._chosen)
        if self.changes:
            self._ours.claim(self.changes)
        return {_read_as(carrier, seen): change for carrier, change in self.changes.items()}


def _read_as(carrier: str, seen: Ports) -> str:
    """The name by which a port or aggregate was read: its own, or that of a member."""
    return carrier if carrier in seen else next(p for p, at in seen.items() if at.lag == carrier)


def _parts(changes: Changes) -> Iterator[Part]:
    for port, change in changes.items():
        for vlan in change.add | change.remove:
            yield port, vlan


def _limited(changes: Changes, parts: Parts | None) -> Changes:
    """Those of the changes that are in ``parts``."""
    if parts is None:
        return changes
    found: dict[str, Change] = {}
    for port, change in changes.items():
        chosen = frozenset(vlan for at, vlan in parts if at == port)
        if chosen & (change.add | change.remove):
            found[port] = Change(add=change.add & chosen, remove=change.remove & chosen)
    return found
