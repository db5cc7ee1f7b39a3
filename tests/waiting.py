# SPDX-License-Identifier: Apache-2.0
"""Waiting on this machine, for what others do in threads and processes of their own."""

import time

#: Far above what anything takes, in seconds: who waits this long fails.
PATIENCE = 180


def until(holds, what="it did not come to pass", patience=PATIENCE):
    """What ``holds`` returns once it is true."""
    deadline = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found
