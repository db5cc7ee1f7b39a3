# SPDX-License-Identifier: Apache-2.0
"""OVSDB, the configuration database of Open vSwitch: RFC 7047, with the standard library alone.

ovsdbapp would hold a copy of the database that says nothing about how old it is, a thread a
switch and TLS files that all switches share, and waits for ever on a server that says nothing.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from sriov_agent.exceptions import Refused, Unavailable, printable

DATABASE = "Open_vSwitch"
#: errors of an operation that may pass (RFC 7047 5.2); of the others each is a no
PASSING = {"aborted", "I/O error", "not owner", "resources exhausted"}
LONGEST_ANSWER = 1 << 26

Operation = dict[str, Any]
Row = Mapping[str, Any]


class Wire:
    """One connection: requests and their answers.

    :param where: whose it is, for messages
    :param timeout: seconds for each answer
    """

    def __init__(self, connection: socket.socket, where: str, timeout: float) -> None:
        self.where = where
        self.timeout = timeout
        self._connection = connection
        self._buffer = b""
        self._last_id = 0

    def transact(
        self, *operations: Operation, late: str = "", lost: str = ""
    ) -> list[dict[str, Any]]:
        """The results of the operations, all of which were done.

        :param late: what it means if what was waited for did not come
        :param lost: what it means if the answer did not come
        :raises Refused: one cannot be done, and none was
        :raises Unavailable: one could not be done now, and none was; or the connection failed
        """
        self._last_id += 1
        try:
            answer = self._answer("transact", [DATABASE, *operations])
        except OSError as error:
            reason = "; ".join(filter(None, [str(error), lost]))
            raise Unavailable(f"{self.where}: {reason}") from error
        if answer.get("error") is not None:
            raise Refused(f"{self.where}: {printable(json.dumps(answer['error']))}")
        results: list[dict[str, Any]] = answer["result"]
        for result in filter(None, results):
            if failed := result.get("error"):
                if failed == "timed out":
                    raise Unavailable(f"{self.where}: {late}")
                kind = Unavailable if failed in PASSING else Refused
                details = printable(result.get("details", ""))
                raise kind(f"{self.where}: {printable(failed)} {details}")
        return results

    def settled(self, *selects: Operation) -> list[dict[str, Any]]:
        """The results of these, read when ovs-vswitchd has taken its configuration.

        :raises Unavailable: if it does not take it
        """
        state = select(DATABASE, ["cur_cfg", "next_cfg"])
        results = self.transact(state, *selects)
        (row,) = results[0]["rows"]
        if row["cur_cfg"] < row["next_cfg"]:
            taken = {"op": "wait", "timeout": int(self.timeout * 900), "table": DATABASE}
            taken |= {"where": [["cur_cfg", ">=", row["next_cfg"]]], "until": "!="}
            late = f"ovs-vswitchd has not taken its configuration in {self.timeout:g} s"
            self.transact({**taken, "columns": ["cur_cfg"], "rows": []}, late=late)
            results = self.transact(state, *selects)
        return results[1:]

    def _answer(self, method: str, parameters: list[Any]) -> dict[str, Any]:
        self._send({"id": self._last_id, "method": method, "params": parameters})
        deadline = time.monotonic() + self.timeout
        while True:
            message = self._receive(deadline)
            if message.get("method") == "echo":
                echo = {"id": message.get("id"), "result": message.get("params"), "error": None}
                self._send(echo)
            elif message.get("id") == self._last_id and "method" not in message:
                return message

    def _send(self, message: Mapping[str, Any]) -> None:
        self._connection.settimeout(self.timeout)
        self._connection.sendall(json.dumps(message).encode())

    def _receive(self, deadline: float) -> dict[str, Any]:
        """The next message; they follow one another with nothing between them."""
        while True:
            if self._buffer.endswith(b"}"):
                with contextlib.suppress(ValueError):
                    message, end = json.JSONDecoder().raw_decode(self._buffer.decode())
                    if isinstance(message, dict):
                        self._buffer = self._buffer.decode()[end:].encode()
                        return message
            self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            received = self._connection.recv(1 << 16)
            self._buffer += received
            if not received or len(self._buffer) > LONGEST_ANSWER:
                raise ConnectionError("the connection ended, or it does not speak OVSDB")


def select(table: str, columns: list[str]) -> Operation:
    return {"op": "select", "table": table, "where": [], "columns": columns}


def changed(*operations: Operation, by: str) -> list[Operation]:
    """The operations as one transaction that ovs-vswitchd is to take and that outlives a crash.

    :param by: who changes it, for the log
    """
    bump: Operation = {"op": "mutate", "table": DATABASE, "where": []}
    return [
        *operations,
        {**bump, "mutations": [["next_cfg", "+=", 1]]},
        {"op": "comment", "comment": by},
        {"op": "commit", "durable": True},
    ]


def many(value: Any) -> list[Any]:
    """The members of a set column: a set of one is that one alone."""
    if isinstance(value, list) and value[0] == "set":
        return list(value[1])
    return [value]


def one(value: Any) -> Any:
    """That of a column with at most one, or ``None``."""
    return next(iter(many(value)), None)
