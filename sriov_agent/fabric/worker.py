# SPDX-License-Identifier: Apache-2.0
"""One switch, one thread: what hosts want of it becomes one transaction at a time.

The first want of a burst is not kept waiting: what comes while the switch is busy is the next
transaction. After a failure nothing is sent before its time, however many wants come, so a switch
that is down costs nothing and is not pressed; no other switch waits for it.
"""

import dataclasses
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from sriov_agent.backoff import Backoff
from sriov_agent.exceptions import SriovAgentError, Unavailable
from sriov_agent.fabric import audit
from sriov_agent.fabric.inventory import Rules
from sriov_agent.fabric.model import Changes, Link, Ports, PortStatus, Vlans
from sriov_agent.fabric.state.base import State
from sriov_agent.fabric.switch.base import Switch
from sriov_agent.fabric.transaction import Ownership, Part, Parts, transact
from sriov_agent.fabric.wants import Decision, Wanted, decide, failed, statuses

LOG = logging.getLogger(__name__)

#: How long wants of one burst are waited for: until it is quiet so long, and never longer than.
QUIET_SECONDS = 0.05
GATHER_SECONDS = 0.5

#: What the timer of a drift check is stretched by at most, so that managers do not ask together.
JITTER = 0.2


class Policy(Struct, frozen=True, kw_only=True):
    """How the manager behaves, the same for every switch; times are in seconds.

    ``repair``: open again what somebody else closed. ``dry_run``: change no switch.
    """

    remove_grace: float = 60.0
    check_interval: float = 600.0
    retry_min: float = 1.0
    retry_max: float = 120.0
    repair: bool = False
    dry_run: bool = False


class Worker:
    """Brings one switch to what is wanted of it.

    :param everything: the wants of all hosts, placed, as they are now
    :param told: called after each try with the links of which something new is known
    """

    def __init__(
        self,
        switch: Switch,
        rules: Rules,
        state: State,
        policy: Policy,
        everything: Callable[[], Wanted],
        told: Callable[[Iterable[Link]], None] = lambda links: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.switch = switch
        self.rules = rules
        self.state = state
        self.policy = policy
        self.clock = clock
        self._everything = everything
        self._told = told
        self._backoff = Backoff(policy.retry_min, policy.retry_max)
        self._unwanted: dict[Part, float] = {}
        self._impossible: dict[Part, str] = {}
        #: When to look at the switch anyway, and when the next grace is over.
        self._check = clock()
        self._close = float("inf")
        self._busy = threading.Lock()
        self._condition = threading.Condition()
        self._woken = True
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=f"switch {rules.name}", daemon=True)

    @property
    def name(self) -> str:
        """The switch's name."""
        return self.rules.name

    @property
    def alive(self) -> bool:
        """Whether it still sees to the switch."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Something may be wanted otherwise; from any thread."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def stop(self) -> None:
        """End after the transaction that runs; waits for it."""
        with self._condition:
            self._stopped = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join()
        self.switch.close()

    def _run(self) -> None:
        mine = False
        while self._wait():
            former, mine = mine, self._mine()
            if not mine:
                self._rest()
                continue
            if not former:
                # Whoever had the switch before may have left something half done.
                self._check = self.clock()
            self.step()

    def _mine(self) -> bool:
        try:
            return self.state.mine(self.name)
        except Unavailable as error:
            LOG.warning("switch %s: %s", self.name, error)
            return False

    def _rest(self) -> None:
        """The switch is another manager's: nothing until it is ours, of which we are woken."""
        self._unwanted = {}
        self._close = float("inf")
        self._check = self.clock() + self.policy.check_interval
        self._backoff.succeeded(self.name)

    def _wait(self) -> bool:
        """Until there is something to do; whether there is still."""
        with self._condition:
            while not self._stopped:
                left = self._next() - self.clock()
                if left <= 0:
                    break
                self._condition.wait(min(left, self.policy.check_interval))
            began = self.clock()
            while self._woken and not self._stopped and self.clock() - began < GATHER_SECONDS:
                self._woken = False
                self._condition.wait(QUIET_SECONDS)
            return not self._stopped

    def _next(self) -> float:
        """When something is to be done."""
        retry = self._backoff.next()
        if self._backoff.known():
            return retry
        if self._woken:
            return self.clock()
        return min(self._check, self._close)

    def step(self) -> None:
        """One try: nothing if nothing is wanted otherwise, and it is no time to look."""
        try:
            with self._busy:
                self._converge(self._everything())
        except SriovAgentError as error:
            LOG.warning("switch %s: %s", self.name, error)
            self._backoff.failed(self.name, self.clock())
        except Exception:
            LOG.exception("switch %s: a transaction failed", self.name)
            self._backoff.failed(self.name, self.clock())
        else:
            self._backoff.succeeded(self.name)

    def difference(self) -> Changes:
        """What would be changed by now if nothing were left as it is; from any thread.

        :raises Unavailable: if the switch cannot be read
        """
        everything = self._everything()
        ports, owned = everything.ports[self.name], self.state.owned(self.name)
        with self._busy:
            seen = self.switch.read(sorted(ports.keys() | owned.keys()))
            return self._decide(everything, seen, owned, {}).changes

    def repair(self) -> None:
        """Forget that anything was closed by somebody else: the next try opens it."""
        known = [s for s in self.state.statuses() if s.switch == self.name]
        forgotten = [dataclasses.replace(s, seen=None, refused={}) for s in known]
        self.state.set_statuses(self.name, forgotten)
        self.wake()

    def _converge(self, everything: Wanted) -> None:
        ports, owned = everything.ports[self.name], self.state.owned(self.name)
        before = {s.port: s for s in self.state.statuses() if s.switch == self.name}
        now = self.clock()
        if now < self._check and not self._news(ports, before, now):
            return
        if ports or owned:
            self._look(everything, sorted(ports.keys() | owned.keys()), before)
        ends = (since + self.policy.remove_grace for since in self._unwanted.values())
        self._close = min((at for at in ends if at > now), default=float("inf"))
        self._check = now + self.policy.check_interval * random.uniform(1, 1 + JITTER)  # noqa: S311

    def _news(
        self, ports: Mapping[str, Vlans], before: Mapping[str, PortStatus], now: float
    ) -> bool:
        """Whether something has to be looked at on the switch."""
        return (
            bool(self._backoff.known())
            or now >= self._close
            or ports.keys() != before.keys()
            or any(s.tried != ports[p] or s.seen is None for p, s in before.items())
        )

    def _look(self, everything: Wanted, asked: list[str], before: Mapping[str, PortStatus]) -> None:
        """See what the ports carry, have that as wanted, and keep what became of it."""
        ports = everything.ports[self.name]
        now = time.time()
        try:
            if self.policy.dry_run:
                seen = self.switch.read(asked)
                decision = self._decide(everything, seen, self.state.owned(self.name), before)
                self._audit(everything, decision.changes, seen, None)
                decision.errors.update(dict.fromkeys(ports, "dry_run is on: nothing is changed"))
            else:
                self._impossible = {}
                with self.state.hold(self.name) as fence:
                    seen = transact(
                        self.switch,
                        Ownership(self.state, self.rules, fence),
                        asked,
                        lambda seen, owned: self._decide(everything, seen, owned, before),
                        self._impossible,
                        lambda *made: self._audit(everything, *made),
                    )
                decision = self._decide(everything, seen, self.state.owned(self.name), before)
        except Unavailable as error:
            self._record(
                everything, before, list(failed(self.name, ports, before, str(error), now))
            )
            raise
        self._record(everything, before, list(statuses(self.name, ports, seen, decision, now)))

    def _record(
        self, everything: Wanted, before: Mapping[str, PortStatus], now: list[PortStatus]
    ) -> None:
        self.state.set_statuses(self.name, now)
        news = {status.port for status in now if before.get(status.port) != status}
        self._told(
            link
            for link, at in everything.places.items()
            if at.switch == self.name and at.port in news
        )

    def _decide(
        self,
        everything: Wanted,
        seen: Ports,
        owned: Mapping[str, Vlans],
        before: Mapping[str, PortStatus],
    ) -> Decision:
        """See :func:`decide`; a VLAN that nobody wants is closed when its grace is over."""
        now = self.clock()

        def decision(closable: Parts) -> Decision:
            return decide(
                everything.ports[self.name],
                seen,
                owned,
                self.rules,
                needs_a_vlan=self.switch.needs_a_vlan,
                closable=closable,
                before={} if self.policy.repair else before,
                impossible=self._impossible,
            )

        unwanted = decision(frozenset()).unwanted
        self._unwanted = {key: self._unwanted.get(key, now) for key in unwanted}
        due = now - self.policy.remove_grace
        return decision(
            frozenset(
                (port, vlan)
                for (port, vlan), since in self._unwanted.items()
                if since <= due and vlan not in everything.held
            )
        )

    def _audit(
        self, everything: Wanted, changes: Changes, before: Ports, after: Ports | None
    ) -> None:
        """One line a port that was changed, or would be."""
        for port, change in changes.items():
            users = [
                link
                for link, at in everything.places.items()
                if at.switch == self.name
                and at.port in before
                and (before[at.port].lag or at.port) == port
            ]
            audit.say(self.name, port, change, users, before, after)
