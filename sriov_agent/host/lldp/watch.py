# SPDX-License-Identifier: Apache-2.0
"""Hears from lldpd when a neighbor comes, changes or goes, by ``lldpcli watch``.

What changed is not read here: whoever is told looks again, so nothing is lost between two looks.
"""

import logging
import subprocess
import threading
from collections.abc import Callable, Sequence

LOG = logging.getLogger(__name__)

#: Until lldpd is asked again after it went away.
RESPAWN_SECONDS = 5.0
#: Between two calls, however fast frames change: a guest can send them as it likes.
SETTLE_SECONDS = 1.0
_CHUNK_BYTES = 1 << 16


class Watch:
    """Calls ``changed``, from a thread of its own, whenever lldpd's neighbors may have changed.

    :param command: ``lldpcli`` with its options
    """

    def __init__(self, command: Sequence[str], changed: Callable[[], None]) -> None:
        self.command = (*command, "-f", "json0", "watch", "details")
        self.changed = changed
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="lldp")

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def alive(self) -> bool:
        """Whether lldpd is being watched now."""
        program = self._program
        return program is not None and program.poll() is None

    def stop(self) -> None:
        """End the program and the thread."""
        self._stop.set()
        with self._lock:
            if self._program:
                self._program.kill()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._watch()
            except OSError as error:
                LOG.debug("cannot watch lldpd: %s", error)
            self._stop.wait(RESPAWN_SECONDS)

    def _watch(self) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            self._program = subprocess.Popen(  # noqa: S603 - separate arguments, no shell
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        with self._program as program:
            heard = False
            while program.stdout and program.stdout.read(_CHUNK_BYTES):
                heard = True
                self.changed()
                self._stop.wait(SETTLE_SECONDS)
            if heard:
                # lldpd went away, and its neighbors with it.
                self.changed()
