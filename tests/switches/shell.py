# SPDX-License-Identifier: Apache-2.0
"""A switch that is a machine with a shell: sshd, and programs that play faults before others."""

import contextlib
import os
import shutil
import signal
from pathlib import Path

from tests.switches.rig import CUT, CUT_AFTER, CUT_BEFORE, LIES, SILENT
from tests.switches.sshd import Sshd

FAULTS = frozenset({CUT, CUT_BEFORE, CUT_AFTER, SILENT, LIES})

#: Stands before a program: notes what it is run for, and plays the fault if it is to write.
PROGRAM = """#!/bin/sh
here={here}
cut() {{ kill -9 "$session"; }}
case "$*" in
{writes})
    session=$$
    while read -r _ _ _ parent _ <"/proc/$session/stat" && [ "$parent" != "$(cat $here/listener)" ]
    do session=$parent; done
    echo write >>$here/calls
    case $(cat $here/fault) in
    "{cut_before}") cut; exit 1 ;;
    "{cut_after}") {real} "$@"; cut; exit 1 ;;
    "{silent}") while [ -s $here/fault ]; do sleep 0.1; done; exit 1 ;;
    "{lies}") [ -t 0 ] || cat >/dev/null; exit 0 ;;
    esac ;;
*) echo read >>$here/calls ;;
esac
exec {real} "$@"
"""


class Shell:
    """The sshd, and what is on its PATH.

    :param directory: where all of it lies; empty
    :param settings: further lines of sshd's configuration
    :param environment: further variables that a login has
    """

    def __init__(self, directory: Path, *settings: str, **environment: object) -> None:
        self.directory = directory
        self.bin = directory / "bin"
        self.bin.mkdir(parents=True)
        for name in ("calls", "fault", "listener"):
            (directory / name).write_text("")
        path = f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin"
        # With SHLVL, bash leaves the .bashrc of whoever runs the tests alone.
        variables = {"PATH": path, "SHLVL": 1, **environment}
        setting = " ".join(f"{name}={value}" for name, value in variables.items())
        self.sshd = Sshd(directory / "sshd", f"SetEnv {setting}", *settings)

    def add(self, program: str, *arguments: str, writes: str = "") -> None:
        """Put a program on the PATH.

        :param arguments: that it is always called with
        :param writes: a pattern of the shell that its other arguments match if they are a write
        """
        real = " ".join([shutil.which(program) or program, *arguments])
        faults = {"cut_before": CUT_BEFORE, "cut_after": CUT_AFTER, "silent": SILENT, "lies": LIES}
        script = PROGRAM.format(here=self.directory, real=real, writes=writes or '"\\n"', **faults)
        (self.bin / program).write_text(script)
        (self.bin / program).chmod(0o755)

    def start(self) -> None:
        self.sshd.start()
        (self.directory / "listener").write_text(str(self.sshd.pid))

    def close(self) -> None:
        self.cut()
        self.sshd.close()

    def calls(self) -> list[str]:
        """``read`` or ``write``, in order, for what was run."""
        return (self.directory / "calls").read_text().split()

    @contextlib.contextmanager
    def fault(self, name):
        if name == CUT:
            self.cut()
            yield
            return
        (self.directory / "fault").write_text(name)
        try:
            yield
        finally:
            (self.directory / "fault").write_text("")

    def cut(self) -> None:
        """End all connections."""
        listener = (self.directory / "listener").read_text()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                pid, _, rest = stat.read_text().partition(" (")
                if listener and rest.rpartition(")")[2].split()[1] == listener:
                    os.kill(int(pid), signal.SIGKILL)
