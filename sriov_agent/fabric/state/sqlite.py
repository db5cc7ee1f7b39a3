# SPDX-License-Identifier: Apache-2.0
"""The state of a single device manager: one SQLite file, and one process that uses it."""

import fcntl
import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sriov_agent.database import Database
from sriov_agent.exceptions import ConfigError, Unavailable
from sriov_agent.fabric.model import PortStatus, Vlans, Want
from sriov_agent.fabric.state import records
from sriov_agent.fabric.state.base import Fence, State

_SCHEMA = (
    "CREATE TABLE want (link TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT",
    "CREATE TABLE owned (switch TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT",
    "CREATE TABLE status (switch TEXT PRIMARY KEY, record TEXT NOT NULL) STRICT",
)


class Sqlite(State):
    """One file. A second process that starts on it is refused.

    :param path: the file; its directory is made. Beside it lies a lock file.
    """

    def __init__(self, path: Path) -> None:
        self.database = Database(path, _SCHEMA)
        self._lock_file: int | None = None
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._fences: dict[str, Fence] = {}

    def start(self, changed: Callable[[], None]) -> None:
        """Take the file; the kernel gives it back when the process ends, however it does."""
        path = self.database.path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError(f"[device_manager] state_path: {error}") from error
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock_file)
            raise ConfigError(
                f"[device_manager] state_path: {path} is another device manager's: {error}"
            ) from error
        self._lock_file = lock_file

    def stop(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
        self._lock_file = None

    def mine(self, switch: str) -> bool:
        return True

    @contextmanager
    def hold(self, switch: str) -> Iterator[Fence]:
        """Be the one writer among the threads of this process; waits for the others."""
        with self._locks[switch]:
            self._fences[switch] = fence = Fence()
            try:
                yield fence
            finally:
                del self._fences[switch]

    def wants(self, host: str | None = None) -> list[Want]:
        # Of a host's keys all begin with its own and a slash, which "0" follows.
        first, after = (
            ("", "\x7f") if host is None else (records.key(host, ""), records.key(host) + "0")
        )
        query = "SELECT record FROM want WHERE link >= ? AND link < ? ORDER BY link"
        with self.database.transaction() as db:
            rows = db.execute(query, (first, after)).fetchall()
        return [records.want(row["record"]) for row in rows]

    def put_wants(self, wants: Iterable[Want]) -> list[Want]:
        kept = []
        with self.database.transaction() as db:
            for want in wants:
                link = records.link_key(want.link)
                row = db.execute("SELECT record FROM want WHERE link = ?", (link,)).fetchone()
                if row is None or records.replaces(want, records.want(row["record"])):
                    record = records.want_text(want)
                    db.execute("INSERT OR REPLACE INTO want VALUES (?, ?)", (link, record))
                    kept.append(want)
        return kept

    def drop_wants(self, wants: Iterable[Want]) -> None:
        with self.database.transaction() as db:
            for want in wants:
                link = records.link_key(want.link)
                row = db.execute("SELECT record FROM want WHERE link = ?", (link,)).fetchone()
                if row is not None and records.want(row["record"]) == want:
                    db.execute("DELETE FROM want WHERE link = ?", (link,))

    def owned(self, switch: str) -> Mapping[str, Vlans]:
        with self.database.transaction() as db:
            return _owned(db, switch)

    def set_owned(self, switch: str, owned: Mapping[str, Vlans], fence: Fence) -> None:
        if self._fences.get(switch) is not fence:
            raise Unavailable(f"{switch}: not held")
        with self.database.transaction() as db:
            record = records.owned_text({**_owned(db, switch), **owned})
            db.execute("INSERT OR REPLACE INTO owned VALUES (?, ?)", (records.key(switch), record))

    def statuses(self) -> list[PortStatus]:
        with self.database.transaction() as db:
            rows = db.execute("SELECT record FROM status ORDER BY switch").fetchall()
        return [status for row in rows for status in records.statuses(row["record"])]

    def set_statuses(self, switch: str, statuses: Iterable[PortStatus]) -> None:
        record = records.statuses_text(statuses)
        with self.database.transaction() as db:
            db.execute("INSERT OR REPLACE INTO status VALUES (?, ?)", (records.key(switch), record))


def _owned(db: sqlite3.Connection, switch: str) -> dict[str, Vlans]:
    query = "SELECT record FROM owned WHERE switch = ?"
    row = db.execute(query, (records.key(switch),)).fetchone()
    return records.owned(row["record"]) if row else {}
