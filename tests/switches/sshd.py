# SPDX-License-Identifier: Apache-2.0
"""An OpenSSH server of our own on loopback: own port, keys and directory; nothing of the system's.

It runs as whoever runs the tests, and lets only that user in, by one key.
"""

import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tools.openstack.processes import Server, free_ports, run

SSHD = "/usr/sbin/sshd"
#: Where root's sshd insists on a directory; Debian's unit makes it when it starts the system's.
PRIVILEGE_SEPARATION = Path("/run/sshd")


def missing() -> str:
    """Why no server can be started here; "" if one can."""
    lacking = [program for program in (SSHD, "ssh-keygen") if not shutil.which(program)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class Sshd:
    """A server that can be ended and started again, on the same port with the same host key.

    :param directory: where all of it lies; empty
    :param settings: further lines of its configuration
    :param host_key_type: ``ed25519``, ``rsa`` or ``ecdsa``

    :ivar port: where it listens, on 127.0.0.1
    :ivar username: who may log in
    :ivar key_file: with what
    :ivar host_key: type and key, as in known_hosts
    """

    def __init__(
        self,
        directory: Path,
        *settings: str,
        host_key_type: str = "ed25519",
        port: int | None = None,
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.port = port or free_ports(1)[0]
        self.username = getpass.getuser()
        self.key_file = directory / "key"
        self.host_key = self._make_key(directory / "host_key", host_key_type)
        self._make_key(self.key_file, "ed25519")
        self._config = directory / "sshd_config"
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {directory / 'host_key'}",
            f"AuthorizedKeysFile {self.key_file}.pub",
            f"AllowUsers {self.username}",
            "PermitRootLogin yes",
            "PasswordAuthentication yes",
            "MaxStartups 100",
            "UsePAM no",
            "StrictModes no",
            "PidFile none",
            "LogLevel VERBOSE",
            *settings,
        ]
        # Since OpenSSH 9.8 a client that failed to log in is kept out for a while.
        for penalties in (["PerSourcePenalties no"], []):
            self._config.write_text("\n".join([*lines, *penalties, ""]))
            if os.getuid() == 0:
                PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
            done = subprocess.run(
                [SSHD, "-t", "-f", self._config], capture_output=True, check=False
            )
            if done.returncode == 0:
                break
        self._server: Server | None = None

    def start(self) -> None:
        """Start it, and wait until it can be talked to."""
        environment = {"PATH": os.environ["PATH"]}
        self._server = Server(
            [SSHD, "-D", "-e", "-f", self._config], self.directory / "output", environment
        )
        self._server.wait_until(self._answers)

    def close(self) -> None:
        """End it, and all its connections."""
        if self._server:
            self._server.end()
        self._server = None

    @property
    def pid(self) -> int:
        """Of what listens; 0 while nothing does."""
        return self._server.pid if self._server else 0

    def log(self) -> str:
        """The last of what it wrote."""
        return self._server.log() if self._server else ""

    @staticmethod
    def _make_key(path: Path, kind: str) -> str:
        run(os.environ, "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", path)
        return " ".join(path.with_suffix(".pub").read_text().split()[:2])

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False
