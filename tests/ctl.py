# SPDX-License-Identifier: Apache-2.0
"""``sriovctl`` in this process."""

import contextlib
import io
import logging

from sriov_agent.cmd.ctl.app import Sriovctl


def run(*arguments, app=Sriovctl):
    """(exit status, standard output, standard error) of a command; no log handler of it stays."""
    out, err, root = io.StringIO(), io.StringIO(), logging.getLogger()
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
