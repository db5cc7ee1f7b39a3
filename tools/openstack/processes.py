# SPDX-License-Identifier: Apache-2.0
"""Server processes on loopback: started in a session of their own, and ended with all of it."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

#: far above what anything takes, for machines that others use as well
START_SECONDS = 300
STOP_SECONDS = 60


class Server:
    """A server process, and what it wrote.

    :ivar output: the file with its stdout and stderr, of all its starts
    """

    def __init__(
        self, command: Sequence[str | Path], output: Path, environment: Mapping[str, str]
    ) -> None:
        self.output = output
        self._name = Path(command[0]).name
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=output.parent,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until it is ready.

        :raises RuntimeError: it ended or took too long; the message has what it wrote last
        """
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if not self.running or time.monotonic() > deadline:
                self.end()
                raise RuntimeError(f"{self._name} did not start:\n{self.log()}")
            time.sleep(0.1)

    def end(self) -> None:
        """Ask it to end, and then whatever is left of its session; nothing if it has ended."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def log(self) -> str:
        """The last of what it wrote."""
        return self.output.read_text("utf-8", "replace")[-5000:]


def run(environment: Mapping[str, str], *command: str | Path) -> str:
    """What a command that comes to an end prints.

    :raises RuntimeError: it failed; the message has the last of what it wrote
    """
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        output = f"{done.stdout}{done.stderr}"[-5000:]
        raise RuntimeError(f"{Path(command[0]).name} failed:\n{output}")
    return done.stdout


def free_ports(number: int) -> list[int]:
    """Ports of loopback that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
