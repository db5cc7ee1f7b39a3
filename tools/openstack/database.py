# SPDX-License-Identifier: Apache-2.0
"""A MariaDB of our own that listens on nothing but a socket in its directory."""

import contextlib
import getpass
import os
import shutil
import socket
from pathlib import Path

from tools.openstack.processes import Server, run

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def missing() -> str:
    """Why no database can be started here; "" if one can."""
    programs = ("mariadbd", "mariadb-install-db")
    lacking = [name for name in programs if not shutil.which(name, path=SEARCH_PATH)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class Database:
    """A server with empty schemas, whose data is lost if the machine goes down.

    :param directory: where everything of it lies; the path of the socket in it is 107 bytes at most
    :param schemas: their names
    """

    def __init__(self, directory: Path, *schemas: str) -> None:
        self.directory = directory
        self.schemas = schemas
        self._socket = directory / "socket"
        self._server: Server | None = None

    def url(self, schema: str) -> str:
        return f"mysql+pymysql://root@localhost/{schema}?unix_socket={self._socket}"

    def start(self) -> None:
        """Make it, start it, and wait until it can be talked to."""
        data = self.directory / "data"
        # MariaDB does not run as root unless told to.
        common = ["--no-defaults", f"--datadir={data}", f"--user={getpass.getuser()}"]
        if not data.exists():
            data.mkdir()
            run(
                {**os.environ, "PATH": SEARCH_PATH},
                "mariadb-install-db",
                *common,
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            )
        first = self.directory / "first.sql"
        create = "CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb3;\n"
        first.write_text("".join(create.format(schema) for schema in self.schemas))
        command = [
            "mariadbd",
            *common,
            f"--socket={self._socket}",
            "--skip-networking",
            f"--init-file={first}",
            "--innodb-flush-log-at-trx-commit=0",
            "--max-connections=500",
        ]
        environment = {**os.environ, "PATH": SEARCH_PATH}
        self._server = Server(command, self.directory / "output", environment)
        self._server.wait_until(self._answers)

    def close(self) -> None:
        """Stop it."""
        if self._server:
            self._server.end()
        self._server = None

    def _answers(self) -> bool:
        """Whether it greets; it does so once ``first.sql`` has run."""
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.connect(str(self._socket))
            return bool(connection.recv(1))
        return False
