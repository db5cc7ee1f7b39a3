# SPDX-License-Identifier: Apache-2.0
"""Another user than the one that runs the tests, who has to be root for it."""

import os

NOBODY = 65534


def as_nobody(work):
    """What this returns, or raises, where another user does it: as text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writer, repr(work()).encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as said:
        return said.read()
