# SPDX-License-Identifier: Apache-2.0
"""``sriovctl`` in this process."""

import contextlib
import io
import logging
import sys
import threading

from sriov_agent.cmd.ctl.app import Sriovctl


class Said(io.StringIO):
    """What is written to a stream, but for what threads write to it that were there before."""

    def __init__(self, stream):
        super().__init__()
        self.stream = stream
        self.others = set(threading.enumerate()) - {threading.current_thread()}

    def write(self, text):
        if threading.current_thread() in self.others:
            return self.stream.write(text)
        return super().write(text)


def run(*arguments, app=Sriovctl):
    """(exit status, standard output, standard error) of a command; no log handler of it stays."""
    out, err, root = Said(sys.stdout), Said(sys.stderr), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = app().run(list(arguments))
        except SystemExit as end:
            status = end.code
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
    return status, out.getvalue(), err.getvalue()
