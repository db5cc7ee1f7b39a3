# SPDX-License-Identifier: Apache-2.0
"""SQLite as the agent uses it: WAL, short transactions, a schema version."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sriov_agent.exceptions import Unavailable

_BUSY_SECONDS = 10.0
_CREATE_POLL_SECONDS = 0.02


class Database:
    """One SQLite file. Each thread may use the same object; each call is one transaction.

    :param schema: statements that create it, run in one transaction when the file is new
    :param version: ``user_version`` of that schema
    """

    def __init__(self, path: Path, schema: Sequence[str], version: int) -> None:
        self.path = path
        self.schema = schema
        self.version = version

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection in one immediate transaction, committed on success.

        :raises Unavailable: if the file cannot be used
        """
        try:
            connection = self.connect()
            try:
                with connection:
                    connection.execute("BEGIN IMMEDIATE")
                    yield connection
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            raise Unavailable(f"{self.path}: {error}") from error

    def connect(self) -> sqlite3.Connection:
        """A connection of the caller's own, the schema in place.

        :raises Unavailable: if the file belongs to another version of the agent
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        try:
            if self._version_of(connection) == 0:
                self._create(connection)
            version = self._version_of(connection)
            if version != self.version:
                raise Unavailable(f"{self.path}: schema version {version}, not {self.version}")
        except BaseException:
            connection.close()
            raise
        return connection

    @staticmethod
    def _version_of(connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _create(self, connection: sqlite3.Connection) -> None:
        """Turn on WAL, for which SQLite does not wait its busy timeout, and make the tables."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                break
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(_CREATE_POLL_SECONDS)
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            if self._version_of(connection) == 0:
                for statement in self.schema:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={self.version}")
