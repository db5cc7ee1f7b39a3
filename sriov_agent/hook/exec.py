# SPDX-License-Identifier: Apache-2.0
"""``exec``: an operator's program configures the switches.

The program gets its arguments as configured, never through a shell, one JSON object on
standard input, and answers with one on standard output. A non-zero exit status is a refusal;
the first line of its standard error says why.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from oslo_config import cfg

from sriov_agent.exceptions import ConfigError, Refused, Unavailable, printable
from sriov_agent.hook.base import Json, JsonHook

_ANSWER_BYTES = 1 << 20


class ExecHook(JsonHook):
    """Runs ``[hook_exec] command`` once for each request."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf.host)
        self.command = list(conf.hook_exec.command)
        self.timeout = conf.hook_exec.timeout
        if not self.command or not Path(self.command[0]).is_absolute():
            raise ConfigError("[hook_exec] command: expected the absolute path of a program")

    def ask(self, request: Mapping[str, Json]) -> Json:
        try:
            program = subprocess.Popen(  # noqa: S603 - separate arguments, no shell
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"device manager {self.command[0]}: {error}") from error
        try:
            out, err = program.communicate(json.dumps(request).encode(), timeout=self.timeout)
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"device manager {self.command[0]}: no answer in {self.timeout} s"
            ) from None
        finally:
            _end(program)
        if program.returncode != 0:
            said = err.decode("utf-8", "replace").strip().partition("\n")[0]
            raise Refused(
                f"device manager {self.command[0]}: exit status {program.returncode}: "
                f"{printable(said, 200)}"
            )
        if len(out) > _ANSWER_BYTES:
            raise Refused(f"device manager {self.command[0]}: answer over {_ANSWER_BYTES} bytes")
        try:
            return json.loads(out)
        except (ValueError, RecursionError) as error:
            raise Refused(
                f"device manager {self.command[0]}: the answer is no JSON: {error}"
            ) from error


def _end(program: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the program's session and reap it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    for stream in (program.stdin, program.stdout, program.stderr):
        if stream and not stream.closed:
            stream.close()
