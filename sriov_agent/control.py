# SPDX-License-Identifier: Apache-2.0
"""The agent's local socket, by which ``sriovctl`` asks the running agent for something.

One JSON object on a line is answered by one: ``{"op": "reconcile"}`` by ``{}`` after a pass over
everything, and what cannot be done by ``{"error": SENTENCE}``. Only root, the agent's own user and
its group's members are answered; where it runs as root, root alone. The device manager has such a
socket too.
"""

import array
import contextlib
import grp
import json
import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sriov_agent.exceptions import Refused, SriovAgentError, Unavailable

Json = object

_REQUEST_BYTES = 1 << 16
_PEER = struct.Struct("=iII")
#: Source: ``include/uapi/asm-generic/socket.h``; Python has no name for it.
_SO_PEERGROUPS = 59
#: As much as Python takes of a socket option: 256 groups.
_GROUPS_BYTES = 1024


class Control:
    """Listens on a socket in the agent's directory.

    :param operations: what can be asked for, by name; each returns when it is done, what it has to
        say if anything
    """

    def __init__(
        self, path: Path, operations: Mapping[str, Callable[[], Mapping[str, Json] | None]]
    ) -> None:
        self.path = path
        self.operations = operations
        self._server: socketserver.ThreadingUnixStreamServer | None = None

    def start(self) -> None:
        """Begin to listen, in the place of an agent that ended without a word.

        :raises Unavailable: if the socket cannot be made
        """
        control = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 60

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    answer = control._answer(self.connection, self.rfile.readline(_REQUEST_BYTES))
                    self.wfile.write(json.dumps(answer).encode() + b"\n")

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            before = os.umask(0o117 if os.getegid() else 0o177)
            try:
                self._server = socketserver.ThreadingUnixStreamServer(str(self.path), Handler)
            finally:
                os.umask(before)
        except OSError as error:
            raise Unavailable(f"the socket {self.path} cannot be made: {error}") from error
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, name="control", daemon=True).start()

    def stop(self) -> None:
        """Listen no more."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self.path.unlink(missing_ok=True)

    def _answer(self, connection: socket.socket, line: bytes) -> Json:
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        _, user, group = _PEER.unpack(peer)
        if user not in (0, os.geteuid()):
            ours = os.getegid()
            if not ours or ours not in {group, *_peer_groups(connection)}:
                return {"error": f"user {user} may not ask the agent: be root{_or_group(ours)}"}
        try:
            request = json.loads(line)
            operation = self.operations[request["op"]]
        except (ValueError, TypeError, LookupError, RecursionError):
            return {"error": "no such operation: " + ", ".join(sorted(self.operations))}
        try:
            return operation() or {}
        except SriovAgentError as error:
            return {"error": str(error)}


def _peer_groups(connection: socket.socket) -> "array.array[int]":
    """The supplementary groups of who is connected; none of somebody with too many."""
    groups = array.array("I")
    with contextlib.suppress(OSError):
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES))
    return groups


def _or_group(group: int) -> str:
    if not group:
        return ""
    try:
        return f", or in the group {grp.getgrgid(group).gr_name}"
    except KeyError:
        return f", or in the group {group}"


def ask(path: Path, operation: str, seconds: float, peer: str = "sriov-agent") -> Mapping[str, Any]:
    """Have a running daemon do something, and wait until it is done; what it says then.

    :param peer: the daemon
    :raises Unavailable: if it does not run, or does not answer in time
    :raises Refused: if it says that it cannot, or this user may not ask it
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(json.dumps({"op": operation}).encode() + b"\n")
            line = connection.makefile("rb").readline()
        answer = json.loads(line) if line else None
    except PermissionError as error:
        raise Refused(
            f"user {os.getuid()} may not ask {peer} on {path}: be root, or in its group"
        ) from error
    except TimeoutError as error:
        raise Unavailable(f"{peer} did not answer on {path} in {seconds:g} s: try again") from error
    except OSError as error:
        raise Unavailable(
            f"{peer} does not answer on {path} ({error.strerror or error}): does it run? "
            f"See: systemctl status {peer}"
        ) from error
    except (ValueError, RecursionError):
        answer = ""
    if answer is None:
        raise Unavailable(f"{peer} ended before it answered on {path}: try again")
    if not isinstance(answer, dict):
        raise Refused(f"what answered on {path} speaks otherwise: is it {peer} of this version?")
    if answer.get("error"):
        raise Refused(str(answer["error"]))
    return answer
