# SPDX-License-Identifier: Apache-2.0
"""A RabbitMQ of the tests' own: node, ports, files and epmd, all on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

#: Debian's ``rabbitmq-server`` on PATH changes the user; this is what it runs then.
PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_SECONDS = 120
STOP_SECONDS = 60


def missing() -> str:
    """What is not installed, or ""."""
    for program in (str(PROGRAM), "erl", "epmd"):
        if shutil.which(program) is None:
            return f"{program} not found: install rabbitmq-server"
    return ""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Broker:
    """Started and stopped at will; everything it writes is below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._epmd_port = free_port()
        self._dist_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Start it and wait until it speaks AMQP.

        :raises RuntimeError: with the end of its log if it does not
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM],
                env=self._environment(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._speaks_amqp():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"RabbitMQ did not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it, gently if it lets us; what it keeps on disk stays."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process = None

    def stop_epmd(self) -> None:
        """Stop the port mapper that Erlang started beside the node, on a port of our own."""
        subprocess.run(
            ["epmd", "-port", str(self._epmd_port), "-kill"],
            env=self._environment(),
            check=False,
            capture_output=True,
            timeout=STOP_SECONDS,
        )

    @property
    def _log(self) -> Path:
        return self.directory / "startup.log"

    def _environment(self) -> dict[str, str]:
        here = str(self.directory)
        empty = self.directory / "empty"
        empty.touch()
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": here,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": f"sriov-agent-tests-{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{here}/mnesia",
            "RABBITMQ_LOG_BASE": f"{here}/log",
            "RABBITMQ_CONF_ENV_FILE": str(empty),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(empty),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _speaks_amqp(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False
