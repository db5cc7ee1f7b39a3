# SPDX-License-Identifier: Apache-2.0
"""What a thread asks of Neutron: of each kind one question waits, and what fails is asked again."""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from sriov_agent.exceptions import SriovAgentError

LOG = logging.getLogger(__name__)

#: The first and the longest time until Neutron is asked again, in seconds.
RETRY_SECONDS = (1.0, 60.0)
#: The order in which questions are asked that came together.
_ORDER = ("status", "policies", "ports", "list", "not pushed", "trunks")


def delays() -> Iterator[float]:
    """How long to wait before each new try, in seconds."""
    delay, longest = RETRY_SECONDS
    while True:
        yield delay * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
        delay = min(delay * 2, longest)


class Asking:
    """A thread's questions: of each kind one waits at most, and what fails is asked again.

    :param ask: asks one, and raises if it is to be asked again
    :param clock: seconds, as of :func:`time.monotonic`
    """

    def __init__(
        self,
        ask: Callable[[str, frozenset[str]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._condition = threading.Condition()
        self._due: dict[str, float] = {}
        self._ports: set[str] = set()
        self._retry: dict[str, Iterator[float]] = {}
        self._stopped = False

    def put(self, what: str, port_ids: Iterable[str] = (), after: float = 0.0) -> None:
        """Have it asked, ``after`` so many seconds at the latest."""
        with self._condition:
            at = self._clock() + after
            sooner = at < min(self._due.values(), default=float("inf"))
            self._due[what] = min(at, self._due.get(what, at))
            self._ports |= set(port_ids)
            if sooner:
                self._condition.notify()

    def stop(self) -> None:
        """Have :meth:`run` return after the question it is at."""
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def run(self) -> None:
        """Ask until :meth:`stop`."""
        while not self._stopped:
            if not self.step():
                self._wait()

    def step(self) -> bool:
        """Ask what is due, one question; False if there is none."""
        question = self._next()
        if question is None:
            return False
        what, port_ids = question
        try:
            self._ask(what, port_ids)
        except SriovAgentError as error:
            LOG.error("%s: %s", what, error)
            self._again(what, port_ids)
        except Exception:
            LOG.exception("%s: failed", what)
            self._again(what, port_ids)
        else:
            self._retry.pop(what, None)
        return True

    def _next(self) -> tuple[str, frozenset[str]] | None:
        with self._condition:
            now = self._clock()
            for what in _ORDER:
                if self._due.get(what, float("inf")) <= now:
                    del self._due[what]
                    port_ids = frozenset(self._ports if what == "ports" else ())
                    self._ports -= port_ids
                    return what, port_ids
        return None

    def _wait(self) -> None:
        with self._condition:
            earliest = min(self._due.values(), default=None)
            wait = None if earliest is None else earliest - self._clock()
            if not self._stopped and (wait is None or wait > 0):
                self._condition.wait(wait)

    def _again(self, what: str, port_ids: frozenset[str]) -> None:
        self.put(what, port_ids, after=next(self._retry.setdefault(what, delays())))
