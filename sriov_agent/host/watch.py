# SPDX-License-Identifier: Apache-2.0
"""Tells when the kernel changes a network device, from rtnetlink's notifications.

Whoever sets a VF has the kernel notify of its PF, and so it tells when libvirt plugs a VF into a
guest or takes it out. Source: ``do_setlink`` in ``net/core/rtnetlink.c``.
"""

import contextlib
import errno
import logging
import os
import select
import socket
import threading
from collections.abc import Callable

from sriov_agent.exceptions import SriovAgentError
from sriov_agent.host import rtnl

LOG = logging.getLogger(__name__)

_RTMGRP_LINK = 1
_RECEIVE_BYTES = 1 << 18
_RETRY_SECONDS = 5.0


class LinkWatch:
    """A thread that calls ``changed`` with a device's name and iproute2's name of its type.

    Where notifications were lost it is called with "" for both: anything may have changed.
    """

    def __init__(self, changed: Callable[[str, str], None]) -> None:
        self._changed = changed
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run, name="link watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        os.write(self._end, b"\0")
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._end)
        os.close(self._ended)

    def _run(self) -> None:
        missed = False
        while True:
            try:
                with socket.socket(
                    socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE
                ) as route:
                    route.bind((0, _RTMGRP_LINK))
                    if missed:
                        self._changed("", "")
                    self._watch(route)
                return
            except OSError as error:
                LOG.error("network devices cannot be watched: %s", error)
                if select.select([self._ended], [], [], _RETRY_SECONDS)[0]:
                    return
                missed = True

    def _watch(self, route: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([route.fileno(), self._ended], [], [])
            if self._ended in ready:
                return
            try:
                data = route.recv(_RECEIVE_BYTES)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._changed("", "")
                continue
            for _, _, message in rtnl.messages(data):
                with contextlib.suppress(SriovAgentError):
                    link = rtnl.read_link(message)
                    self._changed(link.name, link.kind)
