# SPDX-License-Identifier: Apache-2.0
"""The rig of the driver ``ovsdb``: an Open vSwitch, and a proxy before its database."""

import contextlib
import json
import socket
import threading

from sriov_agent.fabric.switch.base import Login
from tests.switches import openvswitch
from tests.switches.openvswitch import OpenVswitch
from tests.switches.rig import CUT, CUT_AFTER, CUT_BEFORE, LIES, SILENT, Rig


class OvsdbRig(Rig):
    """What the driver says goes through the proxy; what the rig does itself does not."""

    driver = "ovsdb"
    faults = frozenset({CUT, CUT_BEFORE, CUT_AFTER, SILENT, LIES})
    access = "Ethernet7"
    lag = ("Ethernet8", "bond0")
    has_login = False
    trunks = ("Ethernet1/1", "Ethernet1/2")

    def __init__(self, directory):
        super().__init__(directory)
        self.ovs = OpenVswitch(directory)
        self.proxy = None

    @classmethod
    def missing(cls):
        return openvswitch.missing()

    def start(self):
        self.ovs.start()
        for port in self.trunks:
            self.ovs.add_port(port, "vlan_mode=trunk", "trunks=100")
        self.ovs.add_port(self.access, f"tag={self.access_vlan}")
        self.ovs.add_bond(self.lag[1], [self.lag[0], "Ethernet9"], "trunks=100")
        self.proxy = Proxy(str(self.ovs.socket))

    def close(self):
        if self.proxy:
            self.proxy.close()
        self.ovs.close()

    def login(self):
        return Login(name="leaf1", address="127.0.0.1", port=self.proxy.port, timeout=60.0)

    def put(self, port, entries):
        self.ovs.put(port, entries)

    def get(self, port):
        return self.ovs.get(port)

    def writes(self):
        return self.proxy.writes

    @contextlib.contextmanager
    def fault(self, name):
        if name == CUT:
            self.proxy.cut()
            yield
            return
        self.proxy.fault = name
        try:
            yield
        finally:
            self.proxy.fault = ""


class Proxy:
    """Passes JSON-RPC on, counts transactions that change something, and plays faults with them.

    :param target: the socket of the database
    """

    def __init__(self, target):
        self.target = target
        self.fault = ""
        self.writes = 0
        self._cutting = False
        self._open = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        for each in list(self._open):
            _end(each)

    def close(self):
        _end(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client):
        server = socket.socket(socket.AF_UNIX)
        pair = {client, server}
        self._open |= pair
        with client, server, contextlib.suppress(OSError):
            server.connect(self.target)
            back = threading.Thread(target=self._answers, args=[server, client], daemon=True)
            back.start()
            for request in _messages(client):
                self._pass(request, client, server)
            _end(server)
            back.join()
        self._open -= pair

    def _pass(self, request, client, server):
        changes = any(op.get("op") == "mutate" for op in request["params"][1:])
        self.writes += changes
        if changes and self.fault == SILENT:
            return
        if changes and self.fault == CUT_BEFORE:
            _end(client)
        elif changes and self.fault == LIES:
            results = [{}] * len(request["params"][1:])
            answer = {"id": request["id"], "result": results, "error": None}
            client.sendall(json.dumps(answer).encode())
        else:
            self._cutting = changes and self.fault == CUT_AFTER
            server.sendall(json.dumps(request).encode())

    def _answers(self, server, client):
        with contextlib.suppress(OSError):
            while received := server.recv(1 << 16):
                if self._cutting:
                    _end(client)
                    return
                client.sendall(received)


def _messages(client):
    text = ""
    while received := client.recv(1 << 16):
        text += received.decode()
        with contextlib.suppress(ValueError):
            while text:
                message, end = json.JSONDecoder().raw_decode(text)
                text = text[end:]
                yield message


def _end(each):
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
