# SPDX-License-Identifier: Apache-2.0
"""Stands between sshd and a NETCONF server: notes what clients send, and plays faults.

It is what sshd starts as the subsystem ``netconf``: ``python subsystem.py DIRECTORY COMMAND...``.
In the directory, ``sent`` gets a line for each operation of a client, ``sessions`` holds a file
named for each process that runs, a file in ``faults`` is a fault that is on, and ``user`` names
whom the server takes clients for, if they are not who logged in.
"""

import os
import re
import selectors
import subprocess
import sys
import time
from pathlib import Path

#: What ends a message: of NETCONF 1.0 and, the chunks of 1.1 (RFC 6242).
END = re.compile(rb"\]\]>\]\]>|\n##\n")
#: An operation of a client: the first element in <rpc>.
OPERATION = re.compile(rb"<(?:\w+:)?rpc\b[^>]*>\s*<(?:\w+:)?([\w-]+)")
SESSION = re.compile(rb"<(?:\w+:)?session-id>(\d+)<")
OWN = b'message-id="lie"'
#: What netconfd answers by losing the edit: https://github.com/yuma123/yuma123, 2.13 and 2.14.
VALIDATE = (
    b'<rpc xmlns="urn:ietf:params:xml:ns:netconf:base:1.0" ' + OWN + b">"
    b"<validate><source><candidate/></source></validate></rpc>"
)


class Relay:
    """One connection of a client."""

    def __init__(self, directory: Path, server: "subprocess.Popen[bytes]") -> None:
        self.directory = directory
        self.server = server
        self.cut_when_answered = False
        self.session = b""
        self.greeted = False

    def from_client(self, message: bytes, end: bytes) -> bytes:
        """What goes on to the server."""
        found = OPERATION.search(message)
        operation = found[1].decode() if found else "hello"
        if found and not self.greeted:
            self.wait_until_greeted()
        with (self.directory / "sent").open("a") as file:
            file.write(f"{operation}\n")
        if operation == "commit":
            if self.on("cut-before"):
                self.end()
            if self.on("silent"):
                return b""
            self.cut_when_answered = self.on("cut-after")
            if self.on("lies"):
                chunk = b"\n#%d\n" % len(VALIDATE) if end != b"]]>]]>" else b""
                return chunk + VALIDATE + end + message + end
        return message + end

    def from_server(self, message: bytes, end: bytes) -> bytes:
        """What goes on to the client."""
        if not self.session and (found := SESSION.search(message)):
            self.session = found[1]
        if self.cut_when_answered:
            self.end()
        return b"" if OWN in message else message + end

    def wait_until_greeted(self) -> None:
        """Wait until the server has understood the client's greeting.

        netconfd loses a request that comes in one piece with it. A client can but pause; here its
        log tells.
        """
        active = re.compile(rb"^Session %s for .* now active" % self.session, re.MULTILINE)
        deadline = time.monotonic() + 60
        while not active.search((self.directory / "output").read_bytes()):
            if time.monotonic() > deadline:
                self.end()
            time.sleep(0.01)
        self.greeted = True

    def on(self, fault: str) -> bool:
        return (self.directory / "faults" / fault).exists()

    def end(self) -> None:
        self.server.kill()
        os._exit(0)


def main() -> None:
    directory, command = Path(sys.argv[1]), sys.argv[2:]
    if (directory / "user").exists():
        os.environ["USER"] = (directory / "user").read_text()
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin
    assert server.stdout
    (directory / "sessions" / f"{os.getpid()}").touch()
    relay = Relay(directory, server)
    ways = {
        0: (server.stdin.fileno(), relay.from_client),
        server.stdout.fileno(): (1, relay.from_server),
    }
    held = dict.fromkeys(ways, b"")
    with selectors.DefaultSelector() as selector:
        for source in ways:
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                source = key.fd
                target, handle = ways[source]
                data = os.read(source, 65536)
                if not data:
                    relay.end()
                held[source] += data
                while match := END.search(held[source]):
                    message, held[source] = (
                        held[source][: match.start()],
                        held[source][match.end() :],
                    )
                    write(target, handle(message, match[0]))


def write(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]


if __name__ == "__main__":
    main()
