# SPDX-License-Identifier: Apache-2.0
"""Every network device with its VFs, from one rtnetlink dump.

Read from a plain socket: a library would decode each message, with the lengths that
:mod:`sriov_agent.host.rtnl` cannot believe.
"""

import errno
import os
import socket

from sriov_agent.exceptions import Unavailable
from sriov_agent.host import rtnl

_DUMP_ATTEMPTS = 5
_RECEIVE_BYTES = 1 << 20


def links() -> dict[str, rtnl.Link]:
    """Every device of this network namespace by name, VFs without their statistics.

    :raises Unavailable: if the kernel could not be asked
    """
    for _ in range(_DUMP_ATTEMPTS):
        try:
            messages = _dump()
        except OSError as error:
            raise Unavailable(f"RTM_GETLINK failed: {error}") from error
        if messages is not None:
            return {link.name: link for link in map(rtnl.read_link, messages)}
    raise Unavailable(f"RTM_GETLINK: links changed during each of {_DUMP_ATTEMPTS} dumps")


def _dump() -> list[bytes] | None:
    """One dump's ``RTM_NEWLINK`` messages; ``None`` if the kernel says it is inconsistent."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as route:
        route.send(rtnl.dump_request())
        messages: list[bytes] = []
        while True:
            data, _, flags, _ = route.recvmsg(_RECEIVE_BYTES)
            if flags & socket.MSG_TRUNC:
                raise OSError(errno.EMSGSIZE, f"answer longer than {_RECEIVE_BYTES} bytes")
            for kind, interrupted, message in rtnl.messages(data):
                if interrupted:
                    return None
                if kind == rtnl.NLMSG_DONE:
                    return messages
                if kind == rtnl.NLMSG_ERROR:
                    code = rtnl.error_code(message)
                    raise OSError(code, os.strerror(code))
                messages.append(message)
