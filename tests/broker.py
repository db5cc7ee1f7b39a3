# SPDX-License-Identifier: Apache-2.0
"""A RabbitMQ broker of the tests' own, on loopback, beside any other that runs here.

It has its own node name, ports, port mapper (epmd), cookie and directory. Everything it starts is
a process of ours and is ended by :meth:`Broker.close`.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import kombu

#: Debian's ``rabbitmq-server`` on PATH only wraps this one, and insists on a user of its own.
SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
START_SECONDS = 120
STOP_SECONDS = 60


def missing():
    """Why no broker can be started here; "" if one can."""
    lacking = [program for program in (SERVER, "epmd", "erl") if not shutil.which(program)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class Broker:
    """A broker that can be stopped and started again; what is not durable is gone then.

    :param directory: where everything of it lies; short, since it is part of what erl is given
    """

    def __init__(self, directory):
        self.directory = Path(directory)
        self.port, distribution, self._epmd_port = free_ports(3)
        self._server = None
        self._epmd = None
        (self.directory / "enabled_plugins").write_text("[].\n")
        (self.directory / "env.conf").write_text("")
        (self.directory / "rabbitmq.conf").write_text("disk_free_limit.absolute = 1MB\n")
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("RABBITMQ_", "ERL_"))}
        self._environment = {
            **kept,
            "HOME": str(self.directory),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
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
    def url(self):
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    @property
    def running(self):
        return self._server is not None and self._server.poll() is None

    def start(self):
        """Start it, and wait until it can be talked to."""
        if self._epmd is None:
            self._epmd = self._run("epmd")
        self._server = self._run(SERVER)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.running or time.monotonic() > deadline:
                self.close()
                raise RuntimeError(f"RabbitMQ did not start:\n{self.log()}")
            time.sleep(0.2)

    def stop(self):
        """Stop it as a system that goes down does."""
        end(self._server)
        self._server = None

    def close(self):
        """Stop it, and its port mapper."""
        for process in (self._server, self._epmd):
            end(process)
        self._server = self._epmd = None

    def connection(self):
        """A connection for a look at queues; a context manager."""
        return kombu.Connection(self.url.replace("rabbit:", "amqp:"), connect_timeout=5)

    def consumers(self, queue):
        """How many consume from a queue; 0 if there is none of this name."""
        with self.connection() as connection:
            try:
                return connection.channel().queue_declare(queue, passive=True).consumer_count
            except connection.channel_errors:
                return 0

    def log(self):
        """What it wrote, for who wonders why it did not start."""
        return (self.directory / "output").read_text("utf-8", "replace")[-5000:]

    def _answers(self):
        try:
            with self.connection() as connection:
                connection.connect()
        except OSError:
            return False
        return True

    def _run(self, program):
        with (self.directory / "output").open("ab") as output:
            return subprocess.Popen(
                [program],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
                env=self._environment,
                start_new_session=True,
            )


def end(process):
    """Ask the process to end, and then whatever is left of its session."""
    if process is None:
        return
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_ports(number):
    """Ports of loopback that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
