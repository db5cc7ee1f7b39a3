# SPDX-License-Identifier: Apache-2.0
"""What a service tells systemd, over the socket that it is given (sd_notify(3))."""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Mapping


class Systemd:
    """Tells systemd how the service is; nobody where systemd did not start it.

    :param environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._watchdog = 0.0
        if environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid()):
            with contextlib.suppress(ValueError):
                self._watchdog = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
        self._stop = threading.Event()

    def tell(self, **assignments: object) -> None:
        """Such as ``READY=1, STATUS="7 ports"``; a line break would begin another."""
        if not self._address:
            return
        lines = (
            f"{name}={str(value).replace(chr(10), ' ')}" for name, value in assignments.items()
        )
        address = self._address
        address = f"\0{address[1:]}" if address.startswith("@") else address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.connect(address)
            told.sendall("\n".join(lines).encode())

    def ready(self, unhealthy: Callable[[], str]) -> None:
        """The service is up, and is watched as long as it is well.

        :param unhealthy: why it is not, "" if it is; called twice in ``WatchdogSec``
        """
        self.tell(READY=1)
        if self._address and self._watchdog:
            watch = threading.Thread(
                target=self._watch, args=(unhealthy,), name="watchdog", daemon=True
            )
            watch.start()

    def stopping(self) -> None:
        """The service ends."""
        self._stop.set()
        self.tell(STOPPING=1)

    def _watch(self, unhealthy: Callable[[], str]) -> None:
        while not self._stop.wait(self._watchdog / 2):
            if why := unhealthy():
                self.tell(STATUS=why)
            else:
                self.tell(WATCHDOG=1)
