# SPDX-License-Identifier: Apache-2.0
"""What happened since the start, and how long it took, counted from any thread."""

import bisect
import collections
import itertools
import threading

from sriov_agent.core.metrics import Histogram

#: Upper limits of the buckets of times, in seconds.
_LIMITS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, float("inf"))


class Counters:
    """Counts by name, such as ``events.rejected``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()

    def count(self, name: str, by: int = 1) -> None:
        """Add ``by`` to the count of ``name``."""
        with self._lock:
            self._counts[name] += by

    def set(self, name: str, value: int) -> None:
        """Have ``name`` at this value, such as a time, whose name ends in ``_at``."""
        with self._lock:
            self._counts[name] = value

    def snapshot(self) -> dict[str, int]:
        """All counts now."""
        with self._lock:
            return dict(self._counts)


class Durations:
    """How long things took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * len(_LIMITS)
        self._total = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        with self._lock:
            self._counts[bisect.bisect_left(_LIMITS, seconds)] += 1
            self._total += seconds

    def snapshot(self) -> Histogram:
        """All of them now."""
        with self._lock:
            counts = itertools.accumulate(self._counts)
            return Histogram(tuple(zip(_LIMITS, counts, strict=True)), self._total)
