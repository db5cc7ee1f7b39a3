# SPDX-License-Identifier: Apache-2.0
"""Waiting in the lab guest, where one slow CPU does what is waited for and looks whether it is."""

import time

#: Far above what anything takes by emulation, with another guest beside: who waits longer fails.
SEEN_SECONDS = 600


def until(holds, what=""):
    """What ``holds`` returns once it is true; most of the time is left to what is waited for."""
    deadline = time.monotonic() + SEEN_SECONDS
    began = time.monotonic()
    while not (found := holds()):
        now = time.monotonic()
        assert now < deadline, what or "it did not come to pass"
        time.sleep(max(0.3, 3 * (now - began)))
        began = time.monotonic()
    return found
