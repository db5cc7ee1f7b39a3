# SPDX-License-Identifier: Apache-2.0
"""SQLite as the agent uses it: WAL, short transactions, a schema version."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sriov_agent.exceptions import Unavailable

_BUSY_SECONDS = 10.0


class Database:
    """One SQLite file. Each thread may use the same object; each call is one transaction.

    :param schema: statements that create it, run when the file is new
    :param version: ``user_version`` of that schema
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
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
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(
                f"BEGIN IMMEDIATE; {self.schema}; PRAGMA user_version={self.version}; COMMIT;"
            )
        elif version != self.version:
            connection.close()
            raise Unavailable(f"{self.path}: schema version {version}, expected {self.version}")
        return connection
