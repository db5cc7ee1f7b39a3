# SPDX-License-Identifier: Apache-2.0
"""A RabbitMQ broker of our own, on loopback, beside any other that runs here.

It has its own node name, ports, port mapper (epmd), cookie and directory. Everything it starts is
a process of ours and is ended by :meth:`Broker.close`.
"""

import os
import shutil
import subprocess
from pathlib import Path

import kombu

from tools.openstack.processes import Server, free_ports

#: Debian's ``rabbitmq-server`` on PATH only wraps this one, and insists on a user of its own.
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
CONTROL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
#: The user guest may also come from the lab guest, through QEMU's user network.
CONFIGURATION = "disk_free_limit.absolute = 1MB\nloopback_users = none\n"


def missing() -> str:
    """Why no broker can be started here; "" if one can."""
    lacking = [program for program in (SERVER, "epmd", "erl") if not shutil.which(program)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class Broker:
    """A broker that can be stopped and started again; what is not durable is gone then.

    :param directory: where everything of it lies; short, since it is part of what erl is given
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, distribution, epmd_port = free_ports(3)
        self._server: Server | None = None
        self._epmd: Server | None = None
        (self.directory / "enabled_plugins").write_text("[].\n")
        (self.directory / "env.conf").write_text("")
        (self.directory / "rabbitmq.conf").write_text(CONFIGURATION)
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("RABBITMQ_", "ERL_"))}
        self._environment = {
            **kept,
            "HOME": str(self.directory),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_NODENAME": f"sriov-agent-{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
        }

    @property
    def url(self) -> str:
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    @property
    def running(self) -> bool:
        return self._server is not None and self._server.running

    def start(self) -> None:
        """Start it, and wait until it can be talked to."""
        if self._epmd is None:
            self._epmd = self._run("epmd")
        self._server = self._run(SERVER)
        try:
            self._server.wait_until(self._answers)
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Stop it as a system that goes down does."""
        if self._server:
            self._server.end()
        self._server = None

    def close(self) -> None:
        """Stop it, and its port mapper."""
        self.stop()
        if self._epmd:
            self._epmd.end()
        self._epmd = None

    def connection(self) -> kombu.Connection:
        """A connection for a look at queues; a context manager."""
        return kombu.Connection(self.url.replace("rabbit:", "amqp:"), connect_timeout=5)

    def control(self, *arguments: str) -> str:
        """What ``rabbitmqctl`` says, such as to ``add_user``."""
        done = subprocess.run(
            [CONTROL, "--quiet", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stderr or done.stdout}")
        return done.stdout

    def consumers(self, queue: str) -> int:
        """How many consume from a queue; 0 if there is none of this name."""
        with self.connection() as connection:
            try:
                return int(connection.channel().queue_declare(queue, passive=True).consumer_count)
            except connection.channel_errors:
                return 0

    def _answers(self) -> bool:
        try:
            with self.connection() as connection:
                connection.connect()
        except OSError:
            return False
        return True

    def _run(self, program: str) -> Server:
        return Server([program], self.directory / "output", self._environment)
