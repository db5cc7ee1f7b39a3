# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.fakes.vpp SOCKET``: says ``ready`` once it listens, until it is ended."""

import importlib.resources
import itertools
import json
import socketserver
import struct
import sys
import threading

from vpp_papi import VPPApiJSONFiles

from tests.fakes.vpp.definitions import read
from tests.fakes.vpp.state import State

FRAME = struct.Struct(">QII")
#: The one number that a client knows beforehand, and that of its answer.
CREATE, CREATED = 15, 16


class Api:
    """The messages, by name and by number."""

    def __init__(self):
        self.told = json.dumps([read()])
        own = importlib.resources.files("vpp_papi.data") / "memclnt.api.json"
        self.messages, self.services = VPPApiJSONFiles.process_json_str(own.read_text())
        messages, services = VPPApiJSONFiles.process_json_array_str(self.told)
        self.messages |= messages
        self.services |= services
        self.number = dict(zip(self.messages, itertools.count(100), strict=False))
        self.number |= {"sockclnt_create": CREATE, "sockclnt_create_reply": CREATED}
        self.name = {number: name for name, number in self.number.items()}

    def table(self):
        """The numbers, by name and CRC."""
        return [
            {"name": f"{name}_{message.crc[2:]}", "index": self.number[name]}
            for name, message in self.messages.items()
        ]


class Session(socketserver.StreamRequestHandler):
    """One client."""

    def handle(self):
        api, state = self.server.api, self.server.state
        while head := self.rfile.read(FRAME.size):
            message = self.rfile.read(FRAME.unpack(head)[1])
            name = api.name[struct.unpack_from(">H", message)[0]]
            given, _ = api.messages[name].unpack(message)
            match name:
                case "sockclnt_create":
                    table = api.table()
                    fields = {"index": 1, "count": len(table), "message_table": table}
                    self._send("sockclnt_create_reply", given, fields)
                case "sockclnt_delete":
                    self._send("sockclnt_delete_reply", given, {})
                case "get_api_json":
                    self._send("get_api_json_reply", given, {"json": api.told})
                case _:
                    with self.server.lock:
                        answers = state.answer(name, given)
                    for fields in answers:
                        self._send(api.services[name]["reply"], given, fields)

    def _send(self, name, request, fields):
        message = self.server.api.messages[name]
        fields = {key: value for key, value in fields.items() if key in message.field_by_name}
        head = {"_vl_msg_id": self.server.api.number[name], "context": request.context}
        packed = message.pack(head | fields)
        self.wfile.write(FRAME.pack(0, len(packed), 0) + packed)


class Server(socketserver.ThreadingUnixStreamServer):
    """Clients at the same time, and what they ask for one after the other."""

    daemon_threads = True

    def __init__(self, path):
        super().__init__(path, Session)
        self.lock = threading.Lock()
        self.api, self.state = Api(), State()


def main():
    with Server(sys.argv[1]) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
