# SPDX-License-Identifier: Apache-2.0
"""When to try again what failed."""

import math
import random


class Backoff:
    """When to try again what is unmet: doubling from ``shortest`` to ``longest``, jittered.

    Times are seconds of a monotonic clock.
    """

    def __init__(self, shortest: float, longest: float) -> None:
        self.shortest = shortest
        self.longest = max(shortest, longest)
        self._delay: dict[str, float] = {}
        self._due: dict[str, float] = {}

    def failed(self, key: str, now: float) -> None:
        """``key`` is unmet after being tried now."""
        delay = min(self._delay.get(key, self.shortest / 2) * 2, self.longest)
        self._delay[key] = delay
        self._due[key] = now + delay * random.uniform(0.8, 1.2)  # noqa: S311 - no secret

    def succeeded(self, key: str) -> None:
        """``key`` is met, or gone."""
        self._delay.pop(key, None)
        self._due.pop(key, None)

    def waits(self, key: str) -> None:
        """``key`` was tried, and who was asked has yet to answer; if it failed, the delay grows."""
        if key in self._due:
            self._due[key] = math.inf

    def known(self) -> frozenset[str]:
        """What failed, and is neither met nor gone since."""
        return frozenset(self._due)

    def due(self, now: float) -> frozenset[str]:
        """What is to be tried now."""
        return frozenset(key for key, at in self._due.items() if at <= now)

    def next(self) -> float:
        """When the next one is due; infinity if nothing waits."""
        return min(self._due.values(), default=math.inf)
