# SPDX-License-Identifier: Apache-2.0
"""A MariaDB of our own that listens on nothing but a socket in its directory."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tools.openstack.processes import Server

SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def missing() -> str:
    """Why no database can be started here; "" if one can."""
    programs = ("mariadbd", "mariadb-install-db")
    lacking = [name for name in programs if not shutil.which(name, path=SEARCH_PATH)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class Database:
    """A server with one empty schema, whose data is lost if the machine goes down.

    :param directory: where everything of it lies; the path of the socket in it is 107 bytes at most
    :param schema: the name of the schema
    """

    def __init__(self, directory: Path, schema: str) -> None:
        self.directory = directory
        self.schema = schema
        self._socket = directory / "socket"
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"mysql+pymysql://root@localhost/{self.schema}?unix_socket={self._socket}"

    def start(self) -> None:
        """Make it, start it, and wait until it can be talked to."""
        data = self.directory / "data"
        # MariaDB does not run as root unless told to.
        common = ["--no-defaults", f"--datadir={data}", f"--user={getpass.getuser()}"]
        if not data.exists():
            data.mkdir()
            made = subprocess.run(
                [
                    "mariadb-install-db",
                    *common,
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                ],
                env={**os.environ, "PATH": SEARCH_PATH},
                capture_output=True,
                text=True,
                check=False,
            )
            if made.returncode != 0:
                raise RuntimeError(f"MariaDB made no data directory:\n{made.stdout}{made.stderr}")
        first = self.directory / "first.sql"
        first.write_text(f"CREATE DATABASE IF NOT EXISTS {self.schema} CHARACTER SET utf8mb3;\n")
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
