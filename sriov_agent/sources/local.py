# SPDX-License-Identifier: Apache-2.0
"""``local``: no OpenStack; ports are what ``sriovctl port create`` wrote."""

import contextlib
import logging
import threading

from sriov_agent.core.report import Report
from sriov_agent.core.state import Bindings
from sriov_agent.core.taps import Taps
from sriov_agent.exceptions import SriovAgentError
from sriov_agent.sources.base import Wake
from sriov_agent.sources.ports import Ports
from sriov_agent.sources.taps import TapRegistry

LOG = logging.getLogger(__name__)


class Local:
    """Watches the table of ports for changes by other processes.

    :param poll_interval: seconds between two looks at SQLite's ``data_version``
    """

    def __init__(self, ports: Ports, poll_interval: float) -> None:
        self.ports = ports
        self.taps = TapRegistry(ports)
        self.poll_interval = poll_interval
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._known: set[tuple[str, str]] = set()
        self._known_taps = Taps()

    def start(self, wake: Wake) -> None:
        with contextlib.suppress(SriovAgentError):
            self._known, self._known_taps = self._rows(), self.taps.taps()
        self._thread = threading.Thread(target=self._watch, args=(wake,), name="local")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def tell(self, report: Report) -> None:
        """Nobody waits for it."""

    def bindings(self) -> Bindings:
        return self.ports.bindings()

    def _watch(self, wake: Wake) -> None:
        while not self._stop.is_set():
            try:
                self._watch_connection(wake)
            except (SriovAgentError, OSError) as error:
                LOG.error("cannot watch %s: %s", self.ports.database.path, error)
                wake(None)
            except Exception:
                LOG.exception("watching %s failed", self.ports.database.path)
            self._stop.wait(self.poll_interval)

    def _watch_connection(self, wake: Wake) -> None:
        connection = self.ports.database.connect()
        try:
            version = None
            while not self._stop.wait(self.poll_interval):
                (seen,) = connection.execute("PRAGMA data_version").fetchone()
                if seen != version:
                    version = seen
                    rows = self._rows()
                    changed = {port_id for port_id, _ in self._known ^ rows}
                    self._known = rows
                    taps, self._known_taps = self._known_taps, self.taps.taps()
                    if taps != self._known_taps:
                        wake(None)
                    elif changed:
                        wake(frozenset(changed))
        finally:
            connection.close()

    def _rows(self) -> set[tuple[str, str]]:
        return {(port.port_id, repr(port)) for port in self.ports.all()}
