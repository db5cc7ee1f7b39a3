# SPDX-License-Identifier: Apache-2.0
"""What happened since the start, counted by name from any thread."""

import collections
import threading


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
        """Have ``name`` at this value, such as a time."""
        with self._lock:
            self._counts[name] = value

    def snapshot(self) -> dict[str, int]:
        """All counts now."""
        with self._lock:
            return dict(self._counts)
