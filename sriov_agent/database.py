# SPDX-License-Identifier: Apache-2.0
"""SQLite as the agent uses it: WAL, short transactions, a schema version."""

import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from sriov_agent.exceptions import Unavailable

#: What may come of a file, beside what is raised here.
_ERRORS = (sqlite3.Error, OSError)
_BUSY_SECONDS = 10.0
_CREATE_POLL_SECONDS = 0.02


class Database:
    """One SQLite file. Each thread may use the same object; each call is one transaction.

    A thread's connection is kept as long as the file is the same one.

    :param versions: for each version of its schema, ``user_version`` 1 first, the statements that
        lead there from the one before; what a file lacks is run in one transaction
    """

    def __init__(self, path: Path, *versions: Sequence[str]) -> None:
        self.path = path
        self.versions = versions
        self._kept = threading.local()

    def transaction(self) -> "_Transaction":
        """A connection in one immediate transaction, committed on success.

        :raises Unavailable: if the file cannot be used
        """
        return _Transaction(self, "BEGIN IMMEDIATE")

    def reading(self) -> "_Transaction":
        """A connection that sees one state of the file, and waits for nobody who writes it.

        :raises Unavailable: if the file cannot be used
        """
        return _Transaction(self, "BEGIN")

    def unavailable(self, error: Exception) -> Unavailable:
        """What is to be said of an error of SQLite's or the system's."""
        denied = f", and user {os.getuid()} may not use it: be root, or in its group"
        whose = "" if self._may_be_used() else denied
        return Unavailable(f"{self.path}: {error}{whose}")

    def begin(self, statement: str) -> sqlite3.Connection:
        """This thread's own, in the transaction that the statement begins."""
        kept: sqlite3.Connection | None = getattr(self._kept, "connection", None)
        if kept:
            there = self._identity()
            if there and there == self._kept.file:
                kept.execute(statement)
                # Asked outside of it, this would be a transaction of its own.
                if self._version_of(kept) == len(self.versions):
                    return kept
            self._kept.connection = None
            kept.close()
        connection = self._kept.connection = self.connect()
        self._kept.file = self._identity()
        connection.execute(statement)
        return connection

    def connect(self) -> sqlite3.Connection:
        """A connection of the caller's own, the schema in place.

        :raises Unavailable: if the file belongs to a later version of the agent
        """
        self._make()
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None)
        connection.row_factory = sqlite3.Row
        # In WAL mode what was committed outlives the process, and a power cut all VFs.
        connection.execute("PRAGMA synchronous=NORMAL")
        try:
            if self._version_of(connection) == 0:
                self._turn_on_wal(connection)
            if self._version_of(connection) < len(self.versions):
                self._upgrade(connection)
            version = self._version_of(connection)
            if version != len(self.versions):
                raise Unavailable(
                    f"{self.path}: schema version {version}, not {len(self.versions)}"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _make(self) -> None:
        """An empty file, where there is none: its group may write it, unless the umask says no.

        What root makes in another user's directory is that user's: the agent may not be root.
        """
        directory = self.path.parent
        directory.mkdir(parents=True, exist_ok=True)
        try:
            made = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o664)
        except FileExistsError:
            return
        try:
            if os.geteuid() == 0:
                owner = directory.stat()
                os.fchown(made, owner.st_uid, owner.st_gid)
        finally:
            os.close(made)

    def _may_be_used(self) -> bool:
        """Whether this user has the rights; the directory's too, where SQLite keeps its WAL."""
        there = next(path for path in (self.path, *self.path.parents) if os.access(path, os.F_OK))
        asked = (there, there.parent) if there == self.path else (there,)
        return all(os.access(path, os.R_OK | os.W_OK) for path in asked)

    def _identity(self) -> tuple[int, int] | None:
        """Which file it is, ``None`` if there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    @staticmethod
    def _version_of(connection: sqlite3.Connection) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        return int(version)

    def _turn_on_wal(self, connection: sqlite3.Connection) -> None:
        """For this SQLite does not wait its busy timeout."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(_CREATE_POLL_SECONDS)

    def _upgrade(self, connection: sqlite3.Connection) -> None:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            for statements in self.versions[self._version_of(connection) :]:
                for statement in statements:
                    connection.execute(statement)
            if self._version_of(connection) < len(self.versions):
                connection.execute(f"PRAGMA user_version={len(self.versions)}")


class _Transaction:
    """A thread's connection for as long as a transaction; a generator would take as long again."""

    def __init__(self, database: Database, statement: str) -> None:
        self._database = database
        self._statement = statement

    def __enter__(self) -> sqlite3.Connection:
        try:
            self._connection = self._database.begin(self._statement)
        except _ERRORS as error:
            raise self._database.unavailable(error) from error
        return self._connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._connection.__exit__(kind, error, trace)
        except _ERRORS as failed:
            raise self._database.unavailable(failed) from failed
        if isinstance(error, _ERRORS):
            raise self._database.unavailable(error) from error
